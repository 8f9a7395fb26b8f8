/* The protocol of one picture: first run and warm-up apart, at least N runs and T seconds. */
#include "check.h"

#include <time.h>

#include "runner.h"

static uint8_t pixels[4 * 4 * 3];
static float scores[3] = {0.1f, 0.7f, 0.2f};
static int runs, pause_us, fail_from, fail_to;

static int open_nothing(void **state, const struct pico_backend_options *options,
                        struct pico_error *error) {
    (void)options, (void)error;
    *state = &runs;
    return PICO_OK;
}

static void describe(void *state, struct pico_description *description) {
    (void)state, (void)description;
}

static void get_input(void *state, struct pico_input_view *view) {
    (void)state;
    *view = (struct pico_input_view){pixels, PICO_UINT8, 4, 4, 3, 12, 1, 0, true};
}

static int run(void *state, struct pico_error *error) {
    const struct timespec pause = {0, pause_us * 1000L};

    (void)state;
    nanosleep(&pause, NULL);
    runs++;
    if (runs >= fail_from && runs <= fail_to)
        return pico_fail(error, PICO_FAILED, "no luck");
    return PICO_OK;
}

static void get_output(void *state, struct pico_output_view *view) {
    (void)state;
    *view = (struct pico_output_view){scores, PICO_FLOAT32, 3, 3, 0, 1, 0};
}

static void close_nothing(void *state) {
    (void)state;
}

static const struct pico_backend backend = {
    .program = "test",
    .engine = "cpu",
    .extra_help = "",
    .open = open_nothing,
    .describe = describe,
    .get_input = get_input,
    .run = run,
    .get_output = get_output,
    .close = close_nothing,
};

static struct pico_runner runner;
static struct pico_error trouble;

static int fresh(void **state) {
    FILE *file = fopen("picture.rgb", "wb");

    (void)state;
    if (file == NULL || fwrite(pixels, 1, sizeof pixels, file) != sizeof pixels ||
        fclose(file) != 0)
        return 1;
    memset(&runner, 0, sizeof runner);
    runs = pause_us = fail_to = 0;
    fail_from = 1;
    runner.backend = &backend;
    runner.options = (struct pico_options){.root = "",
                                           .model = "none",
                                           .images = {"picture.rgb"},
                                           .image_count = 1,
                                           .raw_width = 4,
                                           .raw_height = 4,
                                           .effort.min_runs = 1,
                                           .effort.max_secs = 600,
                                           .effort.threads = 1,
                                           .top_k = 1};
    return pico_runner_load(&runner, &trouble);
}

static int gone(void **state) {
    (void)state;
    pico_runner_unload(&runner);
    return unlink("picture.rgb");
}

static size_t measured(enum pico_stage stage) {
    return runner.pictures[0].samples[stage].count;
}

static void first_and_warm_up_are_no_samples(void **state) {
    (void)state;
    runner.options.effort.warmup_runs = 3;
    runner.options.effort.min_runs = 5;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], true, &trouble), PICO_OK);
    assert_int_equal(runs, 1 + 3 + 5);
    for (int stage = 0; stage < PICO_STAGES; stage++)
        assert_int_equal(measured((enum pico_stage)stage), 5);
    assert_true(runner.pictures[0].has_first);
    assert_int_equal(runner.pictures[0].top[0].class_index, 1);
}

static void only_the_first_picture_has_a_first_run(void **state) {
    (void)state;
    runner.options.effort.warmup_runs = 1;
    runner.options.effort.min_runs = 2;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_int_equal(runs, 1 + 2);
    assert_false(runner.pictures[0].has_first);
}

/* N is not enough while T has not passed. */
static void at_least_so_long(void **state) {
    (void)state;
    pause_us = 1000;
    runner.options.effort.min_secs = 0.05;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_true(runner.pictures[0].loop_us >= 0.05e6);
    assert_true(measured(PICO_TOTAL) >= 1);
    assert_int_equal(measured(PICO_TOTAL), runs);
}

/* T is not enough while there are not N. */
static void at_least_so_many(void **state) {
    (void)state;
    pause_us = 1000;
    runner.options.effort.min_secs = 1e-6;
    runner.options.effort.min_runs = 40;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_int_equal(measured(PICO_TOTAL), 40);
    assert_true(runner.pictures[0].loop_us >= 40e3);
}

static void but_not_longer(void **state) {
    (void)state;
    pause_us = 1000;
    runner.options.effort.min_runs = 1000000;
    runner.options.effort.max_secs = 0.02;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_true(measured(PICO_TOTAL) >= 1 && measured(PICO_TOTAL) <= 20);
}

/* Slower than T: one run is made, and it counts. */
static void one_run_longer_than_the_time(void **state) {
    (void)state;
    pause_us = 20000;
    runner.options.effort.min_secs = runner.options.effort.max_secs = 0.001;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_int_equal(measured(PICO_TOTAL), 1);
}

static void failed_runs_are_counted_and_are_no_samples(void **state) {
    (void)state;
    runner.options.effort.min_runs = 10;
    fail_from = 4;
    fail_to = 5;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble), PICO_OK);
    assert_int_equal(runner.pictures[0].failed, 2);
    assert_int_equal(measured(PICO_TOTAL), 8);
    assert_int_equal(measured(PICO_INFERENCE), 8);
}

static void three_failures_end_it(void **state) {
    (void)state;
    runner.options.effort.min_runs = 10;
    fail_from = 2;
    fail_to = 100;
    assert_int_equal(pico_runner_measure(&runner, &runner.pictures[0], false, &trouble),
                     PICO_FAILED);
    assert_int_equal(runs, 1 + 3);
    assert_says(trouble, "no luck");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, gone)
    const struct CMUnitTest tests[] = {
        TEST(first_and_warm_up_are_no_samples),
        TEST(only_the_first_picture_has_a_first_run),
        TEST(at_least_so_long),
        TEST(at_least_so_many),
        TEST(but_not_longer),
        TEST(one_run_longer_than_the_time),
        TEST(failed_runs_are_counted_and_are_no_samples),
        TEST(three_failures_end_it),
    };
    char folder[] = "/tmp/runner-loop-XXXXXX";

    if (mkdtemp(folder) == NULL || chdir(folder) != 0)
        return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(folder) != 0 ? 1 : status;
}
