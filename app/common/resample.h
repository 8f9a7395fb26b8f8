/* Antialiased 8-bit resizing, row by row.
 *
 * The arithmetic of Pillow's Image.resize(size, BILINEAR, box=box): a triangle filter whose
 * support grows with the reduction, horizontal pass first, each pass rounded to 8 bits
 * (Pillow src/libImaging/Resample.c is the definition; the code is ours). Weights have 15 bits
 * where Pillow has 22, so results agree within 1.
 *
 * The picture streams through: only the output-wide rows that the vertical filter still needs are
 * kept, so that a 20000-pixel-wide picture costs kilobytes on a board with 64 MB.
 */
#ifndef PICO_RESAMPLE_H
#define PICO_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "resample_loops.h"

/* A rectangle in pixels of the source; fractions are allowed. */
struct pico_box {
    double left, top, right, bottom;
};

struct pico_resampler {
    struct pico_filter across, down;
    int out_width, out_height;
    /* The part of the source that is read, including neighbours of the box, as in Pillow. */
    int first_row, end_row, first_column, end_column;
    uint8_t *ring; /* `ring_rows` horizontally resized rows */
    int ring_rows;
    size_t ring_row_bytes;
    const uint8_t **rows; /* room for the rows of one output, gathered from the ring */
    int next_row;         /* the source row that the next push brings */
    int next_output;      /* the output row that comes next */
};

/* PICO_FAILED without memory; PICO_BAD_INPUT for an empty or outside box. */
int pico_resampler_init(struct pico_resampler *resampler, int width, int height,
                        const struct pico_box *box, int out_width, int out_height,
                        struct pico_error *error);
void pico_resampler_free(struct pico_resampler *resampler);

/* Begin the next picture of the same size. */
void pico_resampler_restart(struct pico_resampler *resampler);

/* Give the source rows first_row ... end_row - 1 in order; `row` holds RGB from column
 * first_column on, `columns` of them (at least end_column - first_column).
 * Take all rows that are ready before the next push. */
void pico_resampler_push(struct pico_resampler *resampler, const uint8_t *row, int columns);

/* Is an output row ready? Then pico_resampler_take writes it (out_width RGB pixels). */
int pico_resampler_ready(const struct pico_resampler *resampler);
void pico_resampler_take(struct pico_resampler *resampler, uint8_t *row);

#endif
