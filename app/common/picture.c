#include "picture.h"

#include <string.h>

#include "picture_decoder.h"

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
