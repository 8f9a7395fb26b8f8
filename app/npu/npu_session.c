#include "npu_session.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layouts.h"
#include "preflight.h"

static int query(struct npu_session *session, rknn_query_cmd command, const char *what, void *info,
                 uint32_t size, struct pico_error *error) {
    int code = rknn_query(session->context, command, info, size);

    if (code == RKNN_SUCC)
        return PICO_OK;
    return pico_fail(error, PICO_FAILED, "the RKNN runtime does not report the model's %s: %d (%s)",
                     what, code, npu_code_name(code));
}

static int query_attr(struct npu_session *session, rknn_query_cmd command, const char *what,
                      rknn_tensor_attr *attr, struct pico_error *error) {
    memset(attr, 0, sizeof *attr);
    int status = query(session, command, what, attr, sizeof *attr, error);
    if (status == PICO_OK && attr->n_dims > RKNN_MAX_DIMS)
        status = pico_fail(error, PICO_FAILED, "the RKNN runtime reports %u dimensions",
                           (unsigned)attr->n_dims);
    attr->name[sizeof attr->name - 1] = '\0';
    return status;
}

/* The driver gives whole pages. */
static uint64_t pages(uint64_t bytes) {
    return (bytes + 4095) / 4096 * 4096;
}

/* The library accepts an output buffer of any size and writes beyond its end, and no IOMMU catches
 * that. The sizes of both buffers are therefore checked here. */
static int bind(struct npu_session *session, rknn_tensor_attr *attr, rknn_tensor_mem **mem,
                const char *what, struct pico_error *error) {
    size_t needed = npu_buffer_size(attr);
    uint64_t own = session->memory.total_dma_allocated_size +
                   (session->input_mem != NULL ? pages(session->input_mem->size) : 0) +
                   (session->output_mem != NULL ? pages(session->output_mem->size) : 0);

    session->bound = false;
    *mem = rknn_create_mem(session->context, (uint32_t)needed);
    if (*mem == NULL || (*mem)->virt_addr == NULL || (*mem)->size < needed) {
        pico_fail(error, PICO_FAILED, "no contiguous memory for the model's %s (%zu bytes)", what,
                  needed);
        pico_hint(error, "if enough is free, it is in pieces: a reboot joins them");
        const struct npu_demand demand = {.bytes = own + pages(needed), .own = own};
        return npu_explain(session->root, &demand, error);
    }
    int code = rknn_set_io_mem(session->context, *mem, attr);
    if (code != RKNN_SUCC) {
        return pico_fail(error, PICO_FAILED,
                         "the RKNN runtime refuses the buffer of the model's %s: %d (%s)", what,
                         code, npu_code_name(code));
    }
    return PICO_OK;
}

/* The file tells the number of scores; the layout may have padding. */
static int check_classes(struct npu_session *session, struct pico_error *error) {
    const struct rknn_file_tensor *tensor = &session->file.output;
    long classes = 1;

    for (int i = 1; i < tensor->dim_count; i++)
        classes *= tensor->dims[i];
    if (tensor->dim_count < 2 || tensor->dims[0] != 1 || tensor->dims[1] != classes) {
        return pico_fail(
            error, PICO_BAD_INPUT,
            "the model is not a classifier: its output \"%.64s\" is not one row of scores",
            tensor->name);
    }
    if (classes > session->output.classes) {
        return pico_fail(error, PICO_FAILED,
                         "the file has %ld classes, the RKNN runtime's output has room for %d",
                         classes, session->output.classes);
    }
    if (session->output.group_stride == 0) /* one row */
        session->output.group = (int)classes;
    session->output.classes = (int)classes;
    return PICO_OK;
}

static int prepare_input(struct npu_session *session, struct pico_error *error) {
    int status =
        query_attr(session, RKNN_QUERY_NATIVE_INPUT_ATTR, "input", &session->input_attr, error);

    if (status == PICO_OK)
        status = npu_input_view(&session->input_attr, &session->input, error);
    if (status != PICO_OK)
        return status;
    /* Pixels as they are: the NPU subtracts the mean, divides and quantises. */
    session->input_attr.type = RKNN_TENSOR_UINT8;
    session->input_attr.fmt = RKNN_TENSOR_NHWC;
    session->input_attr.pass_through = 0;
    status = bind(session, &session->input_attr, &session->input_mem, "input", error);
    if (status != PICO_OK)
        return status;
    session->input.data = session->input_mem->virt_addr;
    /* The padding at row ends must not keep earlier contents of the memory. */
    memset(session->input.data, 0, session->input_mem->size);
    return PICO_OK;
}

static int prepare_output(struct npu_session *session, struct pico_error *error) {
    int status =
        query_attr(session, RKNN_QUERY_NATIVE_OUTPUT_ATTR, "output", &session->output_attr, error);

    if (status == PICO_OK && !session->any_output) {
        status = npu_output_view(&session->output_attr, &session->output, error);
        if (status == PICO_OK)
            status = check_classes(session, error);
    }
    if (status == PICO_OK)
        status = bind(session, &session->output_attr, &session->output_mem, "output", error);
    if (status != PICO_OK)
        return status;
    session->output.data = session->output_mem->virt_addr;
    return PICO_OK;
}

