/* Checks before rknn_init, which answers -1 to every problem. */
#ifndef PICO_NPU_PREFLIGHT_H
#define PICO_NPU_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "error.h"

/* Where the kernel's files are; tests name other folders. */
struct npu_machine {
    const char *device;  /* /dev/rknpu */
    const char *meminfo; /* /proc/meminfo */
    const char *proc;    /* /proc/rknpu */
};

extern const struct npu_machine npu_this_machine;

/* Check the NPU's device node and the contiguous memory for a model of `model_bytes`.
 * PICO_BAD_INPUT with the remedy. */
int npu_preflight(const struct npu_machine *machine, uint64_t model_bytes,
                  struct pico_error *error);

/* The simulator must not be mistaken for an NPU: PICO_BAD_INPUT on a machine that has one. */
int npu_refuse_simulator(const struct npu_machine *machine, struct pico_error *error);

/* /proc/rknpu/{version,freq,volt,load,power}, CMA and whether rkipc runs, into an object. */
void npu_machine_facts(const struct npu_machine *machine, cJSON *object);

#endif
