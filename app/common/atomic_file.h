/* Files that are complete or absent, never half-written. */
#ifndef PICO_ATOMIC_FILE_H
#define PICO_ATOMIC_FILE_H

#include <stddef.h>

#include "error.h"

/* Write `text` to `path`: temporary file beside it, fsync, rename, fsync of the folder, so that
 * a power cut leaves the old file or the new one. "-" is standard output; a device or pipe is
 * written directly. PICO_BAD_INPUT when it cannot be written (no folder, disk full). */
int pico_write_file(const char *path, const char *text, size_t length, struct pico_error *error);

/* The same under `folder` as NAME-001.json, NAME-002.json, ...: the first free number is taken
 * in one step, so a clock that jumps back never overwrites an earlier result. The folder is created
 * when absent. `path` receives the full name. */
int pico_write_numbered(const char *folder, const char *name, const char *text, size_t length,
                        char *path, size_t path_size, struct pico_error *error);

/* mkdir -p. */
int pico_make_folder(const char *folder, struct pico_error *error);

#endif
