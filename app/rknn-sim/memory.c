/* How much memory there is, and which buffer may be bound to which tensor. */
#include <stdlib.h>
#include <string.h>

#include "rknn.h"
#include "sim.h"
#include "system.h"

static uint64_t taken; /* by this process, in pages */

static uint64_t pages(uint64_t bytes) {
    return (bytes + 4095) / 4096 * 4096;
}

bool sim_memory_take(uint64_t bytes) {
    const char *root = getenv(RKNN_SIM_ROOT);
    struct pico_cma cma = {-1, -1, false};

    if (root != NULL)
        pico_read_cma(root, &cma);
    long left = cma.free_kib >= 0 ? cma.free_kib : cma.total_kib;
    if (left >= 0 && taken + pages(bytes) > (uint64_t)left * 1024) {
        sim_error("failed to allocate %llu bytes of contiguous memory", (unsigned long long)bytes);
        return false;
    }
    taken += pages(bytes);
    return true;
}

void sim_memory_return(uint64_t bytes) {
    taken -= pages(bytes);
}

static uint32_t bytes_of(rknn_tensor_type type) {
    switch (type) {
    case RKNN_TENSOR_FLOAT32:
        return 4;
    case RKNN_TENSOR_FLOAT16:
    case RKNN_TENSOR_INT16:
        return 2;
    default:
        return 1;
    }
}

static int bind_input(struct sim_model *model, rknn_tensor_mem *mem, const rknn_tensor_attr *attr) {
    rknn_tensor_attr native;

    sim_input_attr(model, SIM_NATIVE, &native);
    if (attr->pass_through && attr->type != native.type) {
        sim_error("only the model's own type can pass through");
        return RKNN_ERR_PARAM_INVALID;
    }
    if (mem->size < native.size_with_stride) {
        sim_error("the input needs %u bytes, the buffer has %u", (unsigned)native.size_with_stride,
                  (unsigned)mem->size);
        return RKNN_ERR_PARAM_INVALID;
    }
    model->bound_input.mem = mem;
    model->bound_input.attr = native;
    model->bound_input.attr.type = attr->type;
    model->bound_input.attr.fmt = attr->fmt;
    return RKNN_SUCC;
}

static bool same_shape(const rknn_tensor_attr *a, const rknn_tensor_attr *b) {
    return a->n_dims == b->n_dims && a->fmt == b->fmt &&
           memcmp(a->dims, b->dims, a->n_dims * sizeof a->dims[0]) == 0;
}

static int bind_output(struct sim_model *model, rknn_tensor_mem *mem,
                       const rknn_tensor_attr *attr) {
    static const enum sim_view views[] = {SIM_NATIVE, SIM_NHWC, SIM_PLAIN};
    rknn_tensor_attr known;

    model->bound_output.mem = NULL;
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        sim_output_attr(model, views[i], &known);
        if (!same_shape(attr, &known))
            continue;
        bool as_float = attr->type == RKNN_TENSOR_FLOAT32 && known.fmt == RKNN_TENSOR_NHWC;
        if (attr->type != known.type && !as_float) {
            sim_error("Unsupport output type %d of layout %d", (int)attr->type, (int)attr->fmt);
            return RKNN_ERR_PARAM_INVALID;
        }
        uint32_t needed = known.n_elems * bytes_of(attr->type);
        /* The attribute that was asked for decides how much is written: two-dimensional outputs
         * have one shape in the native and in the plain view, and differ in size only. */
        if (attr->size_with_stride > needed && attr->size_with_stride <= known.size_with_stride)
            needed = attr->size_with_stride;
        if (mem->size < needed) {
            sim_error("the output needs %u bytes, the buffer has %u; the real library would write "
                      "beyond its end",
                      (unsigned)needed, (unsigned)mem->size);
            return RKNN_ERR_PARAM_INVALID;
        }
        model->bound_output.mem = mem;
        model->bound_output.attr = known;
        model->bound_output.attr.type = attr->type;
        return RKNN_SUCC;
    }
    sim_error("no layout of the output has %u dimensions in format %d", (unsigned)attr->n_dims,
              (int)attr->fmt);
    return RKNN_ERR_PARAM_INVALID;
}

int sim_bind(struct sim_model *model, rknn_tensor_mem *mem, const rknn_tensor_attr *attr) {
    if (mem == NULL || attr == NULL || mem->virt_addr == NULL || attr->n_dims > RKNN_MAX_DIMS)
        return RKNN_ERR_PARAM_INVALID;
    if (strncmp(attr->name, model->input.file.name, sizeof attr->name) == 0)
        return bind_input(model, mem, attr);
    if (strncmp(attr->name, model->output.file.name, sizeof attr->name) == 0)
        return bind_output(model, mem, attr);
    sim_error("the model has no tensor \"%.255s\"", attr->name);
    return RKNN_ERR_PARAM_INVALID;
}
