/* What the decoders and pico_picture_open share; other code needs picture.h only. */
#ifndef PICO_PICTURE_DECODER_H
#define PICO_PICTURE_DECODER_H

#include "picture.h"

/* Read the header of `picture`, whose data is of this kind, and fill its kind, sizes and state. On
 * failure pico_picture_close() releases what was taken. */
int pico_jpeg_open(struct pico_picture *picture, struct pico_error *error);
int pico_png_open(struct pico_picture *picture, struct pico_error *error);

/* PICO_BAD_INPUT with what to do, for a picture that would need too much memory. */
int pico_picture_too_large(const struct pico_picture *picture, double bytes, const char *why,
                           struct pico_error *error);

#endif
