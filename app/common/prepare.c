#include "prepare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "stop.h"

void pico_crop_box(enum pico_resize_rule rule, double fraction, int width, int height,
                   struct pico_box *box) {
    if (rule == PICO_RESIZE_STRETCH) {
        *box = (struct pico_box){0, 0, width, height};
        return;
    }
    double side = fraction * (width < height ? width : height);
    box->left = (width - side) / 2;
    box->top = (height - side) / 2;
    box->right = fmin(box->left + side, width);
    box->bottom = fmin(box->top + side, height);
}

int pico_decode_scale(const struct pico_box *box, int out_width, int out_height) {
    int scale = 1;

    while (scale < 8 && (box->right - box->left) / (scale * 2) >= out_width &&
           (box->bottom - box->top) / (scale * 2) >= out_height)
        scale *= 2;
    return scale;
}

static int make_tables(struct pico_preparation *preparation, const struct pico_card *card,
                       struct pico_error *error) {
    const struct pico_input_view *input = &preparation->input;
    bool quantised = input->type != PICO_FLOAT32;

    if (quantised)
        preparation->codes = malloc(256 * 3);
    else
        preparation->floats = malloc(256 * 3 * sizeof *preparation->floats);
    preparation->row = malloc((size_t)input->width * 3);
    if (preparation->row == NULL || (preparation->codes == NULL && preparation->floats == NULL))
        return pico_fail(error, PICO_FAILED, "not enough memory to prepare a picture");
    int low = input->type == PICO_INT8 ? -128 : 0;
    for (int pixel = 0; pixel < 256; pixel++) {
        for (int c = 0; c < 3; c++) {
            double value = (pixel - card->mean[c]) / card->std[c];
            if (!quantised) {
                preparation->floats[pixel * 3 + c] = (float)value;
                continue;
            }
            double code = rint(value / (double)input->scale) + input->zero_point;
            code = code < low ? low : code > low + 255 ? low + 255 : code;
            preparation->codes[pixel * 3 + c] = (uint8_t)(int)code;
        }
    }
    return PICO_OK;
}

static int check_input(const struct pico_input_view *input, struct pico_error *error) {
    if (input->channels != 3) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model takes pictures of %d channels; RGB pictures have 3",
                         input->channels);
    }
    if (input->raw_pixels ? input->type != PICO_UINT8
                          : input->type != PICO_FLOAT32 && input->type != PICO_INT8 &&
                                input->type != PICO_UINT8) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's input is %s; pictures can be written as float32, int8 and "
                         "uint8",
                         pico_type_name(input->type));
    }
    if (!input->raw_pixels && input->type != PICO_FLOAT32 && !(input->scale > 0)) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the model's %s input states no scale, without which pixels cannot be "
                         "quantised",
                         pico_type_name(input->type));
    }
    return PICO_OK;
}

int pico_preparation_init(struct pico_preparation *preparation, struct pico_picture *picture,
                          const struct pico_card *card, const struct pico_input_view *input,
                          bool exact_decode, struct pico_error *error) {
    memset(preparation, 0, sizeof *preparation);
    preparation->picture = picture;
    preparation->input = *input;
    preparation->bgr = card->bgr;
    int status = check_input(input, error);
    if (status != PICO_OK)
        return status;
    if (!input->raw_pixels && (status = make_tables(preparation, card, error)) != PICO_OK) {
        pico_preparation_free(preparation);
        return status;
    }
    preparation->copy = strcmp(picture->kind->name, "RGB") == 0 && picture->width == input->width &&
                        picture->height == input->height;
    preparation->box = (struct pico_box){0, 0, picture->width, picture->height};
    if (preparation->copy)
        return PICO_OK;
    pico_crop_box(card->rule, card->fraction, picture->stored_width, picture->stored_height,
                  &preparation->box);
    if (!exact_decode) {
        pico_picture_set_scale(picture,
                               pico_decode_scale(&preparation->box, input->width, input->height));
    }
    /* The reduced size is rounded up to whole pixels: apply the rule to the actual size. */
    pico_crop_box(card->rule, card->fraction, picture->width, picture->height, &preparation->box);
    struct pico_resampler *resampler = &preparation->resampler;
    status = pico_resampler_init(resampler, picture->width, picture->height, &preparation->box,
                                 input->width, input->height, error);
    if (status != PICO_OK) {
        pico_preparation_free(preparation);
        return status;
    }
    pico_picture_columns(picture, resampler->first_column, resampler->end_column);
    return PICO_OK;
}

