/* npu-runner: one model, some pictures, the NPU. */
#include "npu_backend.h"
#include "runner.h"

int main(int argc, char **argv) {
    return pico_runner_main(argc, argv, &pico_npu_backend);
}
