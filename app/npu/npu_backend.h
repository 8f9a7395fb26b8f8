#ifndef PICO_NPU_BACKEND_H
#define PICO_NPU_BACKEND_H

#include "backend.h"

/* RKNN runtime, zero-copy: the picture is written into the NPU's own buffer, scores are read
 * from it. */
extern const struct pico_backend pico_npu_backend;

#endif
