/* Checks of a .tflite file that must come before the interpreter. */
#ifndef PICO_MODEL_CHECK_H
#define PICO_MODEL_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct pico_model_facts {
    int inputs, outputs; /* of the first subgraph */
    int operators;
};

/* Walk the flatbuffer with every offset checked against `size`.
 * PICO_BAD_INPUT: not TensorFlow Lite, truncated, or with weights outside the flatbuffer. TFLite
 * 2.14.1 opens the last kind and fails, or reads beyond the file, at the first inference. */
int pico_model_check(const char *path, const uint8_t *data, size_t size,
                     struct pico_model_facts *facts, struct pico_error *error);

#endif
