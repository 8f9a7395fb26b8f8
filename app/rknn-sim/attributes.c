/* Layouts of the mini runtime, as rknn_query reports them: rows of pictures padded to 16 pixels,
 * channels of outputs in groups of 16, planes padded to 4 pixels, rows of scores to 64 bytes.
 * Each rule is held against the answers of runtime 2.3.2 (tests/app/runtime_answers.json). Not
 * known here is the last layer: after a pooling or depthwise one channels are padded to 32. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH_ALIGNMENT = 16, GROUP = 16, PIXEL_ALIGNMENT = 4, ROW_ALIGNMENT = 64 };

static uint32_t round_up(uint32_t value, uint32_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

static void set_dims(rknn_tensor_attr *attr, uint32_t count, const uint32_t *dims,
                     rknn_tensor_format format) {
    attr->n_dims = count;
    attr->n_elems = 1;
    for (uint32_t i = 0; i < count; i++) {
        attr->dims[i] = dims[i];
        attr->n_elems *= dims[i];
    }
    attr->fmt = format;
}

static uint32_t set_type(const struct sim_tensor *tensor, rknn_tensor_attr *attr) {
    const char *type = tensor->file.type;

    snprintf(attr->name, sizeof attr->name, "%s", tensor->file.name);
    attr->qnt_type = RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC;
    attr->scale = tensor->scale;
    attr->zp = tensor->zero_point;
    if (strcmp(type, "int16") == 0) {
        attr->type = RKNN_TENSOR_INT16;
        return 2;
    }
    if (type[0] == '\0' || strcmp(type, "float16") == 0) {
        /* Models that end in softmax, which have no type in the file's description: affine in
         * name, with scale and zero point 0. */
        attr->type = RKNN_TENSOR_FLOAT16;
        attr->scale = 0;
        attr->zp = 0;
        return 2;
    }
    if (strcmp(type, "float32") == 0) {
        attr->type = RKNN_TENSOR_FLOAT32;
        attr->qnt_type = RKNN_TENSOR_QNT_NONE;
        return 4;
    }
    attr->type = RKNN_TENSOR_INT8;
    return 1;
}

void sim_input_attr(const struct sim_model *model, enum sim_view view, rknn_tensor_attr *attr) {
    const int *dims = model->input.file.dims;
    const uint32_t n = (uint32_t)dims[0], c = (uint32_t)dims[1], h = (uint32_t)dims[2],
                   w = (uint32_t)dims[3];
    const bool picture = c <= 4;

    memset(attr, 0, sizeof *attr);
    uint32_t size = set_type(&model->input, attr);
    attr->w_stride = picture ? round_up(w, WIDTH_ALIGNMENT) : w;
    if (picture || view != SIM_NATIVE) {
        const uint32_t nhwc[] = {n, h, w, c};
        set_dims(attr, 4, nhwc, RKNN_TENSOR_NHWC);
        attr->size = attr->n_elems * size;
        attr->size_with_stride = n * h * attr->w_stride * c * size;
    } else { /* what the NPU takes; it binds the NHWC view, too, and then fails to run */
        const uint32_t grouped[] = {n, round_up(c, GROUP) / GROUP, h, w, GROUP};
        set_dims(attr, 5, grouped, RKNN_TENSOR_NC1HWC2);
        attr->size = attr->size_with_stride = attr->n_elems * size;
    }
}

static void grouped_output(rknn_tensor_attr *attr, const uint32_t nchw[4], uint32_t size) {
    uint32_t groups = round_up(nchw[1], GROUP) / GROUP, pixels = nchw[2] * nchw[3];
    const uint32_t even[] = {nchw[0], groups, nchw[2], nchw[3], GROUP};
    const uint32_t padded[] = {nchw[0], groups, 1, round_up(pixels, PIXEL_ALIGNMENT), GROUP};

    /* One pixel is not padded. */
    set_dims(attr, 5, pixels == 1 || pixels % PIXEL_ALIGNMENT == 0 ? even : padded,
             RKNN_TENSOR_NC1HWC2);
    attr->w_stride = nchw[3];
    attr->size = attr->size_with_stride = attr->n_elems * size;
}

void sim_output_attr(const struct sim_model *model, enum sim_view view, rknn_tensor_attr *attr) {
    const struct rknn_file_tensor *file = &model->output.file;
    uint32_t dims[RKNN_FILE_DIMS];

    memset(attr, 0, sizeof *attr);
    uint32_t size = set_type(&model->output, attr);
    for (int i = 0; i < file->dim_count; i++)
        dims[i] = (uint32_t)file->dims[i];
    if (file->dim_count == 4 && view == SIM_NATIVE) {
        grouped_output(attr, dims, size);
    } else if (file->dim_count == 4 && view == SIM_NHWC) {
        const uint32_t nhwc[] = {dims[0], dims[2], dims[3], dims[1]};
        set_dims(attr, 4, nhwc, RKNN_TENSOR_NHWC);
        attr->size = attr->n_elems * size;
        attr->size_with_stride =
            attr->n_elems / dims[1] * round_up(dims[1], GROUP) * size; /* larger than needed */
    } else {
        set_dims(attr, (uint32_t)file->dim_count, dims,
                 file->dim_count == 4 ? RKNN_TENSOR_NCHW : RKNN_TENSOR_UNDEFINED);
        attr->size = attr->n_elems * size;
        if (view == SIM_NATIVE)
            attr->size = round_up(attr->size, ROW_ALIGNMENT);
        attr->size_with_stride = attr->size;
    }
}
