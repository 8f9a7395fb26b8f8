#include "check.h"

#include <math.h>

#include "topk.h"

static struct pico_output_view plain(const void *data, enum pico_type type, int classes) {
    return (struct pico_output_view){data, type, classes, classes, 0, 1, 0};
}

static void best_first_and_ties_by_class(void **state) {
    const float scores[] = {1, 5, 3, 5, -2};
    struct pico_output_view view = plain(scores, PICO_FLOAT32, 5);
    struct pico_top top[PICO_TOPK_MAX];

    (void)state;
    assert_int_equal(pico_topk(&view, 3, false, top), 3);
    assert_int_equal(top[0].class_index, 1);
    assert_int_equal(top[1].class_index, 3);
    assert_int_equal(top[2].class_index, 2);
    assert_close(top[2].probability, 3, 0);
}

static void more_asked_for_than_there_is(void **state) {
    const float scores[] = {1, 2};
    struct pico_output_view view = plain(scores, PICO_FLOAT32, 2);
    struct pico_top top[PICO_TOPK_MAX];

    (void)state;
    assert_int_equal(pico_topk(&view, 5, true, top), 2);
    assert_close(top[0].probability + top[1].probability, 1, 1e-6);
    assert_int_equal(pico_topk(&view, 0, true, top), 0);
}

static void softmax_of_large_scores(void **state) {
    const float scores[] = {1000, 999, 0};
    struct pico_output_view view = plain(scores, PICO_FLOAT32, 3);
    struct pico_top top[PICO_TOPK_MAX];

    (void)state;
    assert_int_equal(pico_topk(&view, 3, true, top), 3);
    assert_close(top[0].probability, 1 / (1 + exp(-1)), 1e-6);
    assert_close(top[2].probability, 0, 0);
}

static void no_best_of_broken_scores(void **state) {
    const float scores[] = {1, NAN, 3}, infinite[] = {1, INFINITY};
    const uint16_t half[] = {0x3c00, 0x7e00};
    struct pico_output_view view = plain(scores, PICO_FLOAT32, 3);
    struct pico_top top[PICO_TOPK_MAX];

    (void)state;
    assert_int_equal(pico_topk(&view, 1, true, top), -1);
    view = plain(infinite, PICO_FLOAT32, 2);
    assert_int_equal(pico_topk(&view, 1, true, top), -1);
    view = plain(half, PICO_FLOAT16, 2);
    assert_int_equal(pico_topk(&view, 1, true, top), -1);
}

/* Every integer type: the same order and probabilities as the dequantised scores have. */
static void integers_like_floats(void **state) {
    int8_t int8[100];
    uint8_t uint8[100];
    int16_t int16[100];
    float real[100];
    unsigned seed = 7;
    struct pico_top want[PICO_TOPK_MAX], got[PICO_TOPK_MAX];

    (void)state;
    for (int i = 0; i < 100; i++) {
        seed = seed * 1103515245u + 12345u;
        int8[i] = (int8_t)(seed >> 16);
        uint8[i] = (uint8_t)(int8[i] + 128);
        int16[i] = int8[i];
        real[i] = (float)(int8[i] - 3) * 0.25f;
    }
    struct pico_output_view view = plain(real, PICO_FLOAT32, 100);
    assert_int_equal(pico_topk(&view, 10, true, want), 10);
    struct pico_output_view views[] = {
        {int8, PICO_INT8, 100, 100, 0, 0.25f, 3},
        {uint8, PICO_UINT8, 100, 100, 0, 0.25f, 131},
        {int16, PICO_INT16, 100, 100, 0, 0.25f, 3},
    };
    for (int v = 0; v < 3; v++) {
        assert_int_equal(pico_topk(&views[v], 10, true, got), 10);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(got[i].class_index, want[i].class_index);
            assert_close(got[i].score, want[i].score, 1e-6);
            assert_close(got[i].probability, want[i].probability, 1e-6);
        }
    }
}

/* NC1HWC2 as the NPU gives it: groups of 16 channels, planes of dims[2] * dims[3] * 16. */
static void channels_in_groups(void **state) {
    enum { CLASSES = 37, GROUP = 16, PLANE = 4 * GROUP };
    int8_t native[3 * PLANE];
    struct pico_output_view view = {native, PICO_INT8, CLASSES, GROUP, PLANE, 0.5f, -2};
    struct pico_top top[PICO_TOPK_MAX];

    (void)state;
    memset(native, 127, sizeof native); /* padding must never win */
    for (int c = 0; c < CLASSES; c++)
        native[c / GROUP * PLANE + c % GROUP] = (int8_t)(c == 33 ? 50 : c == 5 ? 49 : -c);
    assert_int_equal(pico_topk(&view, 2, true, top), 2);
    assert_int_equal(top[0].class_index, 33);
    assert_int_equal(top[1].class_index, 5);
    assert_close(top[0].score, 26, 0);
    assert_close(top[0].probability, 1 / (1 + exp(-0.5)), 1e-5);
}

static void halves(void **state) {
    (void)state;
    assert_close(pico_half_to_float(0x3c00), 1, 0);
    assert_close(pico_half_to_float(0xc000), -2, 0);
    assert_close(pico_half_to_float(0x7bff), 65504, 0);
    assert_close(pico_half_to_float(0x0001), 5.9604644775390625e-8, 0);
    assert_close(pico_half_to_float(0x8000), 0, 0);
    assert_true(isinf(pico_half_to_float(0xfc00)));
    assert_true(isnan(pico_half_to_float(0x7c01)));
}

static void cosine(void **state) {
    const float a[] = {1, 0, 2}, b[] = {2, 0, 4}, c[] = {0, 3, 0}, zero[3] = {0, 0, 0};

    (void)state;
    assert_close(pico_cosine(a, b, 3), 1, 1e-12);
    assert_close(pico_cosine(a, c, 3), 0, 1e-12);
    assert_true(isnan(pico_cosine(a, zero, 3)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_first_and_ties_by_class),
        cmocka_unit_test(more_asked_for_than_there_is),
        cmocka_unit_test(softmax_of_large_scores),
        cmocka_unit_test(no_best_of_broken_scores),
        cmocka_unit_test(integers_like_floats),
        cmocka_unit_test(channels_in_groups),
        cmocka_unit_test(halves),
        cmocka_unit_test(cosine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
