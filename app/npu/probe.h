/* Which of the installed runtimes is right on this board? Each one verifies the
 * golden vectors. */
#ifndef PICO_NPU_PROBE_H
#define PICO_NPU_PROBE_H

#include "error.h"
#include "runner.h"

/* Let every installed runtime verify --model, or every installed model, each in
 * a process of its own: a crash or a hang of one is a line of the table. The
 * right one becomes the board's choice (runtimes.h). PICO_OK when one is right,
 * PICO_FAILED when none is, PICO_BAD_INPUT when nothing could be tried or the
 * choice cannot be written, PICO_INTERRUPTED with nothing written. */
int npu_probe(const struct pico_backend *backend, const struct pico_options *options,
              struct pico_error *error);

#endif
