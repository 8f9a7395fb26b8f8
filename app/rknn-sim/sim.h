/* A functional stand-in for Rockchip's NPU runtime, for machines that have no NPU.
 *
 * It opens the same .rknn file that ships to a board, reports its shapes, layouts, strides and
 * quantisation as the mini runtime 2.3.2 does, and computes with the int8 TensorFlow Lite model
 * of the same conversion. It models layout, quantisation and buffer rules, never speed. Where
 * the real library lets memory be corrupted (unbound or too small outputs, models of another
 * chip), it refuses. Its version begins with SIMULATED.
 */
#ifndef RKNN_SIM_H
#define RKNN_SIM_H

#include <stdbool.h>

#include "error.h"
#include "rknn_abi.h"
#include "rknn_file.h"

struct sim_tensor {
    struct rknn_file_tensor file; /* name, type and dims: NCHW, or N and classes */
    float scale;
    int32_t zero_point;
};

struct sim_buffer {
    rknn_tensor_mem *mem; /* NULL: not bound */
    rknn_tensor_attr attr;
};

struct sim_engine;

struct sim_model {
    struct rknn_file file;
    struct sim_tensor input, output;
    double mean[3], std[3]; /* what the NPU does to UINT8 input */
    char custom[1024];
    struct sim_engine *engine;
    struct sim_buffer bound_input, bound_output;
    float *scores; /* of one run, in the TensorFlow Lite model's order: NHWC */
    size_t score_count;
};

/* model.c: MODEL.rknn, its sidecar MODEL.rknn.json and int8.tflite beside it. NULL with the
 * reason on stderr, as the real library does. */
struct sim_model *sim_model_open(const char *path);
void sim_model_close(struct sim_model *model);

/* memory.c: the contiguous memory of the recorded board, where there is one. False, with the
 * reason on stderr, when it has not `bytes` more. */
bool sim_memory_take(uint64_t bytes);
void sim_memory_return(uint64_t bytes);

/* attributes.c: the answers of rknn_query. */
enum sim_view { SIM_PLAIN, SIM_NATIVE, SIM_NHWC };
void sim_input_attr(const struct sim_model *model, enum sim_view view, rknn_tensor_attr *attr);
void sim_output_attr(const struct sim_model *model, enum sim_view view, rknn_tensor_attr *attr);

/* memory.c: bind a buffer; returns the library's code. */
int sim_bind(struct sim_model *model, rknn_tensor_mem *mem, const rknn_tensor_attr *attr);

/* compute.c: one inference; returns the library's code. */
int sim_run(struct sim_model *model);

/* Print a message on stderr, as the library does. */
void sim_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The engine that computes: engine_tflite.c, or a stub in the unit tests on the host.
 * `width` x `height` pixels of `channels`, rows `row_bytes` apart; pixels are normalised by
 * (pixel - mean) / std, or already quantised ones are read as (q - zero_point) * scale. */
struct sim_picture {
    const uint8_t *pixels;
    size_t row_bytes;
    int width, height, channels;
    bool quantised; /* int8 codes instead of pixels */
};
/* NULL with the reason in `error`. */
struct sim_engine *sim_engine_open(const char *path, const struct sim_model *model,
                                   struct pico_error *error);
int sim_engine_run(struct sim_engine *engine, const struct sim_model *model,
                   const struct sim_picture *picture, float *scores, size_t count);
void sim_engine_close(struct sim_engine *engine);

#endif
