/* The simulator's own rules: codes of the real library, and where it is stricter on purpose. */
#include "rknn_maker.h"

#include "rknn_abi.h"

static rknn_context open_context(const char *output) {
    struct rknn_recipe recipe = good_recipe;
    rknn_context context = 0;

    recipe.output = output;
    write_rknn(&recipe);
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0, NULL), RKNN_SUCC);
    assert_true(context != 0);
    return context;
}

static rknn_tensor_attr attr_of(rknn_context context, rknn_query_cmd command) {
    rknn_tensor_attr attr;

    memset(&attr, 0, sizeof attr);
    assert_int_equal(rknn_query(context, command, &attr, sizeof attr), RKNN_SUCC);
    return attr;
}

static void failures_to_open(void **state) {
    rknn_context context;
    struct rknn_recipe recipe = good_recipe;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(rknn_init(&context, "absent.rknn", 0, 0, NULL), RKNN_ERR_FAIL);
    write_text("model.rknn", "no model");
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0, NULL), RKNN_ERR_FAIL);
    recipe.platform = "[\"rv1106b\"]"; /* the real one opens it */
    write_rknn(&recipe);
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0, NULL), RKNN_ERR_FAIL);
    write_rknn(&good_recipe);
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0x10, NULL), RKNN_ERR_FAIL);
    assert_int_equal(rknn_init(NULL, "model.rknn", 0, 0, NULL), RKNN_ERR_PARAM_INVALID);
    write_text("model.rknn.json", "{\"schema\":1}");
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0, NULL), RKNN_ERR_FAIL);
    assert_int_equal(unlink("model.rknn.json"), 0);
    assert_int_equal(rknn_init(&context, "model.rknn", 0, 0, NULL), RKNN_ERR_FAIL);
    leave_folder(folder);
}

static void queries(void **state) {
    static const int unsupported[] = {3, 4, 13, 14, 15, 16, 17}, unknown[] = {18, 19, 100};
    rknn_sdk_version version;
    rknn_input_output_num counts;
    rknn_mem_size memory;
    rknn_tensor_attr attr = {.index = 1};
    char *folder = enter_folder();
    rknn_context context = open_context("[1, 10]");

    (void)state;
    assert_int_equal(rknn_query(context, RKNN_QUERY_SDK_VERSION, &version, sizeof version), 0);
    assert_memory_equal(version.api_version, "SIMULATED", 9);
    assert_memory_equal(version.drv_version, "SIMULATED", 9);
    assert_int_equal(rknn_query(context, RKNN_QUERY_IN_OUT_NUM, &counts, sizeof counts), 0);
    assert_int_equal(counts.n_input, 1);
    assert_int_equal(rknn_query(context, RKNN_QUERY_MEM_SIZE, &memory, sizeof memory), 0);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(rknn_query(context, unsupported[i], &attr, sizeof attr), RKNN_ERR_FAIL);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(rknn_query(context, unknown[i], &attr, sizeof attr),
                         RKNN_ERR_PARAM_INVALID);
    assert_int_equal(rknn_query(context, RKNN_QUERY_INPUT_ATTR, &attr, sizeof attr),
                     RKNN_ERR_PARAM_INVALID); /* no second input */
    attr.index = 0;
    assert_int_equal(rknn_query(context, RKNN_QUERY_INPUT_ATTR, NULL, sizeof attr), -5);
    assert_int_equal(rknn_query(context, RKNN_QUERY_INPUT_ATTR, &attr, 372), -5);
    assert_int_equal(rknn_query(0, RKNN_QUERY_INPUT_ATTR, &attr, sizeof attr), -7);
    assert_int_equal(rknn_destroy(context), RKNN_SUCC);
    assert_int_equal(rknn_destroy(context), RKNN_ERR_CTX_INVALID);
    leave_folder(folder);
}

