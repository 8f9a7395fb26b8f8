#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int pico_samples_reserve(struct pico_samples *samples, size_t capacity) {
    if (capacity <= samples->capacity)
        return 0;
    double *values = realloc(samples->values, capacity * sizeof *values);
    if (values == NULL)
        return -1;
    samples->values = values;
    samples->capacity = capacity;
    return 0;
}

int pico_samples_add(struct pico_samples *samples, double value) {
    if (samples->count == samples->capacity) {
        size_t capacity = samples->capacity == 0 ? 64 : samples->capacity * 2;
        if (pico_samples_reserve(samples, capacity) != 0)
            return -1;
    }
    samples->values[samples->count++] = value;
    return 0;
}

void pico_samples_free(struct pico_samples *samples) {
    free(samples->values);
    memset(samples, 0, sizeof *samples);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double pico_percentile(const double *sorted, size_t count, double percent) {
    double rank = percent / 100.0 * (double)(count - 1);
    size_t below = (size_t)floor(rank);
    double part = rank - (double)below;

    if (below + 1 >= count)
        return sorted[count - 1];
    return sorted[below] + part * (sorted[below + 1] - sorted[below]);
}

int pico_stats_of(const struct pico_samples *samples, struct pico_stats *stats) {
    double *sorted = malloc((samples->count > 0 ? samples->count : 1) * sizeof *sorted);
    size_t n = 0;

    if (sorted == NULL)
        return -1;
    for (size_t i = 0; i < samples->count; i++) {
        double value = samples->values[i];
        if (isfinite(value) && value >= 0)
            sorted[n++] = value;
    }
    memset(stats, 0, sizeof *stats);
    stats->n = n;
    stats->failed = samples->count - n;
    stats->min = stats->median = stats->p90 = stats->p99 = stats->max = NAN;
    stats->mean = stats->stddev = stats->cv = NAN;
    if (n == 0) {
        free(sorted);
        return 0;
    }
    qsort(sorted, n, sizeof *sorted, ascending);
    stats->min = sorted[0];
    stats->max = sorted[n - 1];
    stats->median = pico_percentile(sorted, n, 50);
    stats->p90 = pico_percentile(sorted, n, 90);
    stats->p99 = pico_percentile(sorted, n, 99);

    double mean = 0, squares = 0; /* Welford 1962: no cancellation when all are nearly equal */
    for (size_t i = 0; i < n; i++) {
        double delta = sorted[i] - mean;
        mean += delta / (double)(i + 1);
        squares += delta * (sorted[i] - mean);
    }
    stats->mean = mean;
    if (n > 1) {
        stats->stddev = sqrt(squares / (double)(n - 1));
        if (mean > 0)
            stats->cv = stats->stddev / mean;
    }
    free(sorted);
    return 0;
}

double pico_median(const struct pico_samples *samples) {
    struct pico_stats stats;

    return pico_stats_of(samples, &stats) == 0 ? stats.median : NAN;
}
