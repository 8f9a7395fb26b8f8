/* npu-runner: one model, some pictures, the NPU. */
#include "npu_backend.h"
#include "runner.h"

int main(int argc, char **argv) {
    struct pico_backend backend = pico_npu_backend;

    backend.runtime = NPU_RUNTIME;
    backend.is_other = NPU_IS_OTHER;
    return pico_runner_main(argc, argv, &backend);
}
