/* The program around a backend: neon-runner and npu-runner are this with one backend each. */
#ifndef PICO_RUNNER_H
#define PICO_RUNNER_H

#include <stdbool.h>

#include "backend.h"
#include "card.h"
#include "labels.h"
#include "options.h"
#include "picture.h"
#include "prepare.h"
#include "stages.h"
#include "stats.h"
#include "topk.h"

enum { PICO_IMAGES_MAX = 16 };

struct pico_options {
    const char *model, *labels, *card, *json, *root, *runtime;
    const char *verify; /* folder of golden vectors: instead of measuring */
    int vectors;        /* of them, the first ones; 0: all */
    const char *images[PICO_IMAGES_MAX];
    int image_count;
    int raw_width, raw_height;
    struct pico_effort effort;
    int top_k;
    bool no_accelerator, exact_decode, logits, compare_layouts, probe;
};

struct pico_picture_result {
    const char *path;
    const struct pico_card_image *known; /* the card's entry, or NULL */
    struct pico_picture picture;
    struct pico_preparation preparation;
    bool has_first;
    double first[PICO_STAGES]; /* the very first run after loading; us */
    struct pico_samples samples[PICO_STAGES];
    double loop_us; /* the timed runs and what lies between them, on the wall clock */
    int failed;     /* runs that the backend or the output failed */
    struct pico_top top[PICO_TOPK_MAX];
    int top_count;
    bool has_top;
    float *logits; /* [classes] of the last run, with --logits */
};

struct pico_runner {
    const struct pico_backend *backend;
    struct pico_options options;
    struct pico_card card;
    bool has_card;
    struct pico_labels labels;
    struct pico_notes notes;
    void *state;
    struct pico_description description;
    struct pico_input_view input;
    int classes;
    struct pico_output_view output;
    double load_us;
    long available_kib;  /* MemAvailable while the model is loaded */
    cJSON *verification; /* with --verify */
    struct pico_picture_result pictures[PICO_IMAGES_MAX];
    int picture_count;
};

/* main() of a runner; returns the exit status. */
int pico_runner_main(int argc, char **argv, const struct pico_backend *backend);

/* runner_options.c: PICO_OK, PICO_BAD_INPUT, or -1 after --help and --version. */
int pico_options_parse(struct pico_options *options, int argc, char **argv,
                       const struct pico_backend *backend, struct pico_error *error);

/* runner_load.c: card, labels, model and pictures, all checked before the first run; with --verify
 * the model alone. */
int pico_runner_load(struct pico_runner *runner, struct pico_error *error);
void pico_runner_unload(struct pico_runner *runner);

/* runner_loop.c: --compare-layouts, with the first picture. */
int pico_runner_compare(struct pico_runner *runner, struct pico_error *error);

/* runner_loop.c: first run, warm-up, timed runs of one picture. */
int pico_runner_measure(struct pico_runner *runner, struct pico_picture_result *result, bool first,
                        struct pico_error *error);

/* 1: the top-1 class is one that the card expects; 0: it is not; -1: not known. */
int pico_result_correct(const struct pico_picture_result *result);

/* runner_report.c */
void pico_runner_print(const struct pico_runner *runner);
void pico_runner_print_engine(const struct pico_runner *runner); /* with --verify */
cJSON *pico_runner_json(const struct pico_runner *runner);

#endif
