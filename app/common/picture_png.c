/* PNG through libpng: every colour type and depth becomes 8-bit RGB; transparency is dropped, as
 * Pillow's convert("RGB") does. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "picture_decoder.h"

struct png {
    png_structp reader;
    png_infop info;
    size_t at; /* read so far */
    char reason[128];
    uint8_t *strip; /* PICO_STRIP_ROWS rows, or the whole picture when it is interlaced */
    int passes;
};

static void on_error(png_structp reader, png_const_charp text) {
    struct png *png = png_get_error_ptr(reader);

    snprintf(png->reason, sizeof png->reason, "%s", text);
    longjmp(png_jmpbuf(reader), 1);
}

/* Warnings are about ancillary chunks (colour profiles and the like). */
static void on_warning(png_structp reader, png_const_charp text) {
    (void)reader;
    (void)text;
}

static void read_bytes(png_structp reader, png_bytep bytes, size_t length) {
    struct pico_picture *picture = png_get_io_ptr(reader);
    struct png *png = picture->state;

    if (length > picture->size - png->at)
        png_error(reader, "it ends too early");
    memcpy(bytes, picture->data + png->at, length);
    png->at += length;
}

static int damaged(const struct pico_picture *picture, struct pico_error *error) {
    const struct png *png = picture->state;

    return pico_fail(error, PICO_BAD_INPUT, "%s is a damaged PNG: %s", picture->path, png->reason);
}

static void end_reader(struct png *png) {
    if (png->reader != NULL)
        png_destroy_read_struct(&png->reader, &png->info, NULL);
}

/* libpng cannot rewind: every decoding needs a new reader. */
static int new_reader(struct pico_picture *picture, struct pico_error *error) {
    struct png *png = picture->state;

    end_reader(png);
    png->at = 0;
    png->reader = png_create_read_struct(PNG_LIBPNG_VER_STRING, png, on_error, on_warning);
    png->info = png->reader == NULL ? NULL : png_create_info_struct(png->reader);
    if (png->info == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to open %s", picture->path);
    if (setjmp(png_jmpbuf(png->reader)) != 0)
        return damaged(picture, error);
    png_set_user_limits(png->reader, PICO_PICTURE_SIDE_LIMIT, PICO_PICTURE_SIDE_LIMIT);
    png_set_chunk_malloc_max(png->reader, PICO_PICTURE_MEMORY_LIMIT);
    png_set_read_fn(png->reader, picture, read_bytes);
    png_read_info(png->reader, png->info);
    png_set_expand(png->reader);
    png_set_scale_16(png->reader);
    png_set_strip_alpha(png->reader);
    png_set_gray_to_rgb(png->reader);
    png->passes = png_set_interlace_handling(png->reader);
    png_read_update_info(png->reader, png->info);
    if (png_get_rowbytes(png->reader, png->info) !=
        (size_t)png_get_image_width(png->reader, png->info) * 3)
        png_error(png->reader, "its colours cannot be converted to RGB");
    return PICO_OK;
}

/* The next `count` rows, `step` bytes apart in memory. */
static int next_rows(struct pico_picture *picture, uint8_t *into, size_t step, int count,
                     struct pico_error *error) {
    struct png *png = picture->state;

    if (setjmp(png_jmpbuf(png->reader)) != 0)
        return damaged(picture, error);
    for (int y = 0; y < count; y++)
        png_read_row(png->reader, into + (size_t)y * step, NULL);
    return PICO_OK;
}

static int start(struct pico_picture *picture, struct pico_error *error) {
    struct png *png = picture->state;
    int status = new_reader(picture, error);

    picture->next_row = 0;
    if (status != PICO_OK || png->passes == 1)
        return status;
    for (int pass = 0; status == PICO_OK && pass < png->passes; pass++)
        status = next_rows(picture, png->strip, picture->row_bytes, picture->height, error);
    return status;
}

static int read_rows(struct pico_picture *picture, const uint8_t **rows, int *count,
                     struct pico_error *error) {
    struct png *png = picture->state;
    int left = picture->height - picture->next_row, status = PICO_OK;
    uint8_t *strip = png->strip;

    *count = left < PICO_STRIP_ROWS ? left : PICO_STRIP_ROWS;
    if (png->passes > 1)
        strip += (size_t)picture->next_row * picture->row_bytes;
    else
        status = next_rows(picture, strip, picture->row_bytes, *count, error);
    *rows = strip + (size_t)picture->first_column * 3;
    picture->next_row += *count;
    return status;
}

static int skip(struct pico_picture *picture, int rows, struct pico_error *error) {
    struct png *png = picture->state;

    picture->next_row += rows;
    /* All into the same memory, as they are not used. */
    return png->passes > 1 ? PICO_OK : next_rows(picture, png->strip, 0, rows, error);
}

static int finish(struct pico_picture *picture, struct pico_error *error) {
    struct png *png = picture->state;

    if (setjmp(png_jmpbuf(png->reader)) != 0)
        return damaged(picture, error);
    png_read_end(png->reader, NULL);
    return PICO_OK;
}

static void close_png(struct pico_picture *picture) {
    struct png *png = picture->state;

    end_reader(png);
    free(png->strip);
    free(png);
}

int pico_png_open(struct pico_picture *picture, struct pico_error *error) {
    static const struct pico_picture_kind kind = {"PNG", start, skip, read_rows, finish, close_png};
    struct png *png = calloc(1, sizeof *png);

    if (png == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to open %s", picture->path);
    picture->kind = &kind;
    picture->state = png;
    int status = new_reader(picture, error);
    if (status != PICO_OK)
        return status;
    picture->width = picture->stored_width = (int)png_get_image_width(png->reader, png->info);
    picture->height = picture->stored_height = (int)png_get_image_height(png->reader, png->info);
    picture->row_bytes = (size_t)picture->width * 3;
    double bytes =
        (double)picture->row_bytes * (png->passes > 1 ? picture->height : PICO_STRIP_ROWS);
    if (bytes > PICO_PICTURE_MEMORY_LIMIT)
        return pico_picture_too_large(picture, bytes, "interlaced", error);
    png->strip = malloc((size_t)bytes);
    if (png->strip == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to decode %s", picture->path);
    return PICO_OK;
}
