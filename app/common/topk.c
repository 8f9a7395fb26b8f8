#include "topk.h"

#include <math.h>
#include <string.h>

/* One insertion pass for every type: `best` holds indices in order, `key` reads a comparable
 * value. A macro, so that int8 scores are compared as int8 and only the winners are converted. */
#define SELECT(TYPE)                                                                               \
    do {                                                                                           \
        const TYPE *values = view->data;                                                           \
        TYPE keys[PICO_TOPK_MAX];                                                                  \
        for (int first = 0; first < view->classes; first += view->group) {                         \
            const TYPE *group = values + (size_t)(first / view->group) * view->group_stride;       \
            int end = view->classes - first < view->group ? view->classes - first : view->group;   \
            for (int i = 0; i < end; i++) {                                                        \
                TYPE value = group[i];                                                             \
                if (count == k && !(value > keys[k - 1]))                                          \
                    continue;                                                                      \
                int at = count < k ? count++ : k - 1;                                              \
                for (; at > 0 && value > keys[at - 1]; at--) {                                     \
                    keys[at] = keys[at - 1];                                                       \
                    top[at].class_index = top[at - 1].class_index;                                 \
                }                                                                                  \
                keys[at] = value;                                                                  \
                top[at].class_index = first + i;                                                   \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static int select_half(const struct pico_output_view *view, int k, struct pico_top *top) {
    int count = 0;

    for (int i = 0; i < view->classes; i++) {
        float value = pico_output_score(view, i);
        if (count == k && !(value > top[k - 1].score))
            continue;
        int at = count < k ? count++ : k - 1;
        for (; at > 0 && value > top[at - 1].score; at--)
            top[at] = top[at - 1];
        top[at].class_index = i;
        top[at].score = value;
    }
    return count;
}

static bool has_non_finite(const struct pico_output_view *view) {
    if (view->type != PICO_FLOAT32 && view->type != PICO_FLOAT16)
        return false;
    for (int i = 0; i < view->classes; i++) {
        if (!isfinite(pico_output_score(view, i)))
            return true;
    }
    return false;
}

/* sum over classes of exp(score - best), where best is the largest score. */
static double exp_sum(const struct pico_output_view *view, float best) {
    double sum = 0;

    if (view->type == PICO_INT8 || view->type == PICO_UINT8) {
        /* 8-bit scores take 256 values: count them, then 256 exponentials instead of `classes`. */
        const uint8_t *bytes = view->data;
        unsigned counts[256];
        memset(counts, 0, sizeof counts);
        for (int i = 0; i < view->classes; i++)
            counts[bytes[pico_output_index(view, i)]]++;
        for (int code = 0; code < 256; code++) {
            if (counts[code] == 0)
                continue;
            int stored = view->type == PICO_INT8 ? (int8_t)code : code;
            float score = (float)(stored - view->zero_point) * view->scale;
            sum += counts[code] * (double)expf(score - best);
        }
        return sum;
    }
    for (int i = 0; i < view->classes; i++)
        sum += (double)expf(pico_output_score(view, i) - best);
    return sum;
}

int pico_topk(const struct pico_output_view *view, int k, bool softmax, struct pico_top *top) {
    int count = 0;

    if (k > PICO_TOPK_MAX)
        k = PICO_TOPK_MAX;
    if (k < 1 || view->classes < 1)
        return 0;
    if (has_non_finite(view))
        return -1;
    switch (view->type) {
    case PICO_FLOAT32:
        SELECT(float);
        break;
    case PICO_INT8:
        SELECT(int8_t);
        break;
    case PICO_UINT8:
        SELECT(uint8_t);
        break;
    case PICO_INT16:
        SELECT(int16_t);
        break;
    case PICO_FLOAT16:
        count = select_half(view, k, top);
        break;
    }
    for (int i = 0; i < count; i++)
        top[i].score = pico_output_score(view, top[i].class_index);
    double sum = softmax ? exp_sum(view, top[0].score) : 1;
    for (int i = 0; i < count; i++) {
        top[i].probability =
            softmax ? (float)((double)expf(top[i].score - top[0].score) / sum) : top[i].score;
    }
    return count;
}

double pico_cosine(const float *a, const float *b, size_t count) {
    double dot = 0, aa = 0, bb = 0;

    for (size_t i = 0; i < count; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : NAN;
}
