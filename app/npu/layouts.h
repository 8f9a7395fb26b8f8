/* From the runtime's tensor attributes to views, with every size checked. */
#ifndef PICO_NPU_LAYOUTS_H
#define PICO_NPU_LAYOUTS_H

#include "error.h"
#include "rknn.h"
#include "tensor.h"

/* A picture input: UINT8 NHWC with padded rows, normalised by the NPU. `data` is left NULL.
 * PICO_BAD_INPUT for inputs that pictures cannot be written to (2-D, NC1HWC2, no integers). */
int npu_input_view(const rknn_tensor_attr *attr, struct pico_input_view *view,
                   struct pico_error *error);

/* A classifier's scores in the native layout: a padded row, or NC1HWC2 with one pixel.
 * PICO_BAD_INPUT for other shapes and for other types than INT8, INT16 and FP16. */
int npu_output_view(const rknn_tensor_attr *attr, struct pico_output_view *view,
                    struct pico_error *error);

/* Bytes that the library may write through this attribute, never less than it says. */
size_t npu_buffer_size(const rknn_tensor_attr *attr);

/* All elements as float in NCHW order, channels * pixels of them. For any layout, for
 * --compare-layouts. PICO_FAILED when the layout does not hold that many. */
int npu_decode(const rknn_tensor_attr *attr, const void *data, size_t channels, size_t pixels,
               float *values, struct pico_error *error);

/* The same as stored, not dequantised. PICO_BAD_INPUT for outputs of another type than INT8. */
int npu_decode_int8(const rknn_tensor_attr *attr, const void *data, size_t channels, size_t pixels,
                    int8_t *values, struct pico_error *error);

const char *npu_type_name(rknn_tensor_type type);
const char *npu_code_name(int code);

#endif
