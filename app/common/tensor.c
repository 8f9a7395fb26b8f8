#include "tensor.h"

#include <math.h>
#include <string.h>

const char *pico_type_name(enum pico_type type) {
    static const char *const names[] = {"float32", "int8", "uint8", "int16", "float16"};

    return names[type];
}

size_t pico_type_size(enum pico_type type) {
    static const size_t sizes[] = {4, 1, 1, 2, 2};

    return sizes[type];
}

float pico_half_to_float(uint16_t half) {
    int sign = half >> 15, exponent = (half >> 10) & 31, fraction = half & 1023;
    float value;

    if (exponent == 31)
        value = fraction != 0 ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf((float)fraction, -24);
    else
        value = ldexpf((float)(fraction + 1024), exponent - 25);
    return sign ? -value : value;
}

float pico_output_score(const struct pico_output_view *view, int class_index) {
    size_t at = pico_output_index(view, class_index);
    int32_t stored;

    switch (view->type) {
    case PICO_FLOAT32:
        return ((const float *)view->data)[at];
    case PICO_FLOAT16:
        return pico_half_to_float(((const uint16_t *)view->data)[at]);
    case PICO_INT8:
        stored = ((const int8_t *)view->data)[at];
        break;
    case PICO_UINT8:
        stored = ((const uint8_t *)view->data)[at];
        break;
    default:
        stored = ((const int16_t *)view->data)[at];
        break;
    }
    return (float)(stored - view->zero_point) * view->scale;
}
