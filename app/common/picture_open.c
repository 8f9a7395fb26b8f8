/* Choose the decoder of a picture. Raw RGB needs none: its rows are read from the mapped file. */
#include <stdbool.h>
#include <string.h>

#include "picture_decoder.h"

static int start(struct pico_picture *picture, struct pico_error *error) {
    (void)error;
    picture->next_row = 0;
    return PICO_OK;
}

static int skip(struct pico_picture *picture, int rows, struct pico_error *error) {
    (void)error;
    picture->next_row += rows;
    return PICO_OK;
}

static int read_rows(struct pico_picture *picture, const uint8_t **rows, int *count,
                     struct pico_error *error) {
    int left = picture->height - picture->next_row;

    (void)error;
    *rows = picture->data + (size_t)picture->next_row * picture->row_bytes +
            (size_t)picture->first_column * 3;
    *count = left < PICO_STRIP_ROWS ? left : PICO_STRIP_ROWS;
    picture->next_row += *count;
    return PICO_OK;
}

static int finish(struct pico_picture *picture, struct pico_error *error) {
    (void)picture;
    (void)error;
    return PICO_OK;
}

static void close_nothing(struct pico_picture *picture) {
    (void)picture;
}

static void open_raw(struct pico_picture *picture, int width, int height) {
    static const struct pico_picture_kind kind = {"RGB",     start,  skip,
                                                  read_rows, finish, close_nothing};

    picture->kind = &kind;
    picture->width = picture->stored_width = width;
    picture->height = picture->stored_height = height;
    picture->row_bytes = (size_t)width * 3;
}

static bool starts_with(const struct pico_picture *picture, const char *magic, size_t length) {
    return picture->size >= length && memcmp(picture->data, magic, length) == 0;
}

int pico_picture_open(struct pico_picture *picture, const char *path, const uint8_t *data,
                      size_t size, int raw_width, int raw_height, struct pico_error *error) {
    int status = PICO_OK;

    memset(picture, 0, sizeof *picture);
    picture->path = path;
    picture->data = data;
    picture->size = size;
    picture->scale = 1;
    if (starts_with(picture, "\xff\xd8\xff", 3)) {
        status = pico_jpeg_open(picture, error);
    } else if (starts_with(picture, "\x89PNG\r\n\x1a\n", 8)) {
        status = pico_png_open(picture, error);
    } else if (raw_width > 0 && raw_height > 0 &&
               size == (size_t)raw_width * (size_t)raw_height * 3) {
        open_raw(picture, raw_width, raw_height);
    } else {
        status =
            pico_fail(error, PICO_BAD_INPUT, "%s is not a picture: neither JPEG nor PNG", path);
        if (raw_width > 0 && raw_height > 0) {
            pico_hint(error,
                      "raw RGB of %dx%d has %zu bytes, this file has %zu; give the size of "
                      "other raw pictures with --raw-size WIDTHxHEIGHT",
                      raw_width, raw_height, (size_t)raw_width * (size_t)raw_height * 3, size);
        }
    }
    if (status == PICO_OK && (picture->stored_width > PICO_PICTURE_SIDE_LIMIT ||
                              picture->stored_height > PICO_PICTURE_SIDE_LIMIT)) {
        status =
            pico_fail(error, PICO_BAD_INPUT, "%s has %dx%d pixels; at most %d a side are supported",
                      path, picture->stored_width, picture->stored_height, PICO_PICTURE_SIDE_LIMIT);
    }
    if (status != PICO_OK) {
        pico_picture_close(picture);
        return status;
    }
    picture->columns = picture->width;
    return PICO_OK;
}
