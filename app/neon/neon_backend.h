#ifndef PICO_NEON_BACKEND_H
#define PICO_NEON_BACKEND_H

#include "backend.h"

/* TensorFlow Lite with XNNPACK on the CPU. */
extern const struct pico_backend pico_neon_backend;

#endif
