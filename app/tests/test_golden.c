#include "rknn_maker.h"

#include "golden.h"
#include "rknn_file.h"

static const char good[] =
    "{\"schema\": 1, \"model\": \"m\", \"platform\": \"rv1103\", \"toolkit\": \"2.3.2\",\n"
    " \"model_sha256\": \"@\", \"input_shape\": [1, 3, 20, 28], \"output_shape\": [1, 10],\n"
    " \"tolerance_steps\": 8, \"vectors\": [\n"
    "  {\"name\": \"000-cat\", \"input\": \"000-cat.u8\", \"output\": \"000-cat.i8\", \"top1\": "
    "3},\n"
    "  {\"name\": \"001-dog\", \"input\": \"001-dog.u8\", \"output\": \"001-dog.i8\"}]}";

static void read_changed(struct golden *golden, const char *from, const char *to, int status,
                         struct pico_error *error) {
    char text[2048];
    const char *at = strstr(good, from);

    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    write_text("golden.json", text);
    assert_int_equal(golden_read(golden, ".", error), status);
}

static void good_list(void **state) {
    struct golden golden;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    read_changed(&golden, "1,", "1,", PICO_OK, &error);
    assert_int_equal(golden.count, 2);
    assert_int_equal(golden.input_bytes, 20 * 28 * 3);
    assert_int_equal(golden.output_bytes, 10);
    assert_int_equal(golden.tolerance_steps, 8);
    assert_string_equal(golden.vectors[1].output, "001-dog.i8");
    /* A model that was cut after some layer. */
    read_changed(&golden, "[1, 10]", "[1, 4, 5, 6]", PICO_OK, &error);
    assert_int_equal(golden.output_bytes, 120);
    leave_folder(folder);
}

static void expect_error(const char *from, const char *to, const char *says) {
    struct golden golden;
    struct pico_error error;

    read_changed(&golden, from, to, PICO_BAD_INPUT, &error);
    assert_says(error, "./golden.json");
    assert_says(error, says);
}

static void bad_lists(void **state) {
    struct golden golden;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(golden_read(&golden, ".", &error), PICO_BAD_INPUT);
    assert_says(error, "could not open ./golden.json");
    expect_error("\"schema\": 1", "\"schema\": 2", "schema 2; this program reads 1");
    expect_error("000-cat.u8", "../000-cat.u8", "must be a name without folders");
    expect_error("000-cat.i8", "..", "must be a name without folders");
    expect_error("001-dog.i8", "/dev/rknpu", "must be a name without folders");
    expect_error("001-dog.i8", "", "must be a name without folders");
    expect_error("\"001-dog\"", "\"a\\u001b[2J\"", "must be a name without folders");
    expect_error("\"m\"", "\"a/b\"", "must be a name without folders");
    expect_error("\"000-cat\"", "7", "\"name\" must be a string");
    expect_error("[1, 10]", "[1, 0]", "output_shape");
    expect_error("[1, 10]", "[1, 2.5]", "output_shape");
    expect_error("[1, 10]", "[1, 100000, 100000]", "output_shape");
    expect_error("[1, 10]", "[1, 1e300, 1e300]", "output_shape");
    expect_error("[1, 10]", "10", "output_shape");
    expect_error("[1, 3, 20, 28]", "[]", "input_shape");
    expect_error("\"tolerance_steps\": 8", "\"tolerance_steps\": -1", "tolerance_steps");
    expect_error("\"toolkit\": \"2.3.2\"", "\"toolkit\": null", "toolkit");
    expect_error("\"vectors\": [", "\"vectors\": [], \"x\": [", "a list of 1 to 64");
    expect_error("\"vectors\"", "\"vector\"", "a list of 1 to 64");
    expect_error("]}", "", "JSON");
    leave_folder(folder);
}

/* golden.json with the hash of model.rknn, which may be changed afterwards; then its check. */
static int check(const char *toolkit, struct pico_error *error) {
    static uint8_t bytes[4096];
    struct golden golden;
    struct rknn_file file;
    FILE *model = fopen("model.rknn", "rb");

    assert_non_null(model);
    size_t size = fread(bytes, 1, sizeof bytes, model);
    fclose(model);
    assert_int_equal(rknn_file_check("model.rknn", bytes, size, &file, error), PICO_OK);
    assert_int_equal(golden_read(&golden, ".", error), PICO_OK);
    if (toolkit != NULL)
        strcpy(golden.toolkit, toolkit);
    return golden_check_model(&golden, "./model.rknn", bytes, size, &file, error);
}

static void write_card(const char *sha256) {
    char text[256];

    snprintf(text, sizeof text, "{\"files\": {\"npu\": {\"sha256\": \"%s\"}}}", sha256);
    write_text("model.json", text);
}

static void whose_fault(void **state) {
    char sha256[PICO_SHA256_TEXT], other[PICO_SHA256_TEXT];
    struct golden golden;
    struct pico_error error;
    char *folder = enter_folder();
    struct rknn_recipe changed = good_recipe;

    (void)state;
    write_rknn(&good_recipe);
    assert_int_equal(pico_sha256_file("model.rknn", "test", sha256, &error), PICO_OK);
    read_changed(&golden, "@", sha256, PICO_OK, &error);
    assert_int_equal(check(NULL, &error), PICO_OK);
    assert_int_equal(check("2.3.0", &error), PICO_BAD_INPUT);
    assert_says(error, "has answers of rknn-toolkit2 2.3.0, but ./model.rknn was made by 2.3.2");
    changed.output = "[1, 11]";
    write_rknn(&changed);
    assert_int_equal(check(NULL, &error), PICO_BAD_INPUT);
    assert_says(error, "do not belong together"); /* there is no card */
    write_card(sha256);
    assert_int_equal(check(NULL, &error), PICO_BAD_INPUT);
    assert_says(error, "./model.rknn has changed since it was converted");
    assert_int_equal(pico_sha256_file("model.rknn", "test", other, &error), PICO_OK);
    write_card(other);
    assert_int_equal(check(NULL, &error), PICO_BAD_INPUT);
    assert_says(error, "./golden.json is of another model");
    write_text("model.json", "no JSON");
    assert_int_equal(check(NULL, &error), PICO_BAD_INPUT);
    assert_says(error, "do not belong together");
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_list),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(whose_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
