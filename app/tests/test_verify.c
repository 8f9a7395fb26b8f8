/* Golden vectors against the simulator, whose engine counts: see count_engine.c. */
#include "rknn_maker.h"

#include <math.h>
#include <signal.h>

#include "npu_session.h"
#include "stop.h"
#include "verify.h"

enum { WIDTH = 28, HEIGHT = 20, PIXELS = WIDTH * HEIGHT * 3, MOST = 1000, TOLERANCE = 3 };

static struct npu_session session;
static struct golden golden;
static struct npu_verification result;

/* What count_engine answers, on the output's int8 grid of 0.5 and -3. */
static int8_t answer(const uint8_t pixels[PIXELS], size_t index) {
    unsigned sum = 0;

    for (int i = 0; i < PIXELS; i++)
        sum += pixels[i];
    int step = (int)((index * 37 + sum) % 200) - 80 - 3;
    return (int8_t)(step > 127 ? 127 : step);
}

/* `count` vectors with the right answers, and a session for them. Golden values are in NCHW order,
 * the engine's, as TensorFlow Lite's, in NHWC order. */
static void start(const char *shape, size_t channels, size_t outputs, int count) {
    struct rknn_recipe recipe = good_recipe;
    struct pico_error error;
    uint8_t bytes[4096], pixels[PIXELS];
    int8_t answers[MOST];

    recipe.output = shape;
    write_rknn(&recipe);
    memset(&session, 0, sizeof session);
    memset(&golden, 0, sizeof golden);
    session.any_output = true;
    size_t size = make_rknn(&recipe, bytes, sizeof bytes);
    assert_int_equal(rknn_file_check("model.rknn", bytes, size, &session.file, &error), PICO_OK);
    assert_int_equal(npu_session_open(&session, "model.rknn", &error), PICO_OK);
    strcpy(golden.folder, ".");
    strcpy(golden.list, "./golden.json");
    golden.tolerance_steps = TOLERANCE;
    golden.input_bytes = PIXELS;
    golden.output_bytes = outputs;
    golden.count = count;
    for (int v = 0; v < count; v++) {
        struct golden_vector *vector = &golden.vectors[v];
        snprintf(vector->name, sizeof vector->name, "v%d", v);
        snprintf(vector->input, sizeof vector->input, "v%d.u8", v);
        snprintf(vector->output, sizeof vector->output, "v%d.i8", v);
        for (int i = 0; i < PIXELS; i++)
            pixels[i] = (uint8_t)(i * 7 + v * 31);
        for (size_t i = 0; i < outputs; i++) {
            size_t plane = outputs / channels, c = i / plane, p = i % plane;
            answers[i] = answer(pixels, p * channels + c);
        }
        write_bytes(vector->input, pixels, PIXELS);
        write_bytes(vector->output, answers, outputs);
    }
}

/* Add to the golden value at `index` of vector v, away from the ends of the range. */
static void change(int v, size_t index, int steps) {
    FILE *file = fopen(golden.vectors[v].output, "r+b");

    assert_non_null(file);
    assert_int_equal(fseek(file, (long)index, SEEK_SET), 0);
    int value = (int8_t)fgetc(file);
    assert_int_equal(fseek(file, (long)index, SEEK_SET), 0);
    fputc(value > 0 ? value - steps : value + steps, file);
    assert_int_equal(fclose(file), 0);
}

static void right_answers(void **state) {
    char *folder = enter_folder();
    struct pico_error error;
    char line[160];

    (void)state;
    start("[1, 10]", 10, 10, 3);
    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
    assert_int_equal(result.verdict, NPU_EXACT);
    assert_int_equal(result.run, 3);
    assert_int_equal(result.exact, 30);
    assert_int_equal(result.bytes, 30);
    assert_int_equal(result.top1_equal, 3);
    assert_close(result.least_cosine, 1, 1e-12);
    npu_verification_line(&result, &golden, line, sizeof line);
    assert_string_equal(line, "exact, 3 of 3 vectors");
    assert_int_equal(npu_verify(&session, &golden, 2, &result, &error), PICO_OK);
    npu_verification_line(&result, &golden, line, sizeof line);
    assert_string_equal(line, "exact, 2 of 3 vectors");
    npu_session_close(&session);
    leave_folder(folder);
}

/* remove_reshape leaves [1, classes, 1, 1]; a model that is cut after a layer has a picture. */
static void other_layouts(void **state) {
    static const struct {
        const char *shape;
        size_t channels, outputs;
    } rows[] = {
        {"[1, 17, 1, 1]", 17, 17}, {"[1, 1000, 1, 1]", 1000, 1000}, {"[1, 20, 3, 7]", 20, 420}};
    char *folder = enter_folder();
    struct pico_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        start(rows[i].shape, rows[i].channels, rows[i].outputs, 1);
        assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
        assert_int_equal(result.exact, rows[i].outputs);
        assert_int_equal(result.verdict, NPU_EXACT);
        change(0, rows[i].outputs - 1, 1);
        assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
        assert_int_equal(result.exact, rows[i].outputs - 1);
        npu_session_close(&session);
    }
    leave_folder(folder);
}

