#include "check.h"

#include "prepare.h"

static void identity(void **state) {
    struct pico_resampler resampler;
    struct pico_error error;
    const struct pico_box box = {0, 0, 5, 4};
    uint8_t picture[4][15], out[15];

    (void)state;
    for (int i = 0; i < 60; i++)
        picture[i / 15][i % 15] = (uint8_t)(i * 37);
    assert_int_equal(pico_resampler_init(&resampler, 5, 4, &box, 5, 4, &error), PICO_OK);
    for (int pass = 0; pass < 2; pass++) { /* restart begins anew */
        pico_resampler_restart(&resampler);
        for (int y = 0, taken = 0; y < 4; y++) {
            pico_resampler_push(&resampler, picture[y], 5);
            while (pico_resampler_ready(&resampler)) {
                pico_resampler_take(&resampler, out);
                assert_memory_equal(out, picture[taken++], 15);
            }
        }
        assert_int_equal(resampler.next_output, 4);
    }
    pico_resampler_free(&resampler);
}

/* The weights of every output add up to exactly 1: white stays white at any ratio. */
static void white_stays_white(void **state) {
    static const int sizes[][2] = {{1, 224}, {3, 2}, {224, 225}, {1000, 7}, {20000, 3}, {5, 5000}};
    uint8_t *row = malloc(20000 * 3 + 8), *out = malloc(5000 * 3);

    (void)state;
    memset(row, 255, 20000 * 3 + 8);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct pico_resampler resampler;
        struct pico_error error;
        const int *size = sizes[i];
        const struct pico_box box = {0, 0, size[0], 3};
        assert_int_equal(pico_resampler_init(&resampler, size[0], 3, &box, size[1], 2, &error),
                         PICO_OK);
        int taken = 0;
        for (int y = 0; y < 3; y++) {
            pico_resampler_push(&resampler, row, size[0]);
            while (pico_resampler_ready(&resampler)) {
                pico_resampler_take(&resampler, out);
                for (int x = 0; x < size[1] * 3; x++)
                    assert_int_equal(out[x], 255);
                taken++;
            }
        }
        assert_int_equal(taken, 2);
        pico_resampler_free(&resampler);
    }
    free(row);
    free(out);
}

static void impossible_boxes(void **state) {
    struct pico_resampler resampler;
    struct pico_error error;
    const struct pico_box boxes[] = {
        {0, 0, 0, 4}, {0, 0, 6, 4}, {-1, 0, 5, 4}, {3, 0, 2, 4}, {0, 0, 5, 4.5}};

    (void)state;
    for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++) {
        assert_int_equal(pico_resampler_init(&resampler, 5, 4, &boxes[i], 2, 2, &error),
                         PICO_BAD_INPUT);
    }
}

static void crop_rules(void **state) {
    struct pico_box box;

    (void)state;
    pico_crop_box(PICO_RESIZE_CENTER_CROP, 0.875, 451, 300, &box);
    assert_close(box.left, 94.25, 1e-9);
    assert_close(box.right, 356.75, 1e-9);
    assert_close(box.top, 18.75, 1e-9);
    assert_close(box.bottom, 281.25, 1e-9);
    pico_crop_box(PICO_RESIZE_STRETCH, 0.875, 451, 300, &box);
    assert_close(box.right, 451, 0);
    assert_close(box.top, 0, 0);
}

static void decode_scales(void **state) {
    struct pico_box box;

    (void)state;
    pico_crop_box(PICO_RESIZE_CENTER_CROP, 0.875, 1280, 720, &box); /* 630 pixels a side */
    assert_int_equal(pico_decode_scale(&box, 224, 224), 2);
    assert_int_equal(pico_decode_scale(&box, 316, 316), 1);
    pico_crop_box(PICO_RESIZE_STRETCH, 1, 20000, 224, &box);
    assert_int_equal(pico_decode_scale(&box, 224, 224), 1); /* no side below the input's */
    pico_crop_box(PICO_RESIZE_STRETCH, 1, 20000, 20000, &box);
    assert_int_equal(pico_decode_scale(&box, 224, 224), 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),         cmocka_unit_test(white_stays_white),
        cmocka_unit_test(impossible_boxes), cmocka_unit_test(crop_rules),
        cmocka_unit_test(decode_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
