/* Samples and their statistics. */
#ifndef PICO_STATS_H
#define PICO_STATS_H

#include <stddef.h>

struct pico_samples {
    double *values;
    size_t count;
    size_t capacity;
};

/* Percentiles interpolate linearly between order statistics: the value at rank p/100 * (n - 1)
 * of the sorted samples (Hyndman and Fan 1996, type 7; numpy's default). */
#define PICO_PERCENTILE_RULE "linear interpolation between order statistics (Hyndman-Fan type 7)"

struct pico_stats {
    size_t n;      /* finite samples: all figures below are of these */
    size_t failed; /* NaN, infinite or negative samples: a broken clock */
    double min, median, p90, p99, max, mean;
    double stddev; /* of the sample (n - 1); NaN below two samples */
    double cv;     /* stddev / mean; NaN below two samples or when the mean is 0 */
};

/* Room for `capacity` samples, so that adding them allocates nothing. 0, or -1 without memory. */
int pico_samples_reserve(struct pico_samples *samples, size_t capacity);
int pico_samples_add(struct pico_samples *samples, double value);
void pico_samples_free(struct pico_samples *samples);

/* With no usable sample every figure is NaN. Returns -1 without memory, else 0. */
int pico_stats_of(const struct pico_samples *samples, struct pico_stats *stats);

/* NaN with no usable sample or without memory. */
double pico_median(const struct pico_samples *samples);

/* `sorted` ascending, count >= 1, 0 <= percent <= 100. */
double pico_percentile(const double *sorted, size_t count, double percent);

#endif
