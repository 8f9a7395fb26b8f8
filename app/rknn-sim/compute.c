/* One inference: read the bound input, let the engine compute, write the bound output. */
#include <math.h>
#include <string.h>

#include "sim.h"
#include "tensor.h"

static int check_input(const struct sim_buffer *input) {
    const rknn_tensor_attr *attr = &input->attr;

    if (attr->fmt != RKNN_TENSOR_NHWC) {
        sim_error("the NPU takes pictures as NHWC only; layout %d fails to run", (int)attr->fmt);
        return RKNN_ERR_FAIL;
    }
    if (attr->type != RKNN_TENSOR_UINT8 && attr->type != RKNN_TENSOR_INT8) {
        sim_error("an input of type %d binds on the real library and gives nonsense",
                  (int)attr->type);
        return RKNN_ERR_FAIL;
    }
    return RKNN_SUCC;
}

/* Where element (channel, pixel) of the output lies in the bound layout. */
static size_t place(const rknn_tensor_attr *attr, size_t channels, size_t pixels, size_t c,
                    size_t p) {
    if (attr->fmt == RKNN_TENSOR_NC1HWC2) {
        size_t group = attr->dims[4], plane = (size_t)attr->dims[2] * attr->dims[3];
        return (c / group * plane + p) * group + c % group;
    }
    return attr->fmt == RKNN_TENSOR_NHWC ? p * channels + c : c * pixels + p;
}

/* Round to half precision, ties to even; values beyond its range become infinite. */
static uint16_t to_half(float value) {
    union {
        float f;
        uint32_t u;
    } bits = {value};
    uint16_t sign = (uint16_t)(bits.u >> 16 & 0x8000);
    float magnitude = fabsf(value);
    int exponent;

    if (isnan(value))
        return 0x7e00;
    if (magnitude < 6.103515625e-5f) /* below 2^-14: no leading one */
        return (uint16_t)(sign | (uint16_t)rintf(ldexpf(magnitude, 24)));
    frexpf(magnitude, &exponent); /* magnitude = m * 2^exponent, 0.5 <= m < 1 */
    if (isinf(magnitude) || exponent > 16)
        return (uint16_t)(sign | 0x7c00);
    float steps = rintf(ldexpf(magnitude, 11 - exponent)); /* 1024 ... 2048 */
    int code = (exponent + 14) * 1024 + (int)steps - 1024;
    return (uint16_t)(sign | (code >= 0x7c00 ? 0x7c00 : code));
}

static void store(const struct sim_model *model, size_t at, float value) {
    const struct sim_buffer *output = &model->bound_output;
    void *data = output->mem->virt_addr;
    float code = rintf(value / model->output.scale) + (float)model->output.zero_point;

    switch (output->attr.type) {
    case RKNN_TENSOR_INT8:
        ((int8_t *)data)[at] = (int8_t)fminf(fmaxf(code, -128), 127);
        break;
    case RKNN_TENSOR_INT16:
        ((int16_t *)data)[at] = (int16_t)fminf(fmaxf(code, -32768), 32767);
        break;
    case RKNN_TENSOR_FLOAT16:
        ((uint16_t *)data)[at] = to_half(value);
        break;
    default:
        /* FLOAT32 of an int8 model: still on the int8 grid. */
        code = fminf(fmaxf(code, -128), 127);
        ((float *)data)[at] = (code - (float)model->output.zero_point) * model->output.scale;
        break;
    }
}

int sim_run(struct sim_model *model) {
    const struct rknn_file_tensor *shape = &model->output.file;
    size_t channels = (size_t)shape->dims[1], pixels = model->score_count / channels;

    if (model->bound_input.mem == NULL || model->bound_output.mem == NULL) {
        sim_error("rknn_run without a bound input and output corrupts memory on the real library");
        return RKNN_ERR_FAIL;
    }
    int code = check_input(&model->bound_input);
    if (code != RKNN_SUCC)
        return code;
    const rknn_tensor_attr *in = &model->bound_input.attr;
    const struct sim_picture picture = {
        .pixels = model->bound_input.mem->virt_addr,
        .row_bytes = (size_t)in->w_stride * in->dims[3],
        .width = (int)in->dims[2],
        .height = (int)in->dims[1],
        .channels = (int)in->dims[3],
        .quantised = in->type == RKNN_TENSOR_INT8,
    };
    if (sim_engine_run(model->engine, model, &picture, model->scores, model->score_count) != 0)
        return RKNN_ERR_FAIL;
    /* The hardware leaves arbitrary bytes in the padding; these do not look like scores. */
    memset(model->bound_output.mem->virt_addr, 0x7f, model->bound_output.mem->size);
    for (size_t p = 0; p < pixels; p++) {
        for (size_t c = 0; c < channels; c++)
            store(model, place(&model->bound_output.attr, channels, pixels, c, p),
                  model->scores[p * channels + c]);
    }
    return RKNN_SUCC;
}
