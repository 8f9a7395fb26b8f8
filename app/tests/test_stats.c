#include "check.h"

#include <math.h>

#include "stats.h"

static void of_nothing(void **state) {
    struct pico_stats stats;

    (void)state;
    assert_int_equal(pico_stats_of(&(struct pico_samples){NULL, 0, 0}, &stats), 0);
    assert_int_equal(stats.n, 0);
    assert_true(isnan(stats.mean) && isnan(stats.median) && isnan(stats.p99) && isnan(stats.cv));
}

static void of_one(void **state) {
    double one[] = {42.5};
    struct pico_stats stats;

    (void)state;
    assert_int_equal(pico_stats_of(&(struct pico_samples){one, 1, 1}, &stats), 0);
    assert_close(stats.min, 42.5, 0);
    assert_close(stats.p99, 42.5, 0);
    assert_close(stats.mean, 42.5, 0);
    assert_true(isnan(stats.stddev) && isnan(stats.cv));
}

static void of_equals(void **state) {
    double equal[1000];
    struct pico_stats stats;

    (void)state;
    for (int i = 0; i < 1000; i++)
        equal[i] = 123456.789; /* a naive sum of squares leaves a rounding error here */
    assert_int_equal(pico_stats_of(&(struct pico_samples){equal, 1000, 1000}, &stats), 0);
    assert_close(stats.stddev, 0, 1e-9);
    assert_close(stats.p90, 123456.789, 0);
}

static void without_broken_samples(void **state) {
    double broken[] = {3, NAN, 1, INFINITY, -5, 2};
    struct pico_stats stats;

    (void)state;
    assert_int_equal(pico_stats_of(&(struct pico_samples){broken, 6, 6}, &stats), 0);
    assert_int_equal(stats.n, 3);
    assert_int_equal(stats.failed, 3);
    assert_close(stats.mean, 2, 1e-12);
    assert_close(pico_median(&(struct pico_samples){broken, 6, 6}), 2, 0);
    assert_close(stats.stddev, 1, 1e-12);
    assert_close(stats.cv, 0.5, 1e-12);
}

/* numpy.percentile([15, 20, 35, 40, 50], [10, 40, 90, 99]) = 17, 29, 46, 49.6 */
static void percentiles_of_numpy(void **state) {
    const double sorted[] = {15, 20, 35, 40, 50};

    (void)state;
    assert_close(pico_percentile(sorted, 5, 0), 15, 0);
    assert_close(pico_percentile(sorted, 5, 10), 17, 1e-12);
    assert_close(pico_percentile(sorted, 5, 40), 29, 1e-12);
    assert_close(pico_percentile(sorted, 5, 90), 46, 1e-12);
    assert_close(pico_percentile(sorted, 5, 99), 49.6, 1e-12);
    assert_close(pico_percentile(sorted, 5, 100), 50, 0);
}

static void samples_grow(void **state) {
    struct pico_samples samples = {0};

    (void)state;
    assert_int_equal(pico_samples_reserve(&samples, 3), 0);
    const double *before = samples.values;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pico_samples_add(&samples, i), 0);
    assert_ptr_equal(samples.values, before); /* reserved: nothing is allocated while timing */
    for (int i = 3; i < 1000; i++)
        assert_int_equal(pico_samples_add(&samples, i), 0);
    assert_int_equal(samples.count, 1000);
    assert_close(samples.values[999], 999, 0);
    pico_samples_free(&samples);
    assert_null(samples.values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_nothing),
        cmocka_unit_test(of_one),
        cmocka_unit_test(of_equals),
        cmocka_unit_test(without_broken_samples),
        cmocka_unit_test(percentiles_of_numpy),
        cmocka_unit_test(samples_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
