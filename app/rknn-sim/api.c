/* The twenty functions that the mini runtime exports, with its return codes. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rknn.h"
#include "sim.h"
#include "system.h"

#define SIM_RUNTIME "SIMULATED 2.3.2 (rknn-sim)"
#define SIM_DRIVER "SIMULATED"

/* Contexts are small numbers, as they must fit 32 bits on ARM. */
enum { CONTEXTS = 8, PAGE = 4096 };

static struct sim_model *models[CONTEXTS];

static struct sim_model *model_of(rknn_context context) {
    return context >= 1 && context <= CONTEXTS ? models[context - 1] : NULL;
}

/* The real runtime asks the driver for its version, and refuses one before 0.2.1. */
static bool driver_is_new(void) {
    const char *root = getenv(RKNN_SIM_ROOT);
    char line[128];
    int major, minor, patch;

    if (root == NULL || !pico_read_line(root, PICO_RKNPU_VERSION, line, sizeof line) ||
        sscanf(line, "%*[^0-9]%6d.%6d.%6d", &major, &minor, &patch) != 3 ||
        major * 10000 + minor * 100 + patch >= 201)
        return true;
    sim_error("the driver's version is %d.%d.%d, at least 0.2.1 is required", major, minor, patch);
    return false;
}

int rknn_init(rknn_context *context, void *model, uint32_t size, uint32_t flag,
              rknn_init_extend *extend) {
    (void)extend;
    if (context == NULL || model == NULL)
        return RKNN_ERR_PARAM_INVALID;
    if (size != 0 || flag != 0) {
        sim_error("only models opened by path, without flags, are simulated");
        return RKNN_ERR_FAIL;
    }
    for (int i = 0; i < CONTEXTS; i++) {
        if (models[i] != NULL)
            continue;
        models[i] = driver_is_new() ? sim_model_open(model) : NULL;
        if (models[i] != NULL && !sim_memory_take(models[i]->file.body_size)) {
            sim_model_close(models[i]);
            models[i] = NULL;
        }
        if (models[i] == NULL)
            return RKNN_ERR_FAIL; /* the mini runtime answers -1 to every failure */
        *context = (rknn_context)(i + 1);
        return RKNN_SUCC;
    }
    return RKNN_ERR_FAIL;
}

int rknn_destroy(rknn_context context) {
    if (model_of(context) == NULL)
        return RKNN_ERR_CTX_INVALID;
    sim_memory_return(models[context - 1]->file.body_size);
    sim_model_close(models[context - 1]);
    models[context - 1] = NULL;
    return RKNN_SUCC;
}

/* Copy an answer to the caller's memory if that has at least its size. */
static int answer(void *info, uint32_t room, const void *value, size_t size) {
    if (info == NULL || room < size)
        return RKNN_ERR_PARAM_INVALID;
    memcpy(info, value, size);
    return RKNN_SUCC;
}

static int query_attr(const struct sim_model *model, bool input, enum sim_view view, void *info,
                      uint32_t size) {
    const rknn_tensor_attr *asked = info;
    rknn_tensor_attr attr;

    if (info == NULL || size < sizeof attr || asked->index != 0)
        return RKNN_ERR_PARAM_INVALID;
    if (input)
        sim_input_attr(model, view, &attr);
    else
        sim_output_attr(model, view, &attr);
    /* The mini runtime leaves these as they were: who has not cleared them finds anything. */
    attr.pass_through = asked->pass_through;
    if (!input && view == SIM_NHWC)
        attr.w_stride = asked->w_stride;
    return answer(info, size, &attr, sizeof attr);
}

static int query_version(void *info, uint32_t size) {
    rknn_sdk_version version;

    memset(&version, 0, sizeof version);
    snprintf(version.api_version, sizeof version.api_version, SIM_RUNTIME);
    snprintf(version.drv_version, sizeof version.drv_version, SIM_DRIVER);
    return answer(info, size, &version, sizeof version);
}

