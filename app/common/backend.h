/* The interface of an inference engine: a table of functions. */
#ifndef PICO_BACKEND_H
#define PICO_BACKEND_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "error.h"
#include "tensor.h"

struct pico_options;

struct pico_backend_options {
    const char *model;   /* path */
    const char *runtime; /* npu-runner --runtime, or NULL */
    const char *root;    /* of the board's files; see board_files.h */
    int threads;
    bool no_accelerator; /* neon-runner --no-xnnpack */
    bool any_output;     /* accept any output shape: the scores are not read */
    /* Folder of golden vectors, or NULL: the model is refused, before it is loaded, unless they
     * are its own. */
    const char *golden;
    struct pico_notes *notes;
};

/* Describes an opened model, for the printed table and for the result file. */
struct pico_description {
    char precision[16]; /* "float32", "int8", ... of the input */
    char runtime[96];   /* "TensorFlow Lite 2.14.1" */
    char line[256];     /* one line on how it runs: "XNNPACK, 63 of 65 nodes, 1 thread" */
    bool simulated;     /* a functional simulator: its times mean nothing */
    cJSON *facts;       /* object for "engine" in the result; the caller deletes it */
};

struct pico_backend {
    const char *program; /* "neon-runner" */
    const char *engine;  /* "cpu", "npu" */
    const char *extra_help;
    const char *runtime; /* NPU: the version of the runtime that this program is linked with */
    bool is_other;       /* it is not /usr/bin/npu-runner but one for another runtime */
    /* Become the program of the runtime that is asked for; NULL where there is none to choose. */
    int (*select)(const struct pico_backend *backend, const struct pico_options *options,
                  char **argv, struct pico_error *error);
    /* Check and load the model. On failure everything is released. */
    int (*open)(void **state, const struct pico_backend_options *options, struct pico_error *error);
    void (*describe)(void *state, struct pico_description *description);
    /* Add facts about the machine that no result needs, after the last run; NULL: none. */
    void (*late_facts)(void *state, cJSON *facts, struct pico_notes *notes);
    /* Where the next picture is written to. Called before every run. */
    void (*get_input)(void *state, struct pico_input_view *view);
    int (*run)(void *state, struct pico_error *error);
    /* The scores of the last run; valid until the next one. */
    void (*get_output)(void *state, struct pico_output_view *view);
    /* Check that the output decodes to the same scores in every layout; NULL where there is only
     * one. The input is already written; `line` receives the result. */
    int (*compare_layouts)(void *state, char *line, size_t size, struct pico_error *error);
    /* Compare the answers to the first `limit` (0: all) golden vectors of a folder; NULL where
     * there are none. `print`: also as a table. *json is "verification" of a result; PICO_OK
     * whatever its "verdict" is. */
    int (*verify)(void *state, const char *folder, int limit, bool print, cJSON **json,
                  struct pico_error *error);
    /* Let every installed runtime verify: which one is right here? NULL where there is none. */
    int (*probe)(const struct pico_backend *backend, const struct pico_options *options,
                 struct pico_error *error);
    void (*close)(void *state);
};

#endif
