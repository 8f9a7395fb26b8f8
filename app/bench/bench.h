/* npu-bench: the installed models on every engine, one process at a time.
 *
 * A round runs each configuration (model, engine, precision) once; rounds follow each other, so
 * that a slow drift of clock or temperature hits all configurations alike. Every configuration
 * of a round is a process of its own: two models do not fit into 64 MB beside each other, and
 * loading is measured anew each time.
 */
#ifndef BENCH_H
#define BENCH_H

#include <limits.h>
#include <stdbool.h>

#include <cjson/cJSON.h>

#include "card.h"
#include "error.h"
#include "options.h"
#include "stages.h"
#include "stats.h"

enum {
    BENCH_MODELS_MAX = 16,
    BENCH_CONFIGS = 3, /* of one model: CPU float32, CPU int8, NPU int8 */
};

struct bench_options {
    const char *models, *output, *json, *only_model, *only_engine, *programs, *root;
    bool quick, mlperf_style, keep_governor;
    int rounds;
    int pictures; /* of each model, the first ones; 0: all */
    struct pico_effort effort;
};

/* One picture in one configuration, over all rounds. */
struct bench_picture {
    struct pico_samples stages[PICO_STAGES];
    struct pico_samples first[PICO_STAGES]; /* first inference after loading; one a round */
    struct pico_samples loops;              /* wall time of the timed runs; one a round */
    int failed;
    int correct;   /* 1, 0, or -1 when the card names no class */
    cJSON *top;    /* of the last round */
    float *logits; /* of the last round, [classes] */
    int classes;
};

struct bench_config {
    const char *engine;    /* "cpu", "npu" */
    const char *precision; /* "float32", "int8" */
    const char *title;     /* "CPU float32" */
    const char *program;   /* "neon-runner" */
    const struct pico_card_file *file;
    bool present; /* the card has the file and the program is installed */
    bool simulated;
    double bytes;      /* of the file; NAN unknown */
    char verified[16]; /* the file's SHA-256 against the card: "yes", "no", "unknown" */
    char failure[640]; /* "" or why it could not be measured */
    int rounds;        /* that ended well */
    struct pico_samples load;
    long peak_kib, available_kib;
    cJSON *facts;                   /* "engine" of the runner's result */
    cJSON *verification;            /* of the NPU's answers to golden vectors; NULL: none */
    char verification_failure[640]; /* "" or why they could not be compared */
    struct bench_picture pictures[PICO_CARD_IMAGES];
};

struct bench_model {
    char folder[PATH_MAX];
    struct pico_card card;
    struct bench_config configs[BENCH_CONFIGS];
};

struct bench {
    struct bench_options options;
    struct bench_model *models;
    int model_count;
    struct pico_notes warnings, failures;
    cJSON *system, *before, *after;
    bool emulated;
    char started[32], name[40], governor_before[32], governor_used[32];
    int guard, guard_pipe; /* governor.c: the process that restores it, and our end of its pipe */
};

/* options.c: PICO_OK, PICO_BAD_INPUT, or -1 after --help and --version. */
int bench_options_parse(struct bench_options *options, int argc, char **argv,
                        struct pico_error *error);

/* models.c */
int bench_models_find(struct bench *bench, struct pico_error *error);
void bench_models_free(struct bench *bench);
/* Compare each file with the hash on its card. */
int bench_models_verify(struct bench *bench, struct pico_error *error);

/* measure.c: compare the NPU's answers with the golden vectors of each model, once. What is wrong
 * is reported, and measuring goes on. */
int bench_verify(struct bench *bench, struct pico_error *error);

/* measure.c: all rounds. */
int bench_measure(struct bench *bench, struct pico_error *error);

/* collect.c: add what a runner printed to the configuration. */
int bench_collect(struct bench *bench, const struct bench_model *model, struct bench_config *config,
                  const cJSON *result, struct pico_error *error);

/* governor.c: full speed while measuring, then the previous governor. */
void bench_governor_raise(struct bench *bench);
void bench_governor_restore(struct bench *bench);

/* compare.c: figures that need two configurations. NaN when unknown. */
struct bench_comparison {
    double speedup_inference, speedup_total; /* ratio of the medians, b slower: above 1 */
    double cosine;                           /* of the scores */
    int top1_equal, top5_shared;             /* -1 when not known */
};
void bench_compare(const struct bench *bench, const struct bench_config *a,
                   const struct bench_config *b, int picture, struct bench_comparison *result);
/* 10^9 operations a second at the median inference time, 2 operations a MAC. */
double bench_gops(const struct bench_model *model, const struct bench_picture *picture);
/* Share of the NPU's peak, 0 to 1: GOPS / (2 x 512 MAC x clock). 512 int8 MACs a cycle are the
 * 0.5 TOPS that Rockchip states, at 500 MHz; the clock is the one read after measuring. NaN for
 * the CPU, a simulator, an unknown clock. */
double bench_npu_share(const struct bench *bench, const struct bench_model *model,
                       const struct bench_config *config, const struct bench_picture *picture);
/* Add warnings and failures: statistics that the samples do not support, wrong classes, answers
 * that are not the PC's, changed clocks. */
void bench_judge(struct bench *bench);

/* table.c, result.c */
void bench_print(const struct bench *bench);
cJSON *bench_json(const struct bench *bench);

#endif
