/* Run a model once on raw input bytes: run_model MODEL INPUT OUTPUT xnnpack|no-delegate
 *
 * Exit 3 when XNNPACK refuses, 1 for any other failure.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/lite/c/c_api.h"
#include "tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h"

static int transfer(const char *path, const char *mode, void *data, size_t size) {
    FILE *file = fopen(path, mode);
    size_t done;

    if (!file) {
        perror(path);
        return -1;
    }
    done = mode[0] == 'r' ? fread(data, 1, size, file) : fwrite(data, 1, size, file);
    if (fclose(file) != 0 || done != size) {
        fprintf(stderr, "%s: %zu bytes of %zu\n", path, done, size);
        return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    TfLiteModel *model = TfLiteModelCreateFromFile(argv[1]);
    TfLiteInterpreterOptions *options = TfLiteInterpreterOptionsCreate();

    if (!model)
        return 1;
    TfLiteInterpreterOptionsSetNumThreads(options, 1);
    if (strcmp(argv[4], "xnnpack") == 0) {
        TfLiteXNNPackDelegateOptions xnnpack = TfLiteXNNPackDelegateOptionsDefault();
        TfLiteDelegate *delegate;

        xnnpack.num_threads = 1;
        xnnpack.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
        delegate = TfLiteXNNPackDelegateCreate(&xnnpack);
        if (!delegate) {
            fprintf(stderr, "run_model: XNNPACK refused\n");
            return 3;
        }
        TfLiteInterpreterOptionsAddDelegate(options, delegate);
    }
    TfLiteInterpreter *interpreter = TfLiteInterpreterCreate(model, options);

    if (!interpreter || TfLiteInterpreterAllocateTensors(interpreter) != kTfLiteOk)
        return 1;
    TfLiteTensor *input = TfLiteInterpreterGetInputTensor(interpreter, 0);

    if (transfer(argv[2], "rb", TfLiteTensorData(input), TfLiteTensorByteSize(input)) != 0 ||
        TfLiteInterpreterInvoke(interpreter) != kTfLiteOk)
        return 1;
    const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(interpreter, 0);

    return transfer(argv[3], "wb", TfLiteTensorData(output), TfLiteTensorByteSize(output)) != 0;
}