static int query_memory(const struct sim_model *model, void *info, uint32_t size) {
    rknn_mem_size memory;

    if (info == NULL || size < sizeof memory)
        return RKNN_ERR_PARAM_INVALID;
    memcpy(&memory, info, sizeof memory); /* the mini runtime does not write the sizes of SRAM */
    memory.total_internal_size = 0;
    /* The body is nearly all weights; how much more the NPU needs is not simulated. */
    memory.total_weight_size = (uint32_t)model->file.body_size;
    memory.total_dma_allocated_size = model->file.body_size;
    return answer(info, size, &memory, sizeof memory);
}

static int query_custom(const struct sim_model *model, void *info, uint32_t size) {
    rknn_custom_string custom;

    memset(&custom, 0, sizeof custom);
    memcpy(custom.string, model->custom, sizeof custom.string);
    return answer(info, size, &custom, sizeof custom);
}

int rknn_query(rknn_context context, rknn_query_cmd cmd, void *info, uint32_t size) {
    static const rknn_input_output_num one_each = {1, 1};
    const struct sim_model *model = model_of(context);

    if (model == NULL)
        return RKNN_ERR_CTX_INVALID;
    switch ((int)cmd) {
    case RKNN_QUERY_IN_OUT_NUM:
        return answer(info, size, &one_each, sizeof one_each);
    case RKNN_QUERY_INPUT_ATTR:
        return query_attr(model, true, SIM_PLAIN, info, size);
    case RKNN_QUERY_OUTPUT_ATTR:
        return query_attr(model, false, SIM_PLAIN, info, size);
    case RKNN_QUERY_SDK_VERSION:
        return query_version(info, size);
    case RKNN_QUERY_MEM_SIZE:
        return query_memory(model, info, size);
    case RKNN_QUERY_CUSTOM_STRING:
        return query_custom(model, info, size);
    case RKNN_QUERY_NATIVE_INPUT_ATTR:
        return query_attr(model, true, SIM_NATIVE, info, size);
    case RKNN_QUERY_NATIVE_OUTPUT_ATTR:
        return query_attr(model, false, SIM_NATIVE, info, size);
    case RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR:
        return query_attr(model, true, SIM_NHWC, info, size);
    case RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR:
        return query_attr(model, false, SIM_NHWC, info, size);
    case RKNN_QUERY_DEVICE_MEM_INFO:
        return RKNN_SUCC;
    case RKNN_QUERY_PERF_DETAIL:
    case RKNN_QUERY_PERF_RUN:
    case RKNN_QUERY_INPUT_DYNAMIC_RANGE:
    case RKNN_QUERY_CURRENT_INPUT_ATTR:
    case RKNN_QUERY_CURRENT_OUTPUT_ATTR:
    case RKNN_QUERY_CURRENT_NATIVE_INPUT_ATTR:
    case RKNN_QUERY_CURRENT_NATIVE_OUTPUT_ATTR:
        return RKNN_ERR_FAIL;
    default:
        return RKNN_ERR_PARAM_INVALID;
    }
}

int rknn_run(rknn_context context, rknn_run_extend *extend) {
    struct sim_model *model = model_of(context);

    (void)extend;
    return model == NULL ? RKNN_ERR_CTX_INVALID : sim_run(model);
}

int rknn_set_io_mem(rknn_context context, rknn_tensor_mem *mem, rknn_tensor_attr *attr) {
    struct sim_model *model = model_of(context);

    return model == NULL ? RKNN_ERR_CTX_INVALID : sim_bind(model, mem, attr);
}

rknn_tensor_mem *rknn_create_mem(rknn_context context, uint32_t size) {
    /* Buffers begin at a page and end exactly where asked: a tool that watches memory sees one
     * byte too many, which the real, page-rounded allocation hides. */
    if (model_of(context) == NULL || size == 0)
        return NULL;
    rknn_tensor_mem *mem = calloc(1, sizeof *mem);
    bool enough = mem != NULL && sim_memory_take(size);
    if (!enough || posix_memalign(&mem->virt_addr, PAGE, size) != 0) {
        if (enough)
            sim_memory_return(size);
        free(mem);
        return NULL;
    }
    memset(mem->virt_addr, 0xa5, size);
    mem->size = size;
    mem->flags = 1; /* allocated inside */
    mem->fd = -1;
    return mem;
}

