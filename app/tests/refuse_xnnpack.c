/* Linked with --wrap=TfLiteXNNPackDelegateCreate: the delegate as it is on a CPU that cpuinfo does
 * not recognise (facts: on uClibc and musl before our patch it returned NULL without a word). */
#include <stddef.h>

#include <tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h>

TfLiteDelegate *__wrap_TfLiteXNNPackDelegateCreate(const TfLiteXNNPackDelegateOptions *options);

TfLiteDelegate *__wrap_TfLiteXNNPackDelegateCreate(const TfLiteXNNPackDelegateOptions *options) {
    (void)options;
    return NULL;
}