static void differences(void **state) {
    char *folder = enter_folder();
    struct pico_error error;
    char line[160];

    (void)state;
    start("[1, 100]", 100, 100, 2);
    change(1, 40, TOLERANCE);
    change(1, 41, 1);
    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
    assert_int_equal(result.verdict, NPU_WITHIN_TOLERANCE);
    assert_int_equal(result.vectors[0].verdict, NPU_EXACT);
    assert_int_equal(result.vectors[1].exact, 98);
    assert_int_equal(result.largest_step, TOLERANCE);
    assert_true(result.least_cosine < 1 && result.least_cosine == result.vectors[1].cosine);
    npu_verification_line(&result, &golden, line, sizeof line);
    assert_string_equal(line, "within tolerance, largest step 3 of 3 allowed, 99.00% of the bytes "
                              "exact, 2 of 2 vectors");
    change(0, 7, TOLERANCE + 1);
    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
    assert_int_equal(result.verdict, NPU_WRONG);
    assert_int_equal(result.largest_step, TOLERANCE + 1);
    npu_verification_line(&result, &golden, line, sizeof line);
    assert_memory_equal(line, "WRONG, largest step 4 of 3 allowed", 34);
    npu_session_close(&session);
    leave_folder(folder);
}

/* No value is far off, but the direction is another one: a cosine far below 0.99. */
static void small_and_wrong(void **state) {
    char *folder = enter_folder();
    struct pico_error error;

    (void)state;
    start("[1, 10]", 10, 10, 1);
    golden.tolerance_steps = 255;
    for (size_t i = 0; i < 10; i++)
        change(0, i, 60);
    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
    assert_true(result.largest_step <= 255 && result.least_cosine < 0.9);
    assert_int_equal(result.verdict, NPU_WRONG);
    /* An answer of zeros has no direction. */
    int8_t zeros[10];
    memset(zeros, -3, sizeof zeros);
    write_bytes("v0.i8", zeros, sizeof zeros);
    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), PICO_OK);
    assert_true(isnan(result.vectors[0].cosine) && isnan(result.least_cosine));
    assert_int_equal(result.verdict, NPU_WRONG);
    cJSON *json = npu_verification_json(&result, &golden);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "least_cosine")));
    assert_string_equal(cJSON_GetObjectItem(json, "verdict")->valuestring, "wrong");
    cJSON_Delete(json);
    npu_session_close(&session);
    leave_folder(folder);
}

static void expect_error(int status, const char *says) {
    struct pico_error error;

    assert_int_equal(npu_verify(&session, &golden, 0, &result, &error), status);
    assert_says(error, says);
}

static void vectors_that_do_not_fit(void **state) {
    char *folder = enter_folder();

    (void)state;
    start("[1, 10]", 10, 10, 2);
    assert_int_equal(truncate("v1.u8", PIXELS - 1), 0);
    expect_error(PICO_BAD_INPUT, "./v1.u8 has 1679 bytes, but 1680 are in a vector of this model");
    assert_int_equal(result.run, 1);
    start("[1, 10]", 10, 10, 2);
    assert_int_equal(truncate("v0.i8", 11), 0);
    expect_error(PICO_BAD_INPUT, "./v0.i8 has 11 bytes, but 10");
    assert_int_equal(unlink("v0.i8"), 0);
    expect_error(PICO_BAD_INPUT, "could not open ./v0.i8");
    golden.output_bytes = 11;
    expect_error(PICO_BAD_INPUT, "its output 10 values");
    golden.output_bytes = 10;
    golden.input_bytes = PIXELS - 3;
    expect_error(PICO_BAD_INPUT, "the model's input has 1680 bytes");
    npu_session_close(&session);
    leave_folder(folder);
}

static void other_types(void **state) {
    char *folder = enter_folder();

    (void)state;
    start("[1, 10]", 10, 10, 1);
    session.output_attr.type = RKNN_TENSOR_INT16;
    expect_error(PICO_BAD_INPUT, "golden vectors are of INT8 outputs");
    npu_session_close(&session);
    leave_folder(folder);
}

/* The last test: nothing takes the request back. */
static void interrupted(void **state) {
    char *folder = enter_folder();

    (void)state;
    start("[1, 10]", 10, 10, 1);
    pico_stop_install();
    raise(SIGINT);
    expect_error(PICO_INTERRUPTED, "interrupted");
    npu_session_close(&session);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_answers),
        cmocka_unit_test(other_layouts),
        cmocka_unit_test(differences),
        cmocka_unit_test(small_and_wrong),
        cmocka_unit_test(vectors_that_do_not_fit),
        cmocka_unit_test(other_types),
        cmocka_unit_test(interrupted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
