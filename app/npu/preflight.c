#include "preflight.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

const struct npu_machine npu_this_machine = {"/dev/rknpu", "/proc/meminfo", "/proc/rknpu"};

int npu_preflight(const struct npu_machine *machine, uint64_t model_bytes,
                  struct pico_error *error) {
    if (access(machine->device, F_OK) != 0) {
        pico_fail(error, PICO_BAD_INPUT, "there is no %s, the NPU's device node", machine->device);
        return pico_hint(error, "load its driver (insmod /oem/usr/ko/rknpu.ko) and see that the "
                                "device tree enables the NPU");
    }
    if (access(machine->device, R_OK | W_OK) != 0) {
        pico_fail(error, PICO_BAD_INPUT, "%s cannot be opened: %s", machine->device,
                  strerror(errno));
        return pico_hint(error, "run as root, or give the user access to it");
    }
    long total = pico_memory_kib(machine->meminfo, "CmaTotal");
    long left = pico_memory_kib(machine->meminfo, "CmaFree");
    /* The runtime copies the model's body into one contiguous buffer, with the layers' memory
     * behind it (MobileNetV2: 5.6 MB for a file of 3.9 MB). Less than the body can never do. */
    if (total > 0 && left >= 0 && (uint64_t)left * 1024 < model_bytes) {
        pico_fail(
            error, PICO_BAD_INPUT,
            "the model needs more than %llu KiB of contiguous memory (CMA), and %ld of %ld KiB "
            "are free",
            (unsigned long long)(model_bytes / 1024), left, total);
        return pico_hint(error, "stop what holds it (RkLunch-stop.sh ends rkipc), or enlarge it: "
                                "invoke repack --cma 32M");
    }
    return PICO_OK;
}

int npu_refuse_simulator(const struct npu_machine *machine, struct pico_error *error) {
    char board[64];

    if (access(machine->device, F_OK) != 0 &&
        !(pico_read_line("/proc/device-tree/compatible", board, sizeof board) &&
          strncmp(board, "rockchip,", 9) == 0))
        return PICO_OK;
    pico_fail(error, PICO_BAD_INPUT,
              "this npu-runner is linked with the NPU simulator, but this machine has an NPU");
    return pico_hint(error, "install the npu-runner of the board's image, which has the vendor's "
                            "runtime");
}

void npu_machine_facts(const struct npu_machine *machine, cJSON *object) {
    static const char *const names[] = {"version", "freq", "volt", "load", "power"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[256], text[128];
        snprintf(path, sizeof path, "%s/%s", machine->proc, names[i]);
        if (pico_read_line(path, text, sizeof text))
            cJSON_AddStringToObject(object, names[i], text);
        else
            cJSON_AddNullToObject(object, names[i]);
    }
    long left = pico_memory_kib(machine->meminfo, "CmaFree");
    if (left >= 0)
        cJSON_AddNumberToObject(object, "cma_free_kib", (double)left);
    else
        cJSON_AddNullToObject(object, "cma_free_kib");
    cJSON_AddBoolToObject(object, "rkipc_runs", pico_process_runs("rkipc"));
}
