/* Golden vectors: inputs of one .rknn model and the answers that the toolkit's simulator gave.
 *
 * A folder with golden.json and, for each vector, NAME.u8 (height x width x channels raw bytes) and
 * NAME.i8 (the output's int8 values in NCHW order). docs/models.md describes golden.json, which
 * pico_image/models/papers.py writes. */
#ifndef PICO_GOLDEN_H
#define PICO_GOLDEN_H

#include <limits.h>
#include <stddef.h>

#include <cjson/cJSON.h>

#include "error.h"
#include "mapping.h"
#include "rknn_file.h"
#include "sha256.h"

enum {
    /* The host's list holds at most 16 labelled photographs and 3 other pictures. */
    GOLDEN_VECTORS = 64,
};

struct golden_vector {
    char name[64];
    char input[96], output[96]; /* file names in the folder */
};

struct golden {
    char folder[PATH_MAX];
    char list[PATH_MAX]; /* path of golden.json */
    char model[64];      /* name of the model */
    char model_sha256[PICO_SHA256_TEXT];
    char toolkit[32];
    int tolerance_steps;
    size_t input_bytes, output_bytes; /* of each vector */
    int count;
    struct golden_vector vectors[GOLDEN_VECTORS];
};

/* Read golden.json of `folder`, not the vectors. PICO_BAD_INPUT names the file and what is wrong
 * with it: not there, another schema, a shape that is none, a file name that leaves the folder. */
int golden_read(struct golden *golden, const char *folder, struct pico_error *error);

/* The same from its text; `golden` has the paths. */
int golden_parse(struct golden *golden, const char *text, size_t length, struct pico_error *error);

/* Is `model`, whose bytes are `data`, the one that the vectors belong to? PICO_BAD_INPUT says
 * which of the two is not what it should be; the model card beside the model tells them apart. */
int golden_check_model(const struct golden *golden, const char *model, const uint8_t *data,
                       size_t size, const struct rknn_file *file, struct pico_error *error);

/* Map a vector's two files. PICO_BAD_INPUT when one has another size than golden.json says. */
int golden_open(const struct golden *golden, int index, struct pico_mapping *input,
                struct pico_mapping *output, struct pico_error *error);
void golden_close(struct pico_mapping *input, struct pico_mapping *output);

#endif
