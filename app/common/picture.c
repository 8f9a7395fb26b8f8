#include "picture.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool starts_with(const struct pico_picture *picture, const char *magic, size_t length) {
    return picture->size >= length && memcmp(picture->data, magic, length) == 0;
}

int pico_picture_open(struct pico_picture *picture, const char *path, const uint8_t *data,
                      size_t size, int raw_width, int raw_height, struct pico_error *error) {
    int status;

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
        status = pico_raw_open(picture, raw_width, raw_height, error);
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
            pico_fail(error, PICO_BAD_INPUT, "%s has %dx%d pixels; at most %d a side are read",
                      path, picture->stored_width, picture->stored_height, PICO_PICTURE_SIDE_LIMIT);
    }
    if (status != PICO_OK) {
        pico_picture_close(picture);
        return status;
    }
    picture->columns = picture->width;
    return PICO_OK;
}

void pico_picture_set_scale(struct pico_picture *picture, int scale) {
    if (strcmp(picture->kind->name, "JPEG") != 0)
        return;
    picture->scale = scale;
    picture->width = (picture->stored_width + scale - 1) / scale;
    picture->height = (picture->stored_height + scale - 1) / scale;
    picture->first_column = 0;
    picture->columns = picture->width;
}

void pico_picture_columns(struct pico_picture *picture, int first, int end) {
    picture->first_column = first;
    picture->columns = end - first;
}

int pico_picture_check(struct pico_picture *picture, struct pico_error *error) {
    int status = picture->kind->start(picture, error);

    while (status == PICO_OK && picture->next_row < picture->height) {
        const uint8_t *rows;
        int count;
        status = picture->kind->read(picture, &rows, &count, error);
    }
    return status == PICO_OK ? picture->kind->finish(picture, error) : status;
}

void pico_picture_close(struct pico_picture *picture) {
    if (picture->kind != NULL && picture->state != NULL)
        picture->kind->close(picture);
    picture->state = NULL;
}

int pico_picture_too_large(const struct pico_picture *picture, double bytes, const char *why,
                           struct pico_error *error) {
    pico_fail(error, PICO_BAD_INPUT, "%s has %dx%d pixels and is %s, which takes %.0f MB to decode",
              picture->path, picture->stored_width, picture->stored_height, why, bytes / 1e6);
    return pico_hint(error, "save it as baseline JPEG or as PNG without interlacing, or make it "
                            "smaller");
}