void pico_preparation_free(struct pico_preparation *preparation) {
    pico_resampler_free(&preparation->resampler);
    free(preparation->row);
    free(preparation->floats);
    free(preparation->codes);
    memset(preparation, 0, sizeof *preparation);
}

static void swap_red_and_blue(uint8_t *pixels, int width) {
    for (int x = 0; x < width; x++, pixels += 3) {
        uint8_t red = pixels[0];
        pixels[0] = pixels[2];
        pixels[2] = red;
    }
}

/* Write one finished RGB row of the input; for raw pixels `row` is already in place. */
static void store_row(const struct pico_preparation *preparation, uint8_t *row, uint8_t *target) {
    int width = preparation->input.width;

    if (preparation->bgr)
        swap_red_and_blue(row, width);
    if (preparation->floats != NULL) {
        float *out = (float *)(void *)target;
        const float *table = preparation->floats;
        for (int x = 0; x < width * 3; x += 3) {
            out[x] = table[row[x] * 3];
            out[x + 1] = table[row[x + 1] * 3 + 1];
            out[x + 2] = table[row[x + 2] * 3 + 2];
        }
    } else if (preparation->codes != NULL) {
        const uint8_t *table = preparation->codes;
        for (int x = 0; x < width * 3; x += 3) {
            target[x] = table[row[x] * 3];
            target[x + 1] = table[row[x + 1] * 3 + 1];
            target[x + 2] = table[row[x + 2] * 3 + 2];
        }
    }
}

static uint8_t *target_row(const struct pico_input_view *input, int y) {
    return (uint8_t *)input->data + (size_t)y * input->row_bytes;
}

static void copy_rows(struct pico_preparation *preparation, const struct pico_input_view *input,
                      const uint8_t *rows, int first, int count) {
    size_t bytes = (size_t)input->width * 3;

    for (int i = 0; i < count; i++) {
        uint8_t *target = target_row(input, first + i);
        uint8_t *row = input->raw_pixels ? target : preparation->row;
        memcpy(row, rows + (size_t)i * preparation->picture->row_bytes, bytes);
        store_row(preparation, row, target);
    }
}

static void resize_rows(struct pico_preparation *preparation, const struct pico_input_view *input,
                        const uint8_t *rows, int count) {
    struct pico_resampler *resampler = &preparation->resampler;
    const struct pico_picture *picture = preparation->picture;

    for (int i = 0; i < count && resampler->next_row < resampler->end_row; i++) {
        pico_resampler_push(resampler, rows + (size_t)i * picture->row_bytes, picture->columns);
        while (pico_resampler_ready(resampler)) {
            uint8_t *target = target_row(input, resampler->next_output);
            uint8_t *row = input->raw_pixels ? target : preparation->row;
            pico_resampler_take(resampler, row);
            store_row(preparation, row, target);
        }
    }
}

int pico_prepare(struct pico_preparation *preparation, const struct pico_input_view *input,
                 struct pico_prepare_times *times, struct pico_error *error) {
    struct pico_picture *picture = preparation->picture;
    int first = preparation->copy ? 0 : preparation->resampler.first_row;
    int end = preparation->copy ? picture->height : preparation->resampler.end_row;
    double began = pico_now_us();

    times->decode = times->prepare = 0;
    pico_resampler_restart(&preparation->resampler);
    int status = picture->kind->start(picture, error);
    if (status == PICO_OK && first > 0)
        status = picture->kind->skip(picture, first, error);
    while (status == PICO_OK && picture->next_row < end) {
        const uint8_t *rows = NULL;
        int count = 0, at = picture->next_row;
        if (pico_stop_requested())
            return pico_fail(error, PICO_INTERRUPTED, "interrupted");
        status = picture->kind->read(picture, &rows, &count, error);
        double decoded = pico_now_us();
        times->decode += decoded - began;
        if (status != PICO_OK)
            break;
        if (preparation->copy)
            copy_rows(preparation, input, rows, at, count);
        else
            resize_rows(preparation, input, rows, count);
        began = pico_now_us();
        times->prepare += began - decoded;
    }
    return status;
}