int npu_session_open(struct npu_session *session, const char *path, struct pico_error *error) {
    rknn_input_output_num counts = {0, 0};
    int status;

    /* From level 4 on the library submits every operator by itself and prints a table to stdout:
     * times would be void and JSON broken. */
    unsetenv("RKNN_LOG_LEVEL");
    int code = rknn_init(&session->context, (void *)(uintptr_t)path, 0, 0, NULL);
    if (code != RKNN_SUCC) {
        session->context = 0;
        const struct npu_demand demand = npu_estimate(session->file.body_size);
        pico_fail(error, PICO_FAILED, "the RKNN runtime cannot open %s: %d (%s)", path, code,
                  npu_code_name(code));
        pico_hint(error, "the file, its platform and the device node are good: the runtime's own "
                         "message above says more");
        return npu_explain(session->root, &demand, error);
    }
    if ((status = query(session, RKNN_QUERY_IN_OUT_NUM, "number of inputs", &counts, sizeof counts,
                        error)) != PICO_OK ||
        (status = query(session, RKNN_QUERY_SDK_VERSION, "runtime's version", &session->version,
                        sizeof session->version, error)) != PICO_OK)
        return status;
    if (counts.n_input != 1 || counts.n_output != 1) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s has %u inputs and %u outputs; a picture classifier has one of each",
                         path, (unsigned)counts.n_input, (unsigned)counts.n_output);
    }
    /* Facts for the record: a runtime that does not report them can still run the model. */
    (void)rknn_query(session->context, RKNN_QUERY_MEM_SIZE, &session->memory,
                     sizeof session->memory);
    (void)rknn_query(session->context, RKNN_QUERY_CUSTOM_STRING, &session->custom,
                     sizeof session->custom);
    session->custom.string[sizeof session->custom.string - 1] = '\0';
    session->version.api_version[sizeof session->version.api_version - 1] = '\0';
    session->version.drv_version[sizeof session->version.drv_version - 1] = '\0';
    if ((status = prepare_input(session, error)) == PICO_OK)
        status = prepare_output(session, error);
    session->bound = status == PICO_OK;
    return status;
}

int npu_session_run(struct npu_session *session, struct pico_error *error) {
    if (!session->bound)
        return pico_fail(error, PICO_FAILED, "the NPU's buffers are not bound");
    int code = rknn_run(session->context, NULL);
    if (code != RKNN_SUCC) {
        pico_fail(error, PICO_FAILED, "the NPU failed to run the model: %d (%s)", code,
                  npu_code_name(code));
        return pico_hint(error, "a running camera program (rkipc) disturbs the NPU: "
                                "RkLunch-stop.sh ends it; the kernel's log says more");
    }
    return PICO_OK;
}

static int decode_bound(struct npu_session *session, const rknn_tensor_attr *attr,
                        const rknn_tensor_mem *mem, float *values, size_t channels, size_t pixels,
                        struct pico_error *error) {
    int status = npu_session_run(session, error);

    return status == PICO_OK ? npu_decode(attr, mem->virt_addr, channels, pixels, values, error)
                             : status;
}

int npu_session_compare_layouts(struct npu_session *session, char *line, size_t size,
                                struct pico_error *error) {
    const struct rknn_file_tensor *tensor = &session->file.output;
    size_t channels = (size_t)tensor->dims[1], pixels = 1, different = 0;
    rknn_tensor_mem *plain_mem = NULL;
    rknn_tensor_attr plain;

    for (int i = 2; i < tensor->dim_count; i++)
        pixels *= (size_t)tensor->dims[i];
    float *native = calloc(channels * pixels * 2, sizeof *native);
    if (native == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to compare layouts");
    float *other = native + channels * pixels;
    int status =
        query_attr(session, RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR, "NHWC output", &plain, error);
    if (status == PICO_OK)
        status = decode_bound(session, &session->output_attr, session->output_mem, native, channels,
                              pixels, error);
    if (status == PICO_OK)
        status = bind(session, &plain, &plain_mem, "NHWC output", error);
    if (status == PICO_OK) {
        session->bound = true;
        status = decode_bound(session, &plain, plain_mem, other, channels, pixels, error);
    }
    for (size_t i = 0; status == PICO_OK && i < channels * pixels; i++)
        different += native[i] != other[i];
    snprintf(line, size,
             "%zu of %zu scores differ between layout %d (%zu bytes) and %d (%zu bytes)", different,
             channels * pixels, (int)session->output_attr.fmt,
             npu_buffer_size(&session->output_attr), (int)plain.fmt, npu_buffer_size(&plain));
    if (status == PICO_OK && different > 0)
        status = pico_fail(error, PICO_FAILED, "%s", line);
    /* Bind the native buffer again, also after a failure: the other one must not be bound when it
     * is freed. */
    session->bound =
        rknn_set_io_mem(session->context, session->output_mem, &session->output_attr) == RKNN_SUCC;
    if (status == PICO_OK && !session->bound)
        status = pico_fail(error, PICO_FAILED, "the native output could not be bound again");
    if (plain_mem != NULL)
        rknn_destroy_mem(session->context, plain_mem);
    free(native);
    return status;
}

void npu_session_close(struct npu_session *session) {
    if (session->context == 0)
        return;
    if (session->input_mem != NULL)
        rknn_destroy_mem(session->context, session->input_mem);
    if (session->output_mem != NULL)
        rknn_destroy_mem(session->context, session->output_mem);
    rknn_destroy(session->context);
    session->context = 0;
}
