/* Helpers of the fuzz targets. */
#ifndef PICO_FUZZ_H
#define PICO_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every parser promises: a refusal has a message, and one of the two codes of parsing. */
static inline void fuzz_check(int status, const struct pico_error *error) {
    if (status != PICO_OK && status != PICO_BAD_INPUT && status != PICO_FAILED)
        abort();
    if (status != PICO_OK && (error->status != status || error->message[0] == '\0'))
        abort();
}

/* The bytes as an anonymous file, for parsers that read by path. Close *fd afterwards. */
static inline void fuzz_file(const uint8_t *data, size_t size, int *fd, char path[32]) {
    *fd = memfd_create("fuzz", 0);
    if (*fd < 0 || write(*fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", *fd);
}

#endif
