/* SHA-256 (FIPS 180-4): of model files, against the hashes on their cards. */
#ifndef PICO_SHA256_H
#define PICO_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { PICO_SHA256_TEXT = 65 }; /* 64 hex digits and a zero */

void pico_sha256(const uint8_t *data, size_t size, char text[PICO_SHA256_TEXT]);

/* Of a file. PICO_BAD_INPUT when it cannot be read; `purpose` as for pico_map_file. */
int pico_sha256_file(const char *path, const char *purpose, char text[PICO_SHA256_TEXT],
                     struct pico_error *error);

#endif
