#include "preflight.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system.h"

enum { NPU_DRIVER_LEAST = 201 }; /* 0.2.1, by the runtime's own message */

/* Is the NPU's device node there? `path` receives its place. */
static bool find_device(const char *root, char *path, size_t size) {
    struct stat about;

    return pico_board_path(root, PICO_RKNPU_DEVICE, path, size) && stat(path, &about) == 0;
}

/* Does a device tree's list of names, each ended by a zero byte, have one of this chip? Boards name
 * themselves first ("rockchip,rv1103g-38x38-ipc-v10") and then the chip ("rockchip,rv1103"). */
static bool has_chip(const char *names, size_t size, bool variant_b) {
    static const char *const chips[] = {"rockchip,rv1103", "rockchip,rv1106"};

    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        for (int i = 0; i < 2; i++) {
            size_t length = strlen(chips[i]);
            if (strncmp(name, chips[i], length) == 0 && (name[length] == 'b') == variant_b)
                return true;
        }
    }
    return false;
}

/* An RV1103B is another chip: rknn_init starts there, and what it computes is wrong. */
static int check_chip(const char *root, struct pico_error *error) {
    char names[512] = "";
    FILE *file = pico_board_open(root, PICO_DEVICE_TREE_COMPATIBLE);

    if (file == NULL)
        return PICO_OK; /* no device tree: not known */
    size_t size = fread(names, 1, sizeof names - 1, file);
    fclose(file);
    if (size == 0 || has_chip(names, size, false))
        return PICO_OK;
    if (has_chip(names, size, true))
        pico_fail(error, PICO_BAD_INPUT,
                  "this board is %s: the NPU of the b variants is another one than that of RV1103 "
                  "and RV1106",
                  names);
    else
        pico_fail(error, PICO_BAD_INPUT, "this board is %s, not an RV1103 or RV1106", names);
    return pico_hint(error, "this npu-runner and its models are made for the NPU of those two");
}

int npu_preflight(const char *root, struct pico_error *error) {
    const char *device = pico_board_files[PICO_RKNPU_DEVICE].path;
    char line[128], path[PATH_MAX];
    int status = check_chip(root, error);

    if (status != PICO_OK)
        return status;
    if (!find_device(root, path, sizeof path)) {
        if (pico_read_line(root, PICO_RKNPU_VERSION, line, sizeof line)) {
            pico_fail(error, PICO_BAD_INPUT, "there is no %s, although the NPU's driver is loaded",
                      device);
            return pico_hint(error, "mount devtmpfs on the folder of devices, which has the node");
        }
        pico_fail(error, PICO_BAD_INPUT, "the NPU's driver is not loaded: there is no %s", device);
        return pico_hint(error,
                         "load it (" PICO_DRIVER_SCRIPT " start, or insmod rknpu.ko) and see "
                         "that the device tree enables the NPU");
    }
    if (access(path, R_OK | W_OK) != 0) {
        pico_fail(error, PICO_BAD_INPUT, "%s cannot be opened: %s", device, strerror(errno));
        return pico_hint(error, "run as root, or give the user access to it");
    }
    return PICO_OK;
}

int npu_refuse_simulator(const char *root, struct pico_error *error) {
    char board[64], path[PATH_MAX];

    if (!find_device(root, path, sizeof path) &&
        !(pico_read_line(root, PICO_DEVICE_TREE_COMPATIBLE, board, sizeof board) &&
          strncmp(board, "rockchip,", 9) == 0))
        return PICO_OK;
    pico_fail(error, PICO_BAD_INPUT,
              "this npu-runner is linked with the NPU simulator, but this machine has an NPU");
    return pico_hint(error, "install the npu-runner of the board's image, which has the vendor's "
                            "runtime");
}

/* As pico_image/config/capacity.py reckons: what the NPU needs beside the model's file, and what
 * Linux and a login need beside CMA. */
enum { EXTRA_MIB = 2, SYSTEM_MIB = 10, MIB_KIB = 1024, CMA_MIB_MAX = 512 };

struct npu_demand npu_estimate(uint64_t body_bytes) {
    /* The runtime copies the body into one buffer, with the layers' memory and the commands
     * behind it: MobileNetV2 5.63 MB for a file of 3.9, EfficientNet-Lite0 6.91 for 5.2. */
    return (struct npu_demand){.bytes = body_bytes + (EXTRA_MIB << 20), .estimate = true};
}

/* Add to an error's message. */
__attribute__((format(printf, 2, 3))) static void add(struct pico_error *error, const char *format,
                                                      ...) {
    size_t used = strlen(error->message);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
    va_end(arguments);
}

static long mib_up(long kib) {
    return (kib + MIB_KIB - 1) / MIB_KIB;
}

