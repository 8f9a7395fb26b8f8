/* The NPU's session and layouts on the simulator, with an engine that counts. */
#include "rknn_maker.h"

#include "layouts.h"
#include "npu_session.h"
#include "topk.h"

static int open_recipe(struct npu_session *session, const struct rknn_recipe *recipe,
                       struct pico_error *error) {
    uint8_t bytes[4096];
    size_t size = make_rknn(recipe, bytes, sizeof bytes);

    write_rknn(recipe);
    memset(session, 0, sizeof *session);
    session->root = "";
    int status = rknn_file_check("model.rknn", bytes, size, &session->file, error);
    return status == PICO_OK ? npu_session_open(session, "model.rknn", error) : status;
}

/* What count_engine gives for a picture of zeros, on the output's int8 grid. */
static float expected(size_t index) {
    float value = 0.5f * (float)(index * 37 % 200) - 40;
    float code = value / 0.5f - 3;

    return ((code < -128 ? -128 : code > 127 ? 127 : code) + 3) * 0.5f;
}

static void expect_scores(struct npu_session *session, int classes) {
    struct pico_error error;

    assert_int_equal(npu_session_run(session, &error), PICO_OK);
    assert_int_equal(session->output.classes, classes);
    for (int c = 0; c < classes; c++)
        assert_close(pico_output_score(&session->output, c), expected((size_t)c), 0);
}

static void row_of_scores(void **state) {
    struct npu_session session;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(open_recipe(&session, &good_recipe, &error), PICO_OK);
    assert_string_equal(session.custom.string, "{\"pico_image\":\"test\"}");
    assert_int_equal(session.input.width, 28);
    assert_int_equal(session.input.row_bytes, 32 * 3); /* rows are padded to 16 pixels */
    assert_int_equal(session.input_mem->size, 20 * 32 * 3);
    assert_int_equal(session.output_mem->size, 64); /* 10 scores in 64 bytes */
    assert_true(session.input.raw_pixels);
    expect_scores(&session, 10);
    npu_session_close(&session);
    npu_session_close(&session); /* harmless */
    leave_folder(folder);
}

/* remove_reshape leaves [1, classes, 1, 1]: groups of 16 channels, planes of one pixel. */
static void grouped_scores(void **state) {
    static const int counts[] = {1, 5, 16, 17, 1000};
    char *folder = enter_folder();

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct rknn_recipe recipe = good_recipe;
        struct npu_session session;
        struct pico_error error;
        struct pico_top top[PICO_TOPK_MAX];
        char dims[32];
        snprintf(dims, sizeof dims, "[1, %d, 1, 1]", counts[i]);
        recipe.output = dims;
        assert_int_equal(open_recipe(&session, &recipe, &error), PICO_OK);
        assert_int_equal(session.output.group, 16);
        assert_int_equal(session.output.group_stride, 16);
        expect_scores(&session, counts[i]);
        /* The padding holds 0x7f, more than any score: it must never win. */
        assert_true(pico_topk(&session.output, 5, true, top) > 0);
        assert_in_range(top[0].class_index, 0, counts[i] - 1);
        npu_session_close(&session);
    }
    leave_folder(folder);
}

static void other_types(void **state) {
    static const char *const types[] = {"int16", "float16", ""};
    char *folder = enter_folder();

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct rknn_recipe recipe = good_recipe;
        struct npu_session session;
        struct pico_error error;
        recipe.output_type = types[i];
        assert_int_equal(open_recipe(&session, &recipe, &error), PICO_OK);
        assert_int_equal(npu_session_run(&session, &error), PICO_OK);
        for (int c = 0; c < 10; c++)
            assert_close(pico_output_score(&session.output, c), 0.5 * (c * 37 % 200) - 40, 1e-6);
        npu_session_close(&session);
    }
    struct rknn_recipe recipe = good_recipe;
    struct npu_session session;
    struct pico_error error;
    recipe.output_type = "float32";
    assert_int_equal(open_recipe(&session, &recipe, &error), PICO_BAD_INPUT);
    assert_says(error, "FLOAT32; INT8, INT16 and FLOAT16 are supported");
    npu_session_close(&session);
    leave_folder(folder);
}

static void no_classifiers(void **state) {
    static const char *const outputs[] = {"[1, 255, 20, 20]", "[1, 4, 100]", "[1]"};
    char *folder = enter_folder();

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct rknn_recipe recipe = good_recipe;
        struct npu_session session;
        struct pico_error error;
        recipe.output = outputs[i];
        assert_int_not_equal(open_recipe(&session, &recipe, &error), PICO_OK);
        npu_session_close(&session);
    }
    struct rknn_recipe recipe = good_recipe;
    struct npu_session session;
    struct pico_error error;
    recipe.input = "[1, 8, 20, 28]";
    assert_int_equal(open_recipe(&session, &recipe, &error), PICO_BAD_INPUT);
    assert_says(error, "is not a single picture");
    npu_session_close(&session);
    leave_folder(folder);
}

