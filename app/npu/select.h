/* Which of the installed runtimes runs a model. */
#ifndef PICO_NPU_SELECT_H
#define PICO_NPU_SELECT_H

#include <cjson/cJSON.h>

#include "error.h"
#include "rknn.h"
#include "runner.h"

/* Become the npu-runner of the runtime that --runtime or the board's choice names; returns only
 * when that is this one, or with PICO_BAD_INPUT: not installed, a damaged file. */
int npu_select(const struct pico_backend *backend, const struct pico_options *options, char **argv,
               struct pico_error *error);

/* "runtimes" of a result: what is installed, which one runs, who chose it and why. `asked` is
 * --runtime or NULL, `version` what the runtime and the driver report; a choice that was made with
 * another driver is noted. */
cJSON *npu_runtime_facts(const char *root, const char *asked, const rknn_sdk_version *version,
                         struct pico_notes *notes);

#endif
