/* The inner loops of resampling: weighted sums of pixels along a row and of rows. */
#ifndef PICO_RESAMPLE_LOOPS_H
#define PICO_RESAMPLE_LOOPS_H

#include <stddef.h>
#include <stdint.h>

enum {
    PICO_PIXEL = 3, /* bytes: 8-bit RGB */
    /* Weights of an output are read four at a time. */
    PICO_TAPS_MIN = 4,
    /* 255 << 15 and a rounding half fit 32 bits; a single tap of weight 1 fits 16 bits. */
    PICO_WEIGHT_BITS = 15,
};

/* One direction: output i is the weighted sum of inputs first[i] ... first[i] + count[i] - 1. */
struct pico_filter {
    int outputs;
    int taps; /* room for weights of each output */
    int *first;
    int *count;
    uint16_t
        *weights; /* [outputs][taps], 0 beyond count; their sum is exactly 1 << PICO_WEIGHT_BITS */
};

/* In portable C and, where available, in NEON; both give the same bytes. */
void pico_resample_across_c(const struct pico_filter *filter, const uint8_t *row, int first_column,
                            uint8_t *out);
void pico_resample_down_c(const uint8_t *const *rows, const uint16_t *weights, int count,
                          size_t bytes, uint8_t *out);
#ifdef __ARM_NEON
void pico_resample_across_neon(const struct pico_filter *filter, const uint8_t *row,
                               int first_column, int columns, uint8_t *out);
void pico_resample_down_neon(const uint8_t *const *rows, const uint16_t *weights, int count,
                             size_t bytes, uint8_t *out);
#endif

#endif
