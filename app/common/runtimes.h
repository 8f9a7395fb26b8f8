/* The NPU runtimes of a board: which are installed, and which one it uses.
 *
 * Rockchip's runtime is a static library, so npu-runner is linked with each version: the newest is
 * /usr/bin/npu-runner, and where there is more than one, every version has its folder
 * /usr/lib/npu-runner/VERSION. The board's choice is a small file that npu-runner --probe writes:
 * the version on its first line, on the second how it was found. */
#ifndef PICO_RUNTIMES_H
#define PICO_RUNTIMES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

enum { PICO_RUNTIMES_MAX = 8, PICO_RUNTIME_NAME = 32 };

struct pico_runtimes {
    int count; /* of the folders with a program; 0 where there is one runtime alone */
    char names[PICO_RUNTIMES_MAX][PICO_RUNTIME_NAME]; /* oldest first */
    char chosen[PICO_RUNTIME_NAME];                   /* "": nobody chose */
    char why[200];                                    /* "driver 0.9.2: 1.6.0 exact, 2.3.2 wrong" */
    char file[PATH_MAX];                              /* that the choice is in, or would be */
};

/* Both are read below `root`. PICO_BAD_INPUT when the file of the choice is damaged. */
int pico_runtimes_read(const char *root, struct pico_runtimes *runtimes, struct pico_error *error);

bool pico_runtimes_has(const struct pico_runtimes *runtimes, const char *name);

/* "1.6.0, 2.3.2" */
void pico_runtimes_text(const struct pico_runtimes *runtimes, char *text, size_t size);

/* The npu-runner of an installed runtime, below `root`. */
void pico_runtime_program(const char *root, const char *name, char *path, size_t size);

/* Make `name` the board's choice. PICO_BAD_INPUT when the file cannot be written. */
int pico_runtime_choose(const struct pico_runtimes *runtimes, const char *name, const char *why,
                        struct pico_error *error);

#endif
