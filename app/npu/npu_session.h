/* A model opened in the RKNN runtime with its two buffers bound. */
#ifndef PICO_NPU_SESSION_H
#define PICO_NPU_SESSION_H

#include <stdbool.h>

#include "error.h"
#include "rknn.h"
#include "rknn_file.h"
#include "tensor.h"

struct npu_session {
    const char *root;      /* of the board's files; see board_files.h */
    struct rknn_file file; /* filled by the caller before open */
    rknn_context context;  /* 0: not open */
    rknn_sdk_version version;
    rknn_mem_size memory;
    rknn_custom_string custom;
    rknn_tensor_attr input_attr, output_attr; /* as bound */
    rknn_tensor_mem *input_mem, *output_mem;
    struct pico_input_view input;
    struct pico_output_view output;
    const char *runtime; /* set by the caller: --runtime, or NULL */
    bool any_output;     /* set by the caller: the output need not be one row of scores */
    bool bound;          /* both buffers: only then rknn_run is called */
};

/* Open by path, query, allocate and bind. After a failure npu_session_close()
 * releases what was opened. */
int npu_session_open(struct npu_session *session, const char *path, struct pico_error *error);

/* One inference. PICO_FAILED with the library's code. */
int npu_session_run(struct npu_session *session, struct pico_error *error);

/* Run the current input with the output bound in its native and in the NHWC layout and compare
 * every element. `line` receives the result; PICO_FAILED when they differ. */
int npu_session_compare_layouts(struct npu_session *session, char *line, size_t size,
                                struct pico_error *error);

void npu_session_close(struct npu_session *session);

#endif
