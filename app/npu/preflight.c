#include "preflight.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

/* Is the NPU's device node there, and for that use? errno says why not. */
static bool device_has(const char *root, int mode) {
    char path[PATH_MAX];

    return pico_board_path(root, PICO_RKNPU_DEVICE, path, sizeof path) && access(path, mode) == 0;
}

int npu_preflight(const char *root, uint64_t model_bytes, struct pico_error *error) {
    const char *device = pico_board_files[PICO_RKNPU_DEVICE].path;

    if (!device_has(root, F_OK)) {
        pico_fail(error, PICO_BAD_INPUT, "there is no %s, the NPU's device node", device);
        return pico_hint(error, "load its driver (insmod /oem/usr/ko/rknpu.ko) and see that the "
                                "device tree enables the NPU");
    }
    if (!device_has(root, R_OK | W_OK)) {
        pico_fail(error, PICO_BAD_INPUT, "%s cannot be opened: %s", device, strerror(errno));
        return pico_hint(error, "run as root, or give the user access to it");
    }
    long total = pico_memory_kib(root, PICO_MEMINFO, "CmaTotal");
    long left = pico_memory_kib(root, PICO_MEMINFO, "CmaFree");
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

int npu_refuse_simulator(const char *root, struct pico_error *error) {
    char board[64];

    if (!device_has(root, F_OK) &&
        !(pico_read_line(root, PICO_DEVICE_TREE_COMPATIBLE, board, sizeof board) &&
          strncmp(board, "rockchip,", 9) == 0))
        return PICO_OK;
    pico_fail(error, PICO_BAD_INPUT,
              "this npu-runner is linked with the NPU simulator, but this machine has an NPU");
    return pico_hint(error, "install the npu-runner of the board's image, which has the vendor's "
                            "runtime");
}

void npu_machine_facts(const char *root, cJSON *object) {
    static const struct {
        const char *name;
        enum pico_board_file file;
    } facts[] = {{"version", PICO_RKNPU_VERSION},
                 {"freq", PICO_RKNPU_FREQ},
                 {"load", PICO_RKNPU_LOAD},
                 {"power", PICO_RKNPU_POWER}};

    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        char text[128];
        if (pico_read_line(root, facts[i].file, text, sizeof text))
            cJSON_AddStringToObject(object, facts[i].name, text);
        else
            cJSON_AddNullToObject(object, facts[i].name);
    }
    long left = pico_memory_kib(root, PICO_MEMINFO, "CmaFree");
    if (left >= 0)
        cJSON_AddNumberToObject(object, "cma_free_kib", (double)left);
    else
        cJSON_AddNullToObject(object, "cma_free_kib");
    cJSON_AddBoolToObject(object, "rkipc_runs", pico_process_runs(root, "rkipc"));
}
