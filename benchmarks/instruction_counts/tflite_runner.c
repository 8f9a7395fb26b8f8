/* Run a model N times with the TensorFlow Lite that neon-runner links, and nothing else.
 *
 * Usage: tflite_runner MODEL RUNS xnnpack|no-delegate
 *
 * neon-runner decodes and scales a picture too; the wheel that it is compared with does not.
 * The delegate is made exactly as neon-runner makes it. Exit 3: XNNPACK refused.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/lite/c/c_api.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"

static void fill(TfLiteTensor *tensor) {
    size_t size = TfLiteTensorByteSize(tensor);

    if (TfLiteTensorType(tensor) == kTfLiteFloat32) {
        float *values = TfLiteTensorData(tensor);

        for (size_t i = 0; i < size / sizeof(float); i++)
            values[i] = (float)(i % 255) / 128 - 1;
    } else {
        int8_t *values = TfLiteTensorData(tensor);

        for (size_t i = 0; i < size; i++)
            values[i] = (int8_t)(i % 255 - 128);
    }
}

static int best(const TfLiteTensor *tensor) {
    size_t size = TfLiteTensorByteSize(tensor);
    int top = 0;

    if (TfLiteTensorType(tensor) == kTfLiteFloat32) {
        const float *values = TfLiteTensorData(tensor);

        for (size_t i = 1; i < size / sizeof(float); i++)
            top = values[i] > values[top] ? (int)i : top;
    } else {
        const int8_t *values = TfLiteTensorData(tensor);

        for (size_t i = 1; i < size; i++)
            top = values[i] > values[top] ? (int)i : top;
    }
    return top;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: tflite_runner MODEL RUNS xnnpack|no-delegate\n");
        return 2;
    }
    TfLiteModel *model = TfLiteModelCreateFromFile(argv[1]);
    TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();
    TfLiteDelegate *delegate = NULL;

    if (!model)
        return 1;
    TfLiteInterpreterOptionsSetNumThreads(options, 1);
    if (strcmp(argv[3], "xnnpack") == 0) {
        TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();

        xnnpack.num_threads = 1;
        xnnpack.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
        delegate = TfLiteXNNPackDelegateCreate(&xnnpack);
        if (!delegate) {
            fprintf(stderr, "tflite_runner: XNNPACK refused\n");
            return 3;
        }
        TfLiteInterpreterOptionsAddDelegate(options, delegate);
    }
    TfLiteInterpreter *interpreter = TfLiteInterpreterCreate(model, options);

    if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk)
        return 1;
    fill(TfLiteInterpreterGetInputTensor(interpreter, 0));
    for (int run = 0; run < atoi(argv[2]); run++)
        if (TfLiteInterpreterInvoke(interpreter) != kTfLiteOk)
            return 1;
    printf("ran %s top %d\n", argv[2], best(TfLiteInterpreterGetOutputTensor(interpreter, 0)));
    TfLiteInterpreterDelete(interpreter);
    if (delegate)
        TfLiteXNNPackDelegateDelete(delegate);
    TfLiteInterpreterOptionsDelete(options);
    TfLiteModelDelete(model);
    return 0;
}
