#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Far beyond what JPEG (65535) and our PNG limit allow; keeps all products in range. */
    MAX_SOURCE = 1 << 20,
};

static double triangle(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static void filter_free(struct pico_filter *filter) {
    free(filter->first);
    free(filter->count);
    free(filter->weights);
    memset(filter, 0, sizeof *filter);
}

static int filter_init(struct pico_filter *filter, int inputs, double from, double to, int outputs,
                       struct pico_error *error) {
    double scale = (to - from) / outputs;
    double widening = scale < 1.0 ? 1.0 : scale;
    double support = widening; /* of the triangle: 1 output pixel to each side */

    filter->outputs = outputs;
    filter->taps = (int)ceil(support) * 2 + 1;
    if (filter->taps < PICO_TAPS_MIN)
        filter->taps = PICO_TAPS_MIN; /* the rest stays 0: read, but without effect */
    filter->first = calloc((size_t)outputs, sizeof *filter->first);
    filter->count = calloc((size_t)outputs, sizeof *filter->count);
    filter->weights = calloc((size_t)outputs * (size_t)filter->taps, sizeof *filter->weights);
    double *exact = calloc((size_t)filter->taps, sizeof *exact);
    if (filter->first == NULL || filter->count == NULL || filter->weights == NULL ||
        exact == NULL) {
        free(exact);
        return pico_fail(error, PICO_FAILED, "not enough memory to resize %d pixels to %d", inputs,
                         outputs);
    }
    for (int i = 0; i < outputs; i++) {
        double center = from + (i + 0.5) * scale;
        int first = (int)(center - support + 0.5);
        int end = (int)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > inputs ? inputs : end;
        double sum = 0;
        for (int x = first; x < end; x++)
            sum += exact[x - first] = triangle((x - center + 0.5) / widening);
        /* Rounding the running sum makes the weights add up to exactly 1, however many there are:
         * a flat area keeps its value. */
        double running = 0;
        uint16_t *weights = filter->weights + (size_t)i * (size_t)filter->taps;
        long before = 0;
        for (int x = first; x < end; x++) {
            running += exact[x - first] / sum;
            long upto =
                x + 1 == end ? 1L << PICO_WEIGHT_BITS : lround(running * (1 << PICO_WEIGHT_BITS));
            weights[x - first] = (uint16_t)(upto - before);
            before = upto;
        }
        filter->first[i] = first;
        filter->count[i] = end - first;
    }
    free(exact);
    return PICO_OK;
}

static void extent(const struct pico_filter *filter, int *first, int *end) {
    int last = filter->outputs - 1;

    *first = filter->first[0];
    *end = filter->first[last] + filter->count[last];
}

int pico_resampler_init(struct pico_resampler *resampler, int width, int height,
                        const struct pico_box *box, int out_width, int out_height,
                        struct pico_error *error) {
    memset(resampler, 0, sizeof *resampler);
    if (width < 1 || height < 1 || width > MAX_SOURCE || height > MAX_SOURCE || out_width < 1 ||
        out_height < 1 || !(box->left >= 0 && box->left < box->right && box->right <= width) ||
        !(box->top >= 0 && box->top < box->bottom && box->bottom <= height)) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "cannot cut (%g, %g)-(%g, %g) out of a picture of %dx%d", box->left,
                         box->top, box->right, box->bottom, width, height);
    }
    resampler->out_width = out_width;
    resampler->out_height = out_height;
    int status = filter_init(&resampler->across, width, box->left, box->right, out_width, error);
    if (status == PICO_OK)
        status = filter_init(&resampler->down, height, box->top, box->bottom, out_height, error);
    if (status != PICO_OK) {
        pico_resampler_free(resampler);
        return status;
    }
    extent(&resampler->across, &resampler->first_column, &resampler->end_column);
    extent(&resampler->down, &resampler->first_row, &resampler->end_row);
    resampler->ring_rows = resampler->down.taps;
    resampler->ring_row_bytes = (size_t)out_width * PICO_PIXEL;
    resampler->ring = malloc((size_t)resampler->ring_rows * resampler->ring_row_bytes);
    resampler->rows = malloc((size_t)resampler->ring_rows * sizeof *resampler->rows);
    if (resampler->ring == NULL || resampler->rows == NULL) {
        pico_resampler_free(resampler);
        return pico_fail(error, PICO_FAILED, "not enough memory to resize to %dx%d", out_width,
                         out_height);
    }
    pico_resampler_restart(resampler);
    return PICO_OK;
}

void pico_resampler_free(struct pico_resampler *resampler) {
    filter_free(&resampler->across);
    filter_free(&resampler->down);
    free(resampler->ring);
    free(resampler->rows);
    resampler->ring = NULL;
    resampler->rows = NULL;
}

void pico_resampler_restart(struct pico_resampler *resampler) {
    resampler->next_row = resampler->first_row;
    resampler->next_output = 0;
}

static uint8_t *ring_row(const struct pico_resampler *resampler, int row) {
    return resampler->ring + (size_t)(row % resampler->ring_rows) * resampler->ring_row_bytes;
}

void pico_resampler_push(struct pico_resampler *resampler, const uint8_t *row, int columns) {
    uint8_t *out = ring_row(resampler, resampler->next_row++);

#ifdef __ARM_NEON
    pico_resample_across_neon(&resampler->across, row, resampler->first_column, columns, out);
#else
    (void)columns;
    pico_resample_across_c(&resampler->across, row, resampler->first_column, out);
#endif
}

int pico_resampler_ready(const struct pico_resampler *resampler) {
    const struct pico_filter *down = &resampler->down;
    int i = resampler->next_output;

    return i < resampler->out_height && down->first[i] + down->count[i] <= resampler->next_row;
}

void pico_resampler_take(struct pico_resampler *resampler, uint8_t *row) {
    const struct pico_filter *down = &resampler->down;
    int i = resampler->next_output++;

    for (int k = 0; k < down->count[i]; k++)
        resampler->rows[k] = ring_row(resampler, down->first[i] + k);
    const uint16_t *weights = down->weights + (size_t)i * (size_t)down->taps;
#ifdef __ARM_NEON
    pico_resample_down_neon(resampler->rows, weights, down->count[i], resampler->ring_row_bytes,
                            row);
#else
    pico_resample_down_c(resampler->rows, weights, down->count[i], resampler->ring_row_bytes, row);
#endif
}
