#include "layouts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *npu_type_name(rknn_tensor_type type) {
    static const char *const names[] = {"FLOAT32", "FLOAT16", "INT8",  "UINT8",
                                        "INT16",   "UINT16",  "INT32", "UINT32",
                                        "INT64",   "BOOL",    "INT4",  "BFLOAT16"};

    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "of an unknown type";
}

const char *npu_code_name(int code) {
    static const char *const names[] = {
        "success",
        "failed",
        "timeout",
        "device unavailable",
        "out of memory",
        "bad parameter",
        "bad model",
        "bad context",
        "bad input",
        "bad output",
        "other device",
        "old pre-compiled model",
        "other optimisation level",
        "other platform",
    };

    return code <= 0 && -code < (int)(sizeof names / sizeof names[0]) ? names[-code] : "unknown";
}

/* 0 for types whose elements we do not read. */
static size_t element_size(rknn_tensor_type type) {
    switch (type) {
    case RKNN_TENSOR_INT8:
    case RKNN_TENSOR_UINT8:
        return 1;
    case RKNN_TENSOR_INT16:
    case RKNN_TENSOR_FLOAT16:
        return 2;
    case RKNN_TENSOR_FLOAT32:
        return 4;
    default:
        return 0;
    }
}

static int scores_type(rknn_tensor_type type, enum pico_type *result) {
    switch (type) {
    case RKNN_TENSOR_INT8:
        *result = PICO_INT8;
        return PICO_OK;
    case RKNN_TENSOR_INT16:
        *result = PICO_INT16;
        return PICO_OK;
    case RKNN_TENSOR_FLOAT16:
        *result = PICO_FLOAT16;
        return PICO_OK;
    default:
        return PICO_BAD_INPUT;
    }
}

size_t npu_buffer_size(const rknn_tensor_attr *attr) {
    size_t size = attr->size_with_stride > attr->size ? attr->size_with_stride : attr->size;
    size_t elements = (size_t)attr->n_elems * element_size(attr->type);

    return elements > size ? elements : size;
}

int npu_input_view(const rknn_tensor_attr *attr, struct pico_input_view *view,
                   struct pico_error *error) {
    memset(view, 0, sizeof *view);
    if (attr->fmt != RKNN_TENSOR_NHWC || attr->n_dims != 4 || attr->dims[0] != 1) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's input \"%.64s\" is not a single picture (the NPU expects "
                         "%u dimensions in layout %d)",
                         attr->name, (unsigned)attr->n_dims, (int)attr->fmt);
    }
    if (attr->type != RKNN_TENSOR_INT8 && attr->type != RKNN_TENSOR_UINT8) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's input is %s; only INT8 inputs are normalised by the NPU",
                         npu_type_name(attr->type));
    }
    view->height = (int)attr->dims[1];
    view->width = (int)attr->dims[2];
    view->channels = (int)attr->dims[3];
    view->type = PICO_UINT8;
    view->raw_pixels = true;
    view->scale = attr->scale;
    view->zero_point = attr->zp;
    size_t stride = attr->w_stride != 0 ? attr->w_stride : attr->dims[2];
    view->row_bytes = stride * attr->dims[3];
    if (attr->dims[1] < 1 || attr->dims[2] < 1 || attr->dims[3] < 1 || stride < attr->dims[2] ||
        attr->dims[1] > 8192 || stride > 8192 || attr->dims[3] > 4 ||
        view->row_bytes * attr->dims[1] > npu_buffer_size(attr)) {
        return pico_fail(
            error, PICO_FAILED,
            "the runtime describes an impossible input: %ux%ux%u, stride %u, %zu bytes",
            (unsigned)attr->dims[1], (unsigned)attr->dims[2], (unsigned)attr->dims[3],
            (unsigned)attr->w_stride, npu_buffer_size(attr));
    }
    return PICO_OK;
}

