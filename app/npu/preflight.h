/* Checks before rknn_init, which answers -1 to every problem. */
#ifndef PICO_NPU_PREFLIGHT_H
#define PICO_NPU_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "error.h"

/* Check the NPU's device node and the contiguous memory for a model of `model_bytes`.
 * PICO_BAD_INPUT with the remedy. */
int npu_preflight(const char *root, uint64_t model_bytes, struct pico_error *error);

/* The simulator must not be mistaken for an NPU: PICO_BAD_INPUT on a machine that has one. */
int npu_refuse_simulator(const char *root, struct pico_error *error);

/* /proc/rknpu/{version,freq,load,power}, CMA and whether rkipc runs, into an object. */
void npu_machine_facts(const char *root, cJSON *object);

#endif
