/* JPEG, PNG and raw RGB pictures, delivered as strips of 8-bit RGB rows.
 *
 * A picture stays open over many decodings: open reads its header, start begins to decode, rows
 * delivers. No decoder holds the whole decoded picture, except that of interlaced PNG, which
 * cannot be read otherwise and is refused above PICO_PICTURE_MEMORY_LIMIT.
 */
#ifndef PICO_PICTURE_H
#define PICO_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    /* Rows decoded at a time: the height of a JPEG MCU row. */
    PICO_STRIP_ROWS = 16,
    /* Longest side accepted; JPEG cannot be longer. */
    PICO_PICTURE_SIDE_LIMIT = 65535,
    /* What a decoder may allocate beside the strip: a third of the memory that a 64 MB board has
     * free with a model loaded. Progressive JPEG keeps all coefficients, interlaced PNG the whole
     * picture. */
    PICO_PICTURE_MEMORY_LIMIT = 24 << 20,
};

struct pico_picture;

/* The decoder of one kind of picture. Its functions return a pico_status. */
struct pico_picture_kind {
    const char *name; /* "JPEG", "PNG", "RGB" */
    /* Begin to decode from the first row. */
    int (*start)(struct pico_picture *picture, struct pico_error *error);
    /* Drop the next `rows` rows. */
    int (*skip)(struct pico_picture *picture, int rows, struct pico_error *error);
    /* Deliver 1 ... PICO_STRIP_ROWS rows; *rows stays valid until the next call. */
    int (*read)(struct pico_picture *picture, const uint8_t **rows, int *count,
                struct pico_error *error);
    /* Read the rest, so that damage anywhere in the file is found. */
    int (*finish)(struct pico_picture *picture, struct pico_error *error);
    void (*close)(struct pico_picture *picture);
};

struct pico_picture {
    const struct pico_picture_kind *kind;
    const char *path; /* for errors; the caller's */
    const uint8_t *data;
    size_t size;
    int stored_width, stored_height; /* as in the file */
    /* As delivered: smaller than stored when JPEG decodes at 1/2, 1/4 or 1/8. */
    int width, height, scale;
    /* The columns that rows hold: all of them until pico_picture_columns narrows it. */
    int first_column, columns;
    size_t row_bytes; /* from one delivered row to the next */
    int next_row;
    void *state; /* of the kind */
};

/* Recognise the picture by its first bytes and read its header. `raw_width` x `raw_height`, when
 * not 0, is the size of raw RGB, which other data than JPEG and PNG is taken for.
 * PICO_BAD_INPUT: not a picture, damaged, too large, of a kind that is not supported. */
int pico_picture_open(struct pico_picture *picture, const char *path, const uint8_t *data,
                      size_t size, int raw_width, int raw_height, struct pico_error *error);

/* Let JPEG decode at 1/`scale` (1, 2, 4, 8); other kinds ignore it. Before start. */
void pico_picture_set_scale(struct pico_picture *picture, int scale);

/* Only columns first ... end - 1 are needed; the decoder may deliver more around them. */
void pico_picture_columns(struct pico_picture *picture, int first, int end);

/* Decode everything once and throw it away: finds truncated and damaged files. */
int pico_picture_check(struct pico_picture *picture, struct pico_error *error);

void pico_picture_close(struct pico_picture *picture);

#endif