rknn_tensor_mem *rknn_create_mem2(rknn_context context, uint64_t size, uint64_t flags) {
    (void)flags;
    return size > UINT32_MAX ? NULL : rknn_create_mem(context, (uint32_t)size);
}

int rknn_destroy_mem(rknn_context context, rknn_tensor_mem *mem) {
    struct sim_model *model = model_of(context);

    if (model == NULL)
        return RKNN_ERR_CTX_INVALID;
    if (mem == NULL)
        return RKNN_ERR_PARAM_INVALID;
    /* A freed buffer is no longer bound: the next run fails instead of writing into it. */
    if (model->bound_input.mem == mem)
        model->bound_input.mem = NULL;
    if (model->bound_output.mem == mem)
        model->bound_output.mem = NULL;
    sim_memory_return(mem->size);
    free(mem->virt_addr);
    free(mem);
    return RKNN_SUCC;
}

int rknn_mem_sync(rknn_context context, rknn_tensor_mem *mem, rknn_mem_sync_mode mode) {
    if (model_of(context) == NULL)
        return RKNN_ERR_CTX_INVALID;
    return mem == NULL || mode < RKNN_MEMORY_SYNC_TO_DEVICE || mode > RKNN_MEMORY_SYNC_BIDIRECTIONAL
               ? RKNN_ERR_PARAM_INVALID
               : RKNN_SUCC;
}

/* Exported by the mini runtime, which does not support them. */

int rknn_inputs_set(rknn_context context, uint32_t count, rknn_input *inputs) {
    (void)context, (void)count, (void)inputs;
    return RKNN_ERR_PARAM_INVALID;
}

int rknn_outputs_get(rknn_context context, uint32_t count, rknn_output *outputs,
                     rknn_output_extend *extend) {
    (void)context, (void)count, (void)outputs, (void)extend;
    return RKNN_ERR_PARAM_INVALID;
}

int rknn_outputs_release(rknn_context context, uint32_t count, rknn_output *outputs) {
    (void)context, (void)count, (void)outputs;
    return RKNN_ERR_PARAM_INVALID;
}

int rknn_dup_context(rknn_context *context_in, rknn_context *context_out) {
    (void)context_in, (void)context_out;
    return RKNN_ERR_FAIL;
}

int rknn_wait(rknn_context context, rknn_run_extend *extend) {
    (void)context, (void)extend;
    return RKNN_ERR_FAIL;
}

int rknn_set_input_shape(rknn_context context, rknn_tensor_attr *attr) {
    (void)context, (void)attr;
    return RKNN_ERR_FAIL;
}

int rknn_set_input_shapes(rknn_context context, uint32_t count, rknn_tensor_attr attr[]) {
    (void)context, (void)count, (void)attr;
    return RKNN_ERR_FAIL;
}

/* Supported by the mini runtime; not simulated, as no program here uses them. */

rknn_tensor_mem *rknn_create_mem_from_phys(rknn_context context, uint64_t phys_addr,
                                           void *virt_addr, uint32_t size) {
    (void)context, (void)phys_addr, (void)virt_addr, (void)size;
    sim_error("rknn_create_mem_from_phys is not simulated");
    return NULL;
}

rknn_tensor_mem *rknn_create_mem_from_fd(rknn_context context, int32_t fd, void *virt_addr,
                                         uint32_t size, int32_t offset) {
    (void)context, (void)fd, (void)virt_addr, (void)size, (void)offset;
    sim_error("rknn_create_mem_from_fd is not simulated");
    return NULL;
}

int rknn_set_weight_mem(rknn_context context, rknn_tensor_mem *mem) {
    (void)context, (void)mem;
    sim_error("rknn_set_weight_mem is not simulated");
    return RKNN_ERR_FAIL;
}

int rknn_set_internal_mem(rknn_context context, rknn_tensor_mem *mem) {
    (void)context, (void)mem;
    sim_error("rknn_set_internal_mem is not simulated");
    return RKNN_ERR_FAIL;
}
