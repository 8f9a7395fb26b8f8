/* The XNNPACK delegate, and how much of the graph it took. */
#ifndef PICO_XNNPACK_H
#define PICO_XNNPACK_H

#include <tensorflow/lite/c/c_api.h>
#include <tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h>

struct pico_xnnpack {
    TfLiteDelegate *delegate; /* NULL when it could not start */
    int nodes_before;         /* of the graph as loaded */
    int nodes_taken;          /* of those, now inside XNNPACK */
    int partitions;           /* how many pieces of the graph XNNPACK runs */
    /* The delegate's own Prepare, which ours calls: see xnnpack.c. */
    TfLiteStatus (*prepare)(TfLiteContext *context, TfLiteDelegate *delegate);
};

/* Create the delegate for float32, int8 and uint8 models. Its address must not change while an
 * interpreter lives. `delegate` stays NULL when XNNPACK refuses the CPU. */
void pico_xnnpack_create(struct pico_xnnpack *xnnpack, int threads);
void pico_xnnpack_delete(struct pico_xnnpack *xnnpack);

#endif
