#include "rknn_maker.h"

#include "rknn_file.h"

static int check(const struct rknn_recipe *recipe, struct rknn_file *file,
                 struct pico_error *error) {
    uint8_t bytes[4096];
    size_t size = make_rknn(recipe, bytes, sizeof bytes);

    return rknn_file_check("m.rknn", bytes, size, file, error);
}

static void a_good_one(void **state) {
    struct rknn_file file;
    struct pico_error error;

    (void)state;
    assert_int_equal(check(&good_recipe, &file, &error), PICO_OK);
    assert_string_equal(file.platforms, "rv1103");
    assert_string_equal(file.toolkit, "2.3.2");
    assert_string_equal(file.input.name, "picture");
    assert_int_equal(file.input.dim_count, 4);
    assert_int_equal(file.input.dims[3], 28);
    assert_string_equal(file.output.type, "int8");
    assert_int_equal(file.body_size, 256);
}

static void refused(struct rknn_recipe recipe, const char *says) {
    struct rknn_file file;
    struct pico_error error;

    assert_int_equal(check(&recipe, &file, &error), PICO_BAD_INPUT);
    assert_says(error, says);
}

static void bad_ones(void **state) {
    struct rknn_recipe recipe = good_recipe;
    struct rknn_file file;
    struct pico_error error;

    (void)state;
    recipe.platform = "[\"rk3588\"]";
    refused(recipe, "made for rk3588");
    recipe.platform = "[\"rv1103b\"]";
    refused(recipe, "the b variants have another one");
    recipe.platform = "[]";
    refused(recipe, "no platform at all");
    recipe.platform = "[\"rk3588\", \"rv1106\"]";
    assert_int_equal(check(&recipe, &file, &error), PICO_OK);
    recipe.platform = "\"rv1106\"";
    assert_int_equal(check(&recipe, &file, &error), PICO_OK);
    recipe = good_recipe;
    recipe.inputs = 2;
    refused(recipe, "has 2 inputs");
    recipe.inputs = 0;
    refused(recipe, "has 0 inputs");
    recipe = good_recipe;
    recipe.container = 6;
    refused(recipe, "container version 0x6");
    recipe = good_recipe;
    recipe.input = "[1, 3, -1, 28]";
    refused(recipe, "dynamic shape");
    recipe.input = "[]";
    refused(recipe, "no shape");
    assert_int_equal(rknn_file_check("m", (const uint8_t *)"\x1c\0\0\0TFL3", 8, &file, &error),
                     PICO_BAD_INPUT);
    assert_true(strstr(error.hint, "neon-runner") != NULL);
}

static void versions(void **state) {
    struct rknn_file file = {.toolkit = "2.5.0"};
    struct pico_error error;

    (void)state;
    assert_int_equal(rknn_file_check_version("m", &file, "2.3.2 (429f97ae6b@2025)", &error),
                     PICO_BAD_INPUT);
    assert_says(error, "toolkit 2.5.0, newer than the runtime 2.3.2");
    assert_true(strstr(error.hint, "rknn-toolkit2==2.3.2") != NULL);
    assert_int_equal(rknn_file_check_version("m", &file, "2.5.0", &error), PICO_OK);
    assert_int_equal(rknn_file_check_version("m", &file, "SIMULATED 2.10.0", &error), PICO_OK);
    assert_int_equal(rknn_file_check_version("m", &file, "unknown", &error), PICO_OK);
}

/* Every prefix, every byte changed: an answer, no crash, no byte read beyond the end. */
static void damaged(void **state) {
    uint8_t bytes[4096];
    struct rknn_file file;
    struct pico_error error;
    size_t size = make_rknn(&good_recipe, bytes, sizeof bytes);

    (void)state;
    for (size_t length = 0; length < size; length++) {
        uint8_t *copy = malloc(length + (length == 0));
        memcpy(copy, bytes, length);
        assert_int_equal(rknn_file_check("m", copy, length, &file, &error), PICO_BAD_INPUT);
        free(copy);
    }
    for (size_t at = 0; at < size; at += at >= 24 && at < 320 ? 41 : 1) {
        for (int value = 0; value < 256; value += 15) {
            uint8_t *copy = malloc(size);
            memcpy(copy, bytes, size);
            copy[at] = (uint8_t)value;
            int status = rknn_file_check("m", copy, size, &file, &error);
            assert_true(status == PICO_OK || status == PICO_BAD_INPUT);
            free(copy);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_good_one), cmocka_unit_test(bad_ones),
                                       cmocka_unit_test(versions), cmocka_unit_test(damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
