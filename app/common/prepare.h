/* From a picture to a model's input: decode, crop, resize, normalise, written once. */
#ifndef PICO_PREPARE_H
#define PICO_PREPARE_H

#include <stdbool.h>

#include "card.h"
#include "picture.h"
#include "resample.h"
#include "tensor.h"

/* What stays the same in every run of one picture on one input. */
struct pico_preparation {
    struct pico_picture *picture;
    struct pico_input_view input; /* its shape and type; `data` comes with each run */
    struct pico_box box;          /* of the picture as delivered */
    bool copy;                    /* raw RGB of the input's size: rows are only copied */
    bool bgr;
    struct pico_resampler resampler;
    uint8_t *row;   /* one resized row, where the input does not take pixels as they are */
    float *floats;  /* [256][3]: pixel -> normalised, for float32 inputs */
    uint8_t *codes; /* [256][3]: pixel -> quantised, for int8 and uint8 inputs */
};

/* How long the two halves of a run took, microseconds. */
struct pico_prepare_times {
    double decode, prepare;
};

/* The crop rule: the centred square of fraction x short side, or the whole picture. */
void pico_crop_box(enum pico_resize_rule rule, double fraction, int width, int height,
                   struct pico_box *box);

/* The largest reduction (1, 2, 4, 8) at which the box is still as large as the input: JPEG need not
 * decode the rest. The rule of Pillow's Image.draft and TensorFlow's decode_jpeg ratio. */
int pico_decode_scale(const struct pico_box *box, int out_width, int out_height);

/* `exact_decode` decodes JPEG at full size whatever the reduction. Sets the picture's scale and
 * columns. PICO_BAD_INPUT when pictures cannot be written to the input (not 3 channels, int16). */
int pico_preparation_init(struct pico_preparation *preparation, struct pico_picture *picture,
                          const struct pico_card *card, const struct pico_input_view *input,
                          bool exact_decode, struct pico_error *error);
void pico_preparation_free(struct pico_preparation *preparation);

/* Fill the input. Allocates nothing itself (libjpeg and libpng do). */
int pico_prepare(struct pico_preparation *preparation, const struct pico_input_view *input,
                 struct pico_prepare_times *times, struct pico_error *error);

#endif
