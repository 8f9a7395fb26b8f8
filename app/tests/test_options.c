#include "check.h"

#include <getopt.h>

#include "runner.h"

static const struct pico_backend cpu = {.program = "x-runner", .engine = "cpu", .extra_help = ""};
static const struct pico_backend npu = {.program = "x-runner", .engine = "npu", .extra_help = ""};

static int parse(struct pico_options *options, struct pico_error *error,
                 const struct pico_backend *backend, ...) {
    char *words[40] = {(char *)(uintptr_t)"x-runner"};
    int count = 1;
    va_list list;

    va_start(list, backend);
    for (char *word; (word = va_arg(list, char *)) != NULL;)
        words[count++] = word;
    va_end(list);
    optind = 0; /* getopt begins anew */
    return pico_options_parse(options, count, words, backend, error);
}

static void good_ones(void **state) {
    struct pico_options options;
    struct pico_error error;

    (void)state;
    assert_int_equal(parse(&options, &error, &cpu, "--model=m", "--image", "a", "--image", "b",
                           "--min-runs", "7", "--min-secs=0.5", "--raw-size", "20x10",
                           "--no-xnnpack", "--top-k", "3", NULL),
                     PICO_OK);
    assert_string_equal(options.model, "m");
    assert_int_equal(options.image_count, 2);
    assert_int_equal(options.effort.min_runs, 7);
    assert_close(options.effort.min_secs, 0.5, 0);
    assert_int_equal(options.raw_width, 20);
    assert_int_equal(options.raw_height, 10);
    assert_int_equal(options.effort.threads, 1);
    assert_true(options.no_accelerator);
    assert_string_equal(options.root, "");
    assert_int_equal(parse(&options, &error, &cpu, "--model=m", "--image=a", "--root=/", NULL),
                     PICO_OK);
    assert_string_equal(options.root, "");
    assert_int_equal(parse(&options, &error, &cpu, "--model=m", "--image=a", "--root=/usr", NULL),
                     PICO_OK);
    assert_string_equal(options.root, "/usr");
}

static void bad_ones(void **state) {
    struct pico_options options;
    struct pico_error error;

    (void)state;
#define REFUSED(says, ...)                                                                         \
    do {                                                                                           \
        assert_int_equal(parse(&options, &error, __VA_ARGS__, NULL), PICO_BAD_INPUT);              \
        assert_says(error, says);                                                                  \
    } while (0)
    REFUSED("--model FILE is missing", &cpu, "--image", "a");
    REFUSED("--image FILE is missing", &cpu, "--model", "m");
    REFUSED("--nonsense", &cpu, "--nonsense");
    REFUSED("--model needs a value", &cpu, "--model");
    REFUSED("--min-runs 0", &cpu, "--min-runs", "0");
    REFUSED("--min-runs 5x", &cpu, "--min-runs", "5x");
    REFUSED("--threads 99999999999", &cpu, "--threads", "99999999999");
    REFUSED("--min-secs nan", &cpu, "--min-secs", "nan");
    REFUSED("--root /no/such: there is no such folder", &cpu, "--root", "/no/such");
    REFUSED("--raw-size 20", &cpu, "--raw-size", "20");
    REFUSED("--raw-size 0x5", &cpu, "--raw-size", "0x5");
    REFUSED("--raw-size 5x5x5", &cpu, "--raw-size", "5x5x5");
    REFUSED("unexpected argument extra", &cpu, "--model", "m", "--image", "a", "extra");
    REFUSED("--max-secs 1 is less", &cpu, "--model", "m", "--image", "a", "--max-secs", "1",
            "--min-secs", "2");
    REFUSED("--no-xnnpack", &npu, "--model", "m", "--image", "a", "--no-xnnpack");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(good_ones), cmocka_unit_test(bad_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
