/* Raw RGB: rows are handed out from the mapped file itself. */
#include "picture.h"

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

int pico_raw_open(struct pico_picture *picture, int width, int height, struct pico_error *error) {
    static const struct pico_picture_kind kind = {"RGB",     start,  skip,
                                                  read_rows, finish, close_nothing};

    (void)error;
    picture->kind = &kind;
    picture->width = picture->stored_width = width;
    picture->height = picture->stored_height = height;
    picture->row_bytes = (size_t)width * 3;
    return PICO_OK;
}