static void layouts(void **state) {
    static const struct {
        const char *output;
        uint32_t dims[5], native_size, nhwc_size, nhwc_with_stride;
    } cases[] = {
        {"[1, 255, 20, 20]", {1, 16, 20, 20, 16}, 102400, 102000, 102400},
        {"[1, 24, 25, 38]", {1, 2, 1, 952, 16}, 30464, 22800, 30400},
        {"[1, 5, 17, 17]", {1, 1, 1, 292, 16}, 4672, 1445, 4624},
        {"[1, 1000, 1, 1]", {1, 63, 1, 1, 16}, 1008, 1000, 1008},
    };
    char *folder = enter_folder();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rknn_context context = open_context(cases[i].output);
        rknn_tensor_attr native = attr_of(context, RKNN_QUERY_NATIVE_OUTPUT_ATTR);
        rknn_tensor_attr nhwc = attr_of(context, RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR);
        assert_int_equal(native.fmt, RKNN_TENSOR_NC1HWC2);
        assert_memory_equal(native.dims, cases[i].dims, sizeof cases[i].dims);
        assert_int_equal(native.size_with_stride, cases[i].native_size);
        assert_int_equal(nhwc.size, cases[i].nhwc_size);
        assert_int_equal(nhwc.size_with_stride, cases[i].nhwc_with_stride);
        assert_int_equal(attr_of(context, RKNN_QUERY_OUTPUT_ATTR).fmt, RKNN_TENSOR_NCHW);
        rknn_tensor_attr input = attr_of(context, RKNN_QUERY_NATIVE_INPUT_ATTR);
        assert_int_equal(input.w_stride, 32); /* 28 pixels */
        assert_int_equal(input.size_with_stride, 20 * 32 * 3);
        assert_int_equal(rknn_destroy(context), RKNN_SUCC);
    }
    rknn_context context = open_context("[1, 1000]");
    assert_int_equal(attr_of(context, RKNN_QUERY_NATIVE_OUTPUT_ATTR).size_with_stride, 1024);
    assert_int_equal(attr_of(context, RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR).size_with_stride, 1000);
    assert_int_equal(attr_of(context, RKNN_QUERY_OUTPUT_ATTR).fmt, RKNN_TENSOR_UNDEFINED);
    rknn_destroy(context);
    leave_folder(folder);
}

static void buffers(void **state) {
    char *folder = enter_folder();
    rknn_context context = open_context("[1, 1000]");
    rknn_tensor_attr in = attr_of(context, RKNN_QUERY_NATIVE_INPUT_ATTR);
    rknn_tensor_attr out = attr_of(context, RKNN_QUERY_NATIVE_OUTPUT_ATTR);
    rknn_tensor_mem *large = rknn_create_mem(context, 4096), *small = rknn_create_mem(context, 999);
    rknn_tensor_attr other;

    (void)state;
    assert_null(rknn_create_mem(context, 0));
    in.type = RKNN_TENSOR_UINT8;
    assert_int_equal(rknn_run(context, NULL), RKNN_ERR_FAIL); /* nothing bound */
    assert_int_equal(rknn_set_io_mem(context, small, &in), -5);
    assert_int_equal(rknn_set_io_mem(context, small, &out), -5); /* the real library accepts it */
    assert_int_equal(rknn_set_io_mem(context, large, &in), 0);
    assert_int_equal(rknn_run(context, NULL), RKNN_ERR_FAIL); /* no output bound */
    rknn_tensor_mem *scores = rknn_create_mem(context, 1024);
    other = out;
    other.type = RKNN_TENSOR_FLOAT32;
    assert_int_equal(rknn_set_io_mem(context, scores, &other), -5);
    assert_int_equal(rknn_set_io_mem(context, scores, &out), 0);
    assert_int_equal(rknn_run(context, NULL), 0);
    other = in;
    other.pass_through = 1;
    assert_int_equal(rknn_set_io_mem(context, large, &other), -5);
    other = in;
    other.fmt = RKNN_TENSOR_NCHW;
    assert_int_equal(rknn_set_io_mem(context, large, &other), 0); /* binds, does not run */
    assert_int_equal(rknn_run(context, NULL), RKNN_ERR_FAIL);
    assert_int_equal(rknn_set_io_mem(context, large, &in), 0);
    assert_int_equal(rknn_destroy_mem(context, scores), 0);
    assert_int_equal(rknn_run(context, NULL), RKNN_ERR_FAIL); /* not into freed memory */
    assert_int_equal(rknn_mem_sync(context, NULL, RKNN_MEMORY_SYNC_TO_DEVICE), -5);
    assert_int_equal(rknn_mem_sync(context, large, RKNN_MEMORY_SYNC_TO_DEVICE), 0);
    assert_int_equal(rknn_inputs_set(context, 0, NULL), -5);
    assert_int_equal(rknn_outputs_get(context, 0, NULL, NULL), -5);
    assert_int_equal(rknn_dup_context(&context, &context), -1);
    assert_int_equal(rknn_wait(context, NULL), -1);
    rknn_destroy_mem(context, large);
    rknn_destroy_mem(context, small);
    rknn_destroy(context);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(failures_to_open),
                                       cmocka_unit_test(queries), cmocka_unit_test(layouts),
                                       cmocka_unit_test(buffers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
