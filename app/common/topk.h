/* The best classes, selected in the number type of the model's output. */
#ifndef PICO_TOPK_H
#define PICO_TOPK_H

#include <stddef.h>

#include "tensor.h"

enum { PICO_TOPK_MAX = 100 };

struct pico_top {
    int class_index;
    float score;       /* dequantised; the logit when the model ends in logits */
    float probability; /* after softmax where it is asked for, else the score */
};

/* Fill `top` with the k best, best first, equal scores by ascending class; returns how many
 * (at most `classes`), or -1 when a score is NaN or infinite: such an output has no best class.
 * Integer outputs are compared as integers; only the winners become float. */
int pico_topk(const struct pico_output_view *view, int k, bool softmax, struct pico_top *top);

/* sum(a*b) / (|a| |b|); NaN when a vector is zero or holds NaN. */
double pico_cosine(const float *a, const float *b, size_t count);

#endif
