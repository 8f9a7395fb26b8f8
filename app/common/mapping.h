/* A file mapped for reading: models and pictures are never copied onto the heap. */
#ifndef PICO_MAPPING_H
#define PICO_MAPPING_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct pico_mapping {
    const uint8_t *data;
    size_t size;
};

/* `purpose` completes "could not open FILE, which is needed to ...".
 * PICO_BAD_INPUT when the file is absent, empty, no regular file or cannot be read. */
int pico_map_file(struct pico_mapping *mapping, const char *path, const char *purpose,
                  struct pico_error *error);
void pico_unmap_file(struct pico_mapping *mapping);

#endif
