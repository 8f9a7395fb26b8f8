/* A runtime of the NPU for tests of what stands around it: instead of a model
 * it computes
 *
 *     answer[c] = (int8) ((c + 1) * sum of all pixels)
 *
 * of a picture of 20 x 20 pixels, in 12 classes. -DBEHAVIOUR says how well. Its
 * layouts (rows padded to 32 pixels, an answer padded to 64 bytes) and codes
 * are those of the mini runtime 2.3.2 over a driver that computes nothing, as
 * board facts of this project describe them. Its version is where npu-runner's
 * CMake project looks for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rknn_abi.h"

enum { RIGHT, NEAR, WRONG, CRASH, HANG, REFUSE };
enum { SIZE = 20, STRIDE = 32, CLASSES = 12, PADDED = 64 };

extern const char double_version[];
const char double_version[] = "librknnmrt version: " VERSION " (double@2026)";
static rknn_tensor_mem *input, *output;

int rknn_init(rknn_context *context, void *model, uint32_t size, uint32_t flag,
              rknn_init_extend *extend) {
  (void)model, (void)size, (void)flag, (void)extend;
  *context = 1;
  return BEHAVIOUR == REFUSE ? RKNN_ERR_FAIL : RKNN_SUCC;
}

int rknn_query(rknn_context context, rknn_query_cmd command, void *info,
               uint32_t size) {
  (void)context;
  memset(info, 0, size);
  rknn_tensor_attr *attr = info;
  switch (command) {
  case RKNN_QUERY_IN_OUT_NUM:
    *(rknn_input_output_num *)info = (rknn_input_output_num){1, 1};
    return RKNN_SUCC;
  case RKNN_QUERY_SDK_VERSION:
    strcpy(((rknn_sdk_version *)info)->api_version,
           strchr(double_version, ':') + 2);
    strcpy(((rknn_sdk_version *)info)->drv_version, "0.9.2");
    return RKNN_SUCC;
  case RKNN_QUERY_NATIVE_INPUT_ATTR:
    *attr = (rknn_tensor_attr){.n_dims = 4,
                               .dims = {1, SIZE, SIZE, 3},
                               .name = "input",
                               .n_elems = SIZE * SIZE * 3,
                               .size = SIZE * SIZE * 3,
                               .fmt = RKNN_TENSOR_NHWC,
                               .type = RKNN_TENSOR_INT8,
                               .qnt_type = RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC,
                               .scale = 1 / 128.0F,
                               .w_stride = STRIDE,
                               .size_with_stride = SIZE * STRIDE * 3};
    return RKNN_SUCC;
  case RKNN_QUERY_NATIVE_OUTPUT_ATTR:
    *attr = (rknn_tensor_attr){.n_dims = 2,
                               .dims = {1, CLASSES},
                               .name = "output",
                               .n_elems = CLASSES,
                               .size = PADDED,
                               .fmt = RKNN_TENSOR_UNDEFINED,
                               .type = RKNN_TENSOR_INT8,
                               .qnt_type = RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC,
                               .zp = -3,
                               .scale = 0.125F,
                               .size_with_stride = PADDED};
    return RKNN_SUCC;
  default:
    return RKNN_ERR_FAIL;
  }
}

rknn_tensor_mem *rknn_create_mem(rknn_context context, uint32_t size) {
  rknn_tensor_mem *mem = calloc(1, sizeof *mem);

  (void)context;
  mem->virt_addr = calloc(1, size);
  mem->size = size;
  return mem;
}

int rknn_set_io_mem(rknn_context context, rknn_tensor_mem *mem,
                    rknn_tensor_attr *attr) {
  (void)context;
  *(attr->n_dims == 4 ? &input : &output) = mem;
  return RKNN_SUCC;
}

int rknn_run(rknn_context context, rknn_run_extend *extend) {
  const uint8_t *pixels = input->virt_addr;
  int8_t *answer = output->virt_addr;
  unsigned sum = 0;

  (void)context, (void)extend;
  if (BEHAVIOUR == CRASH)
    abort();
  while (BEHAVIOUR == HANG)
    pause();
  for (int y = 0; y < SIZE; y++) {
    for (int x = 0; x < SIZE * 3; x++)
      sum += pixels[y * STRIDE * 3 + x];
  }
  for (unsigned c = 0; c < CLASSES; c++) {
    answer[c] = (int8_t)((c + 1) * sum);
    if (BEHAVIOUR == WRONG)
      answer[c] = (int8_t)(answer[c] ^ 0x55);
    if (BEHAVIOUR == NEAR)
      answer[c] = (int8_t)(answer[c] + (answer[c] < 0 ? 1 : -1));
  }
  return RKNN_SUCC;
}

int rknn_mem_sync(rknn_context context, rknn_tensor_mem *mem,
                  rknn_mem_sync_mode mode) {
  (void)context, (void)mem, (void)mode;
  return RKNN_SUCC;
}

int rknn_destroy_mem(rknn_context context, rknn_tensor_mem *mem) {
  (void)context;
  free(mem->virt_addr);
  free(mem);
  return RKNN_SUCC;
}

int rknn_destroy(rknn_context context) {
  (void)context;
  return RKNN_SUCC;
}