/* The hint: with which size of CMA, or without whom, the model runs on this board; if it can. */
static void hint_size(const char *root, const struct pico_cma *cma, long needed, long others,
                      struct pico_error *error) {
    bool rkipc = others > 0 && pico_process_runs(root, "rkipc");
    long ram = pico_memory_kib(root, PICO_MEMINFO, "MemTotal") + (cma->apart ? cma->total_kib : 0);
    long most = ram / MIB_KIB - SYSTEM_MIB;
    char enlarge[64] = "";

    if (most > CMA_MIB_MAX)
        most = CMA_MIB_MAX;
    if (mib_up(needed + others) <= most) {
        pico_hint(error, "%senlarge it: invoke repack --cma %ldM",
                  rkipc ? "rkipc, the camera program, runs and may hold it: RkLunch-stop.sh ends "
                          "it; or "
                        : "",
                  mib_up(needed + others));
    } else if (mib_up(needed) <= most) {
        if (needed > cma->total_kib)
            snprintf(enlarge, sizeof enlarge, ", and enlarge it: invoke repack --cma %ldM",
                     mib_up(needed));
        pico_hint(error, "end what holds %.1f MiB of it%s%s", (double)others / MIB_KIB,
                  rkipc ? " (rkipc, the camera program, runs: RkLunch-stop.sh ends it)" : "",
                  enlarge);
    } else {
        pico_hint(error,
                  "the model does not fit this board: of its %ld MiB the system needs about %d, "
                  "so that CMA can have at most %ld MiB",
                  ram / MIB_KIB, SYSTEM_MIB, most > 0 ? most : 0);
    }
}

static int explain_memory(const char *root, const struct npu_demand *demand,
                          struct pico_error *error) {
    long needed = (long)((demand->bytes + 1023) / 1024), own = (long)(demand->own / 1024);
    struct pico_cma cma;

    pico_read_cma(root, &cma);
    add(error, "; it needs %s%.1f MiB of contiguous memory (CMA)", demand->estimate ? "about " : "",
        (double)demand->bytes / (1 << 20));
    if (cma.total_kib < 0) {
        add(error, ", and this machine does not tell how much there is");
        return error->status;
    }
    if (cma.free_kib >= 0)
        add(error, ", of %.1f MiB %.1f are free", (double)cma.total_kib / MIB_KIB,
            (double)cma.free_kib / MIB_KIB);
    else
        add(error, ", the board has %.1f MiB", (double)cma.total_kib / MIB_KIB);
    if (cma.total_kib >= needed && (cma.free_kib < 0 || cma.free_kib + own >= needed))
        return error->status; /* that is enough */
    error->status = PICO_BAD_INPUT;
    long others = cma.free_kib < 0 ? 0 : cma.total_kib - cma.free_kib - own;
    hint_size(root, &cma, needed, others > 0 ? others : 0, error);
    return error->status;
}

int npu_explain(const char *root, const struct npu_demand *demand, struct pico_error *error) {
    static const struct pico_fact driver = {"version", pico_fact_line, PICO_RKNPU_VERSION, NULL, 0};
    int numbers[3] = {0, 0, 0};
    struct pico_notes notes = {0};
    cJSON *facts = cJSON_CreateObject();

    pico_facts_add(facts, root, &driver, 1, &notes);
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(facts, "version");
    const char *text = cJSON_IsString(version) ? strpbrk(version->valuestring, "0123456789") : NULL;
    bool known =
        text != NULL && sscanf(text, "%6d.%6d.%6d", &numbers[0], &numbers[1], &numbers[2]) == 3;
    cJSON_Delete(facts);
    if (known && numbers[0] * 10000 + numbers[1] * 100 + numbers[2] < NPU_DRIVER_LEAST) {
        error->status = PICO_BAD_INPUT;
        add(error, "; the NPU's driver is %d.%d.%d, the runtime needs 0.2.1 or newer", numbers[0],
            numbers[1], numbers[2]);
        return pico_hint(error, "use a kernel and a module (rknpu.ko) of the board's present SDK");
    }
    return explain_memory(root, demand, error);
}

static cJSON *cma_free(const char *root, const struct pico_fact *fact) {
    struct pico_cma cma;

    (void)fact;
    pico_read_cma(root, &cma);
    return cma.free_kib < 0 ? NULL : cJSON_CreateNumber((double)cma.free_kib);
}

static cJSON *rkipc_runs(const char *root, const struct pico_fact *fact) {
    return cJSON_CreateBool(pico_process_runs(root, fact->name));
}

void npu_machine_facts(const char *root, cJSON *object, struct pico_notes *notes) {
    static const struct pico_fact facts[] = {
        {"cma_free_kib", cma_free, PICO_MEMINFO, NULL, 0},
        {"rkipc_runs", rkipc_runs, PICO_PROC, "rkipc", 0},
        {"version", pico_fact_line, PICO_RKNPU_VERSION, NULL, 0},
        {"freq", pico_fact_line, PICO_RKNPU_FREQ, NULL, 0},
        {"load", pico_fact_line, PICO_RKNPU_LOAD, NULL, 0},
        {"power", pico_fact_line, PICO_RKNPU_POWER, NULL, 0},
    };

    pico_facts_add(object, root, facts, (int)(sizeof facts / sizeof facts[0]), notes);
}