int npu_output_view(const rknn_tensor_attr *attr, struct pico_output_view *view,
                    struct pico_error *error) {
    const uint32_t *dims = attr->dims;
    size_t needed;

    memset(view, 0, sizeof *view);
    if (scores_type(attr->type, &view->type) != PICO_OK) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's output is %s; INT8, INT16 and FLOAT16 are supported",
                         npu_type_name(attr->type));
    }
    view->scale = attr->scale;
    view->zero_point = attr->zp;
    if (attr->qnt_type == RKNN_TENSOR_QNT_DFP) {
        view->scale = ldexpf(1, -attr->fl);
        view->zero_point = 0;
    }
    if (attr->n_dims == 2 && dims[0] == 1 && attr->fmt != RKNN_TENSOR_NC1HWC2) {
        view->classes = view->group = (int)dims[1];
        needed = dims[1];
    } else if (attr->n_dims == 5 && attr->fmt == RKNN_TENSOR_NC1HWC2 && dims[0] == 1 &&
               dims[4] > 0 && dims[1] > 0 && dims[2] > 0 && dims[3] > 0) {
        /* Planes of other than one pixel are padded to four: dims[2] * dims[3] is the plane, not
         * the picture. n_elems counts the padding, so the caller must know the number of classes.
         */
        view->group = (int)dims[4];
        view->group_stride = (size_t)dims[2] * dims[3] * dims[4];
        view->classes = (int)(dims[1] * dims[4]);
        needed = dims[1] * view->group_stride;
    } else {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's output \"%.64s\" is not one row of scores (%u dimensions)",
                         attr->name, (unsigned)attr->n_dims);
    }
    if (view->classes < 1 || view->classes > 1 << 20 ||
        needed * pico_type_size(view->type) > npu_buffer_size(attr)) {
        return pico_fail(error, PICO_FAILED,
                         "the runtime describes an impossible output: %d classes in %zu bytes",
                         view->classes, npu_buffer_size(attr));
    }
    return PICO_OK;
}

static float element(const rknn_tensor_attr *attr, const void *data, size_t at) {
    switch (attr->type) {
    case RKNN_TENSOR_FLOAT32:
        return ((const float *)data)[at];
    case RKNN_TENSOR_FLOAT16:
        return pico_half_to_float(((const uint16_t *)data)[at]);
    case RKNN_TENSOR_INT16: {
        int value = ((const int16_t *)data)[at];
        return attr->qnt_type == RKNN_TENSOR_QNT_DFP ? ldexpf((float)value, -attr->fl)
                                                     : (float)(value - attr->zp) * attr->scale;
    }
    case RKNN_TENSOR_UINT8:
        return (float)(((const uint8_t *)data)[at] - attr->zp) * attr->scale;
    default:
        return (float)(((const int8_t *)data)[at] - attr->zp) * attr->scale;
    }
}

/* Where the elements lie: (c, p) at (c / group * plane + p) * group + c % group. With one group of
 * all channels that is NHWC, with groups of one channel NCHW. */
struct order {
    size_t group, plane;
};

static size_t element_at(const struct order *order, size_t c, size_t p) {
    return (c / order->group * order->plane + p) * order->group + c % order->group;
}

static int find_order(const rknn_tensor_attr *attr, size_t channels, size_t pixels,
                      struct order *order, struct pico_error *error) {
    size_t size = element_size(attr->type), room = size == 0 ? 0 : npu_buffer_size(attr) / size;
    const uint32_t *d = attr->dims;
    size_t end = channels * pixels;

    *order = (struct order){1, pixels};
    if (attr->fmt == RKNN_TENSOR_NC1HWC2 && attr->n_dims == 5) {
        *order = (struct order){d[4], (size_t)d[2] * d[3]};
        end = (size_t)d[1] * order->plane * order->group;
        if (order->group == 0 || order->plane < pixels || d[1] * order->group < channels)
            end = SIZE_MAX;
    } else if (attr->fmt == RKNN_TENSOR_NHWC) {
        order->group = channels;
    }
    if (end > room) {
        return pico_fail(
            error, PICO_FAILED,
            "an output of layout %d and type %s cannot hold %zu channels of %zu pixels",
            (int)attr->fmt, npu_type_name(attr->type), channels, pixels);
    }
    return PICO_OK;
}

int npu_decode(const rknn_tensor_attr *attr, const void *data, size_t channels, size_t pixels,
               float *values, struct pico_error *error) {
    struct order order;
    int status = find_order(attr, channels, pixels, &order, error);

    if (status != PICO_OK)
        return status;
    for (size_t c = 0; c < channels; c++) {
        for (size_t p = 0; p < pixels; p++)
            values[c * pixels + p] = element(attr, data, element_at(&order, c, p));
    }
    return PICO_OK;
}

int npu_decode_int8(const rknn_tensor_attr *attr, const void *data, size_t channels, size_t pixels,
                    int8_t *values, struct pico_error *error) {
    struct order order;

    if (attr->type != RKNN_TENSOR_INT8) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's output is %s; golden vectors are of INT8 outputs",
                         npu_type_name(attr->type));
    }
    int status = find_order(attr, channels, pixels, &order, error);
    if (status != PICO_OK)
        return status;
    for (size_t c = 0; c < channels; c++) {
        for (size_t p = 0; p < pixels; p++)
            values[c * pixels + p] = ((const int8_t *)data)[element_at(&order, c, p)];
    }
    return PICO_OK;
}
