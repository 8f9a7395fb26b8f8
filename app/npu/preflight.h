/* What the runtime does not say: rknn_init answers -1 to every problem. */
#ifndef PICO_NPU_PREFLIGHT_H
#define PICO_NPU_PREFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "error.h"

/* Before rknn_init: PICO_BAD_INPUT with the remedy for a board of another chip, a driver that is
 * not loaded, no device node, no permission. Certain facts only; no estimate refuses a model. */
int npu_preflight(const char *root, struct pico_error *error);

/* The simulator must not be mistaken for an NPU: PICO_BAD_INPUT on a machine that has one. */
int npu_refuse_simulator(const char *root, struct pico_error *error);

/* Contiguous memory (CMA) that a model needs, in bytes. */
struct npu_demand {
    uint64_t bytes; /* in all */
    uint64_t own;   /* of it allocated to this process already */
    bool estimate;  /* from the model's file, not from the runtime */
};

/* The demand of a model of which the file alone is known. */
struct npu_demand npu_estimate(uint64_t body_bytes);

/* After rknn_init or rknn_create_mem failed: add to the error's message what the board's figures
 * say about it, and the hint that follows from them. PICO_BAD_INPUT where they explain it: an old
 * driver, too little contiguous memory. */
int npu_explain(const char *root, const struct npu_demand *demand, struct pico_error *error);

/* /proc/rknpu/{version,freq,load,power}, free CMA and whether rkipc runs, into an object; see
 * facts.h for when. */
void npu_machine_facts(const char *root, cJSON *object, struct pico_notes *notes);

#endif