/* Native and NHWC outputs of every shape decode to the same: with and without padding. */
static void layouts_agree(void **state) {
    static const char *const outputs[] = {"[1, 10]",        "[1, 1000, 1, 1]", "[1, 24, 25, 38]",
                                          "[1, 5, 17, 17]", "[1, 16, 4, 4]",   "[1, 255, 3, 1]"};
    static const char *const types[] = {"int8", "int16", "float16"};
    char *folder = enter_folder();

    (void)state;
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0] * 3; i++) {
        struct rknn_recipe recipe = good_recipe;
        struct npu_session session;
        struct pico_error error;
        uint8_t bytes[4096];
        char line[256];
        recipe.output = outputs[i / 3];
        recipe.output_type = types[i % 3];
        size_t size = make_rknn(&recipe, bytes, sizeof bytes);
        write_rknn(&recipe);
        memset(&session, 0, sizeof session);
        session.root = "";
        session.any_output = true;
        assert_int_equal(rknn_file_check("m", bytes, size, &session.file, &error), PICO_OK);
        assert_int_equal(npu_session_open(&session, "model.rknn", &error), PICO_OK);
        assert_int_equal(npu_session_compare_layouts(&session, line, sizeof line, &error), PICO_OK);
        assert_memory_equal(line, "0 of ", 5);
        assert_true(session.bound); /* the native one again */
        assert_int_equal(npu_session_run(&session, &error), PICO_OK);
        npu_session_close(&session);
    }
    leave_folder(folder);
}

/* A comparison that could not fail would prove nothing. */
static void a_misread_layout_differs(void **state) {
    struct rknn_recipe recipe = good_recipe;
    struct npu_session session;
    struct pico_error error;
    char line[256];
    char *folder = enter_folder();

    (void)state;
    recipe.output = "[1, 24, 5, 4]";
    uint8_t bytes[4096];
    size_t size = make_rknn(&recipe, bytes, sizeof bytes);
    write_rknn(&recipe);
    memset(&session, 0, sizeof session);
    session.root = "";
    session.any_output = true;
    assert_int_equal(rknn_file_check("m", bytes, size, &session.file, &error), PICO_OK);
    assert_int_equal(npu_session_open(&session, "model.rknn", &error), PICO_OK);
    session.output_attr.dims[2] = 4; /* planes of 16 pixels instead of 20 */
    session.file.output.dims[2] = 4;
    assert_int_equal(npu_session_compare_layouts(&session, line, sizeof line, &error), PICO_FAILED);
    npu_session_close(&session);
    leave_folder(folder);
}

static void impossible_attributes(void **state) {
    struct pico_input_view input;
    struct pico_output_view output;
    struct pico_error error;
    rknn_tensor_attr attr = {.n_dims = 4,
                             .dims = {1, 20, 28, 3},
                             .fmt = RKNN_TENSOR_NHWC,
                             .type = RKNN_TENSOR_INT8,
                             .n_elems = 1680,
                             .size = 1680,
                             .w_stride = 32,
                             .size_with_stride = 1920};

    (void)state;
    assert_int_equal(npu_input_view(&attr, &input, &error), PICO_OK);
    attr.size_with_stride = 1919; /* less than the rows need */
    assert_int_equal(npu_input_view(&attr, &input, &error), PICO_FAILED);
    attr.w_stride = 27;
    assert_int_equal(npu_input_view(&attr, &input, &error), PICO_FAILED);
    attr.w_stride = 0xfffffff0;
    assert_int_equal(npu_input_view(&attr, &input, &error), PICO_FAILED);
    attr.type = RKNN_TENSOR_FLOAT32;
    assert_int_equal(npu_input_view(&attr, &input, &error), PICO_BAD_INPUT);
    rknn_tensor_attr scores = {.n_dims = 5,
                               .dims = {1, 63, 1, 4, 16},
                               .fmt = RKNN_TENSOR_NC1HWC2,
                               .type = RKNN_TENSOR_INT8,
                               .size = 4031};
    assert_int_equal(npu_output_view(&scores, &output, &error), PICO_FAILED);
    scores.size = 4032;
    assert_int_equal(npu_output_view(&scores, &output, &error), PICO_OK);
    scores.type = RKNN_TENSOR_BFLOAT16;
    assert_int_equal(npu_output_view(&scores, &output, &error), PICO_BAD_INPUT);
    assert_says(error, "BFLOAT16");
    scores.type = 99;
    assert_int_equal(npu_output_view(&scores, &output, &error), PICO_BAD_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_of_scores),         cmocka_unit_test(grouped_scores),
        cmocka_unit_test(other_types),           cmocka_unit_test(no_classifiers),
        cmocka_unit_test(layouts_agree),         cmocka_unit_test(a_misread_layout_differs),
        cmocka_unit_test(impossible_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
