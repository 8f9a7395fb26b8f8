/* Command-line options that the runners and npu-bench have in common.
 *
 * Names and meaning of the five numbers are those of LiteRT's benchmark_model. */
#ifndef PICO_OPTIONS_H
#define PICO_OPTIONS_H

#include <getopt.h>

#include <cjson/cJSON.h>

#include "error.h"

/* How often and for how long each picture is run. */
struct pico_effort {
    int warmup_runs, min_runs, threads;
    double min_secs, max_secs;
};

/* Add its five numbers to a result. */
void pico_effort_add(cJSON *object, const struct pico_effort *effort);

enum {
    PICO_OPT_WARMUP_RUNS = 256,
    PICO_OPT_MIN_RUNS,
    PICO_OPT_MIN_SECS,
    PICO_OPT_MAX_SECS,
    PICO_OPT_THREADS,
    PICO_OPT_ROOT,
    PICO_OPT_VERSION,
    PICO_OPT_HELP,
    PICO_OPT_OWN, /* a program's own start here */
};

/* The rows of a program's table that pico_options_read() handles itself. */
#define PICO_SHARED_OPTIONS                                                                        \
    {"warmup-runs", required_argument, NULL, PICO_OPT_WARMUP_RUNS},                                \
        {"min-runs", required_argument, NULL, PICO_OPT_MIN_RUNS},                                  \
        {"min-secs", required_argument, NULL, PICO_OPT_MIN_SECS},                                  \
        {"max-secs", required_argument, NULL, PICO_OPT_MAX_SECS},                                  \
        {"threads", required_argument, NULL, PICO_OPT_THREADS},                                    \
        {"root", required_argument, NULL, PICO_OPT_ROOT},                                          \
        {"version", no_argument, NULL, PICO_OPT_VERSION}, {                                        \
        "help", no_argument, NULL, PICO_OPT_HELP                                                   \
    }

/* The line of --help. */
#define PICO_HELP_ROOT                                                                             \
    "  --root DIR         read /proc, /sys, /dev and /etc below DIR: a recorded board\n"

struct pico_option_reader {
    const char *program;
    const struct option *table;
    struct pico_effort *effort; /* with the program's defaults */
    const char **root;          /* set to "" by the program; --root DIR */
    void *user;
    /* One of the program's own options. */
    int (*set)(void *user, int option, const char *value, struct pico_error *error);
    void (*print_help)(const void *user);
};

/* PICO_OK, PICO_BAD_INPUT, or -1 after --help and --version. */
int pico_options_read(const struct pico_option_reader *reader, int argc, char **argv,
                      struct pico_error *error);

/* PICO_BAD_INPUT names the option, its value and what is allowed. */
int pico_option_int(const char *name, const char *text, int low, int high, int *value,
                    struct pico_error *error);

#endif
