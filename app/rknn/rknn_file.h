/* The public parts of a .rknn file: its header and the JSON at its end.
 *
 * Layout, little endian, as the PyPI package rknncli (MIT) reads it: "RKNN" and four zero bytes,
 * u64 container version, u64 L, the length of the body that begins at byte 64; at 64 + L a u64 J
 * and J bytes of JSON. Nothing inside the body is interpreted.
 */
#ifndef PICO_RKNN_FILE_H
#define PICO_RKNN_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    RKNN_FILE_BODY = 64,
    /* The mini runtime's containers (toolkits 2.2 to 2.5); the large chips' have version 6. */
    RKNN_FILE_CONTAINER = 0x1004,
    RKNN_FILE_DIMS = 8,
};

struct rknn_file_tensor {
    char name[256];
    char type[16]; /* "int8", "int16", "float16" */
    int dim_count;
    int dims[RKNN_FILE_DIMS]; /* NCHW, or N and classes */
};

struct rknn_file {
    char platforms[96]; /* "rv1103" or "rv1103, rv1106" */
    char toolkit[32];   /* "2.3.2" */
    uint64_t body_size; /* bytes */
    struct rknn_file_tensor input, output;
};

/* PICO_BAD_INPUT, each with its remedy: no RKNN model, truncated, of another chip, several inputs
 * or outputs, dynamic shape. The vendor's rknn_init answers -1 to all of these, or accepts them:
 * models of rv1103b start without an error. */
int rknn_file_check(const char *path, const uint8_t *data, size_t size, struct rknn_file *file,
                    struct pico_error *error);

/* PICO_BAD_INPUT when the model's toolkit is newer than the runtime ("2.3.2 (429f97ae6b@...)"). */
int rknn_file_check_version(const char *path, const struct rknn_file *file, const char *runtime,
                            struct pico_error *error);

#endif
