/* Views that a backend hands out: where a picture is written and where scores are read. */
#ifndef PICO_TENSOR_H
#define PICO_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pico_type {
    PICO_FLOAT32,
    PICO_INT8,
    PICO_UINT8,
    PICO_INT16,
    PICO_FLOAT16,
};

const char *pico_type_name(enum pico_type type);
size_t pico_type_size(enum pico_type type);

/* real = (stored - zero_point) * scale for the integer types. */

/* NHWC, batch 1; rows are `row_bytes` apart (the NPU pads them to 16 pixels). */
struct pico_input_view {
    void *data;
    enum pico_type type;
    int width, height, channels;
    size_t row_bytes;
    float scale;
    int32_t zero_point;
    /* The backend normalises and quantises itself: 8-bit pixels are written as they are. */
    bool raw_pixels;
};

/* `classes` scores. Class c lies at element (c / group) * group_stride + c % group: with group =
 * classes a plain vector, with group 16 the NPU's NC1HWC2, whose planes are group_stride apart. */
struct pico_output_view {
    const void *data;
    enum pico_type type;
    int classes;
    int group;
    size_t group_stride;
    float scale;
    int32_t zero_point;
};

static inline size_t pico_output_index(const struct pico_output_view *view, int class_index) {
    return (size_t)(class_index / view->group) * view->group_stride +
           (size_t)(class_index % view->group);
}

/* The score of one class as a real number. */
float pico_output_score(const struct pico_output_view *view, int class_index);

/* IEEE 754 binary16 to float. */
float pico_half_to_float(uint16_t half);

#endif
