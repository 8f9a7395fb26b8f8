/* Does the NPU answer as the toolkit's simulator did on the PC? Byte by byte, on golden vectors. */
#ifndef PICO_NPU_VERIFY_H
#define PICO_NPU_VERIFY_H

#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

#include "error.h"
#include "golden.h"
#include "npu_session.h"

enum npu_verdict {
    NPU_EXACT,            /* every byte is equal */
    NPU_WITHIN_TOLERANCE, /* no value is off by more steps than golden.json allows, and each cosine
                           * is at least 0.99 */
    NPU_WRONG,
};

struct npu_difference {
    const char *name; /* of the vector; golden's */
    size_t exact;     /* equal bytes of golden.output_bytes */
    int largest_step; /* largest difference of a value, in steps of the output's int8 grid */
    double cosine;    /* of the dequantised answers; NAN when one is all zero */
    bool top1_equal;  /* the same class is first; of equal ones the lowest */
    enum npu_verdict verdict;
};

struct npu_verification {
    enum npu_verdict verdict; /* the worst of all vectors */
    int run, listed;          /* vectors: that were run, of the folder */
    size_t exact, bytes;      /* over all that were run */
    int largest_step;
    double least_cosine; /* NAN when none has one */
    int top1_equal;
    struct npu_difference vectors[GOLDEN_VECTORS];
};

const char *npu_verdict_name(enum npu_verdict verdict);

/* Run the first `limit` vectors (0: all) once each on a session that was opened with any_output.
 * PICO_OK whatever the verdict is; PICO_BAD_INPUT for vectors that do not fit the model,
 * PICO_FAILED when a run fails, PICO_INTERRUPTED. */
int npu_verify(struct npu_session *session, const struct golden *golden, int limit,
               struct npu_verification *result, struct pico_error *error);

/* One line: "exact, 6 of 6 vectors". */
void npu_verification_line(const struct npu_verification *result, const struct golden *golden,
                           char *line, size_t size);

/* "verification" of a result; docs/results.md describes it. */
cJSON *npu_verification_json(const struct npu_verification *result, const struct golden *golden);

void npu_verification_print(const struct npu_verification *result, const struct golden *golden);

#endif
