/* TensorFlow Lite does not report how much of a graph a delegate took: the C API has no call for
 * it, and the log line is compiled out of release builds. The delegate's Prepare is therefore
 * wrapped, and the execution plan is read before and after it. */
#include "xnnpack.h"

#include <stddef.h>
#include <string.h>

/* TfLiteDelegate carries one user pointer, and XNNPACK owns it. A program has one delegate. */
static struct pico_xnnpack *current;

static void count_taken(struct pico_xnnpack *xnnpack, TfLiteContext *context) {
    TfLiteIntArray *plan = NULL;

    if (context->GetExecutionPlan(context, &plan) != kTfLiteOk)
        return;
    for (int i = 0; i < plan->size; i++) {
        TfLiteNode *node = NULL;
        TfLiteRegistration *registration = NULL;
        if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) !=
                kTfLiteOk ||
            node->delegate != xnnpack->delegate || node->builtin_data == NULL)
            continue;
        const TfLiteDelegateParams *taken = node->builtin_data;
        xnnpack->nodes_taken += taken->nodes_to_replace->size;
        xnnpack->partitions++;
    }
}

static TfLiteStatus prepare_and_count(TfLiteContext *context, TfLiteDelegate *delegate) {
    TfLiteIntArray *plan = NULL;

    /* Called for each subgraph; only the first is the model's main graph. */
    if (current->nodes_before == 0 && context->GetExecutionPlan(context, &plan) == kTfLiteOk)
        current->nodes_before = plan->size;
    TfLiteStatus status = current->prepare(context, delegate);
    if (status == kTfLiteOk)
        count_taken(current, context);
    return status;
}

void pico_xnnpack_create(struct pico_xnnpack *xnnpack, int threads) {
    memset(xnnpack, 0, sizeof *xnnpack);
    TfLiteXNNPackDelegateOptions options = TfLiteXNNPackDelegateOptionsDefault();
    options.num_threads = threads;
    /* Without these flags 8-bit models would silently run on the slow built-in kernels. */
    options.flags |= TFLITE_XNNPACK_DELEGATE_FLAG_QS8 | TFLITE_XNNPACK_DELEGATE_FLAG_QU8;
    xnnpack->delegate = TfLiteXNNPackDelegateCreate(&options);
    if (xnnpack->delegate == NULL)
        return;
    current = xnnpack;
    xnnpack->prepare = xnnpack->delegate->Prepare;
    xnnpack->delegate->Prepare = prepare_and_count;
}

void pico_xnnpack_delete(struct pico_xnnpack *xnnpack) {
    if (xnnpack->delegate != NULL)
        TfLiteXNNPackDelegateDelete(xnnpack->delegate);
    memset(xnnpack, 0, sizeof *xnnpack);
}
