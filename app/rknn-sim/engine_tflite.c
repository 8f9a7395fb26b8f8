/* The simulated NPU computes with the int8 TensorFlow Lite model of the same conversion. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tensorflow/lite/c/c_api.h>
#include <tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h>

#include "mapping.h"
#include "sim.h"

struct sim_engine {
    struct pico_mapping file;
    TfLiteModel *model;
    TfLiteDelegate *delegate;
    TfLiteInterpreterOptions *options;
    TfLiteInterpreter *interpreter;
    TfLiteTensor *input;
    const TfLiteTensor *output;
    uint8_t codes[3][256]; /* what the model wants for each pixel value */
};

static bool fits(const struct sim_engine *engine, const struct sim_model *model) {
    const int *nchw = model->input.file.dims;
    const TfLiteTensor *input = engine->input, *output = engine->output;

    return TfLiteTensorType(input) == kTfLiteInt8 && TfLiteTensorType(output) == kTfLiteInt8 &&
           TfLiteTensorNumDims(input) == 4 && TfLiteTensorDim(input, 1) == nchw[2] &&
           TfLiteTensorDim(input, 2) == nchw[3] && TfLiteTensorDim(input, 3) == nchw[1] &&
           nchw[1] == 3 && TfLiteTensorByteSize(output) == model->score_count &&
           TfLiteTensorQuantizationParams(input).scale > 0;
}

/* (pixel - mean) / std as the NPU does, in the codes of the TensorFlow Lite model. */
static void make_codes(struct sim_engine *engine, const struct sim_model *model) {
    TfLiteQuantizationParams quantities = TfLiteTensorQuantizationParams(engine->input);

    for (int c = 0; c < 3; c++) {
        for (int pixel = 0; pixel < 256; pixel++) {
            double real = (pixel - model->mean[c]) / model->std[c];
            double code = rint(real / (double)quantities.scale) + quantities.zero_point;
            engine->codes[c][pixel] = (uint8_t)(int8_t)fmin(fmax(code, -128), 127);
        }
    }
}

static int start(struct sim_engine *engine, const char *path, const struct sim_model *model,
                 struct pico_error *error) {
    int status = pico_map_file(&engine->file, path, "compute in place of the NPU", error);

    if (status != PICO_OK)
        return status;
    engine->model = TfLiteModelCreate(engine->file.data, engine->file.size);
    if (engine->model == NULL)
        return pico_fail(error, PICO_BAD_INPUT, "%s is a damaged TensorFlow Lite model", path);
    engine->options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(engine->options, 1);
    TfLiteXNNPackDelegateOptions options = TfLiteXNNPackDelegateOptionsDefault();
    options.num_threads = 1;
    options.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_QS8;
    engine->delegate = TfLiteXNNPackDelegateCreate(&options);
    if (engine->delegate != NULL)
        TfLiteInterpreterOptionsAddDelegate(engine->options, engine->delegate);
    engine->interpreter = TfLiteInterpreterCreate(engine->model, engine->options);
    if (engine->interpreter == NULL ||
        TfLiteInterpreterGetInputTensorCount(engine->interpreter) != 1 ||
        TfLiteInterpreterGetOutputTensorCount(engine->interpreter) != 1 ||
        TfLiteInterpreterAllocateTensors(engine->interpreter) != kTfLiteOk)
        return pico_fail(error, PICO_BAD_INPUT, "TensorFlow Lite cannot run %s", path);
    engine->input = TfLiteInterpreterGetInputTensor(engine->interpreter, 0);
    engine->output = TfLiteInterpreterGetOutputTensor(engine->interpreter, 0);
    if (!fits(engine, model)) {
        return pico_fail(error, PICO_BAD_INPUT, "%s has other shapes or types than the RKNN model",
                         path);
    }
    make_codes(engine, model);
    return PICO_OK;
}

struct sim_engine *sim_engine_open(const char *path, const struct sim_model *model,
                                   struct pico_error *error) {
    struct sim_engine *engine = calloc(1, sizeof *engine);

    if (engine == NULL) {
        pico_fail(error, PICO_FAILED, "not enough memory to open %s", path);
        return NULL;
    }
    if (start(engine, path, model, error) != PICO_OK) {
        sim_engine_close(engine);
        return NULL;
    }
    return engine;
}

/* Codes of the NPU's own input quantisation, for applications that quantise themselves. */
static uint8_t recode(const struct sim_engine *engine, const struct sim_model *model, int8_t code) {
    TfLiteQuantizationParams quantities = TfLiteTensorQuantizationParams(engine->input);
    double real = (code - model->input.zero_point) * (double)model->input.scale;
    double other = rint(real / (double)quantities.scale) + quantities.zero_point;

    return (uint8_t)(int8_t)fmin(fmax(other, -128), 127);
}

int sim_engine_run(struct sim_engine *engine, const struct sim_model *model,
                   const struct sim_picture *picture, float *scores, size_t count) {
    uint8_t *target = TfLiteTensorData(engine->input);
    TfLiteQuantizationParams quantities = TfLiteTensorQuantizationParams(engine->output);

    for (int y = 0; y < picture->height; y++) {
        const uint8_t *row = picture->pixels + (size_t)y * picture->row_bytes;
        for (int x = 0; x < picture->width * 3; x += 3, target += 3) {
            for (int c = 0; c < 3; c++)
                target[c] = picture->quantised ? recode(engine, model, (int8_t)row[x + c])
                                               : engine->codes[c][row[x + c]];
        }
    }
    if (TfLiteInterpreterInvoke(engine->interpreter) != kTfLiteOk)
        return -1;
    const int8_t *codes = TfLiteTensorData(engine->output);
    for (size_t i = 0; i < count; i++)
        scores[i] = (float)(codes[i] - quantities.zero_point) * quantities.scale;
    return 0;
}

void sim_engine_close(struct sim_engine *engine) {
    if (engine->interpreter != NULL)
        TfLiteInterpreterDelete(engine->interpreter);
    if (engine->options != NULL)
        TfLiteInterpreterOptionsDelete(engine->options);
    if (engine->delegate != NULL)
        TfLiteXNNPackDelegateDelete(engine->delegate);
    if (engine->model != NULL)
        TfLiteModelDelete(engine->model);
    pico_unmap_file(&engine->file);
    free(engine);
}
