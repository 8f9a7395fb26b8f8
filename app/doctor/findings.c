/* What the facts mean, and what helps. */
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board_files.h"
#include "doctor.h"
#include "json.h"

/* Facts with their evidence: drivers by kernel, the clock of the device tree, CMA and memory. */
#define OLDEST_DRIVER "0.2.1" /* the runtime refuses an older one */
#define NPU_MHZ 420.0         /* assigned-clock-rates of the device tree */
#define TOO_FAST_MHZ 600.0    /* 700 MHz hung a Zero */
/* Contiguous memory beside a model's file: the runtime took 5.63 MB for 3.9, 6.91 for 5.2. */
#define CMA_BESIDES_KIB 2048.0
/* An int8 model on the CPU takes 7 MB, a float32 one about 20. */
#define LITTLE_KIB 20480.0
#define TOO_LITTLE_KIB 8192.0
#define YEAR_2025 1735689600.0

struct judge {
    const cJSON *document;
    cJSON *findings, *known_wrong;
    int problems;
    bool emulated, npu_chip; /* a chip that our models and runtime are for */
};

enum level { OK, NOTE, PROBLEM };

static void find(struct judge *judge, enum level level, const char *name, const char *remedy,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

static void find(struct judge *judge, enum level level, const char *name, const char *remedy,
                 const char *format, ...) {
    static const char *const words[] = {"ok", "note", "problem"};
    char text[400];
    va_list arguments;
    cJSON *finding = cJSON_CreateObject();

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cJSON_AddStringToObject(finding, "level", words[level]);
    cJSON_AddStringToObject(finding, "name", name);
    cJSON_AddStringToObject(finding, "text", text);
    if (level == OK)
        cJSON_AddNullToObject(finding, "remedy");
    else
        cJSON_AddStringToObject(finding, "remedy", remedy);
    cJSON_AddItemToArray(judge->findings, finding);
    judge->problems += level == PROBLEM;
}

static void known_wrong(struct judge *judge, const char *text) {
    cJSON_AddItemToArray(judge->known_wrong, cJSON_CreateString(text));
}

/* How a message names a file; its path stands in one list. */
static const char *path_of(enum pico_board_file file) {
    return pico_board_files[file].path;
}

static const char *text_at(const struct judge *judge, const char *path) {
    const cJSON *item = pico_json_find(judge->document, path);

    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static double number_at(const struct judge *judge, const char *path) {
    const cJSON *item = pico_json_find(judge->document, path);

    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static bool true_at(const struct judge *judge, const char *path) {
    return cJSON_IsTrue(pico_json_find(judge->document, path));
}

static bool listens(const struct judge *judge, int port) {
    const cJSON *item;

    cJSON_ArrayForEach(item, pico_json_find(judge->document, "facts.services.listening")) {
        if (item->valueint == port)
            return true;
    }
    return false;
}

/* A value of /proc/meminfo, KiB; NaN if absent. */
static double meminfo(const struct judge *judge, const char *key) {
    const char *text = text_at(judge, "texts.meminfo");
    size_t length = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            return strtod(line + length + 1, NULL);
    }
    return NAN;
}

/* The last line of the kernel log with one of the words, as "%.*s"; NULL if there is none. */
static const char *log_line(const struct judge *judge, const char *const *words, int *length) {
    const char *text = text_at(judge, "texts.kernel_log"), *best = NULL;

    for (const char *line = text; line != NULL && *line != '\0';) {
        int size = (int)strcspn(line, "\n");
        for (int i = 0; words[i] != NULL; i++) {
            if (memmem(line, (size_t)size, words[i], strlen(words[i])) != NULL) {
                best = line;
                *length = size > 200 ? 200 : size;
            }
        }
        line += size + (line[size] == '\n');
    }
    return best;
}

/* -- the chip and the NPU's driver */

static void judge_chip(struct judge *judge) {
    static const char *const chips[] = {"rockchip,rv1103", "rockchip,rv1106"};
    static const char *const newer[] = {"rockchip,rv1103b", "rockchip,rv1106b"};
    const cJSON *item, *names = pico_json_find(judge->document, "facts.soc.compatible");
    const char *chip = NULL, *other = NULL, *b = NULL;

    cJSON_ArrayForEach(item, names) {
        for (int i = 0; i < 2 && cJSON_IsString(item); i++) {
            chip = strcmp(item->valuestring, chips[i]) == 0 ? chips[i] : chip;
            b = strcmp(item->valuestring, newer[i]) == 0 ? newer[i] : b;
        }
        other = cJSON_IsString(item) ? item->valuestring : other;
    }
    judge->npu_chip = chip != NULL && b == NULL;
    if (judge->npu_chip)
        find(judge, OK, "chip", NULL, "%s", chip + strlen("rockchip,"));
    else if (b != NULL)
        find(judge, PROBLEM, "chip",
             "use a board with an RV1103 or RV1106; models for a -b chip are converted for another "
             "target and need another runtime",
             "this is an %s: its NPU runs none of the models here", b + strlen("rockchip,"));
    else if (judge->emulated)
        find(judge, NOTE, "chip", "nothing to do; on a board the NPU is real",
             "this is an emulator: it has no NPU, and its times are no board's");
    else if (other != NULL)
        find(judge, PROBLEM, "chip", "use a Luckfox Pico with an RV1103 or RV1106",
             "the chip is %s, not an RV1103 or RV1106", other);
    else
        find(judge, NOTE, "chip", "look at the name on the chip",
             "the kernel names no chip (there is no device tree)");
}

static void judge_node(struct judge *judge) {
    const char *node = text_at(judge, "facts.soc.npu_node");
    const char *status = text_at(judge, "facts.soc.npu_status");

    if (!judge->npu_chip)
        return;
    /* A driver that runs has its node, though a recorded board may lack it. */
    if (node == NULL && text_at(judge, "facts.npu.version") != NULL)
        find(judge, OK, "device-tree", NULL, "the NPU's driver runs");
    else if (node == NULL)
        find(judge, PROBLEM, "device-tree", "build the image again: invoke build-image",
             "the device tree has no node of the NPU");
    else if (strcmp(status, "okay") != 0 && strcmp(status, "ok") != 0)
        find(judge, PROBLEM, "device-tree",
             "use the device tree of this board, which enables the NPU: invoke build-image with "
             "the board's own variant",
             "the device tree disables the NPU (%s is \"%s\")", node, status);
    else
        find(judge, OK, "device-tree", NULL, "%s is enabled", node);
}

/* 3 numbers of "RKNPU driver: v0.9.2"; false if there are none. */
static bool version_of(const char *text, int version[3]) {
    const char *start = text == NULL ? NULL : strpbrk(text, "0123456789");

    return start != NULL && sscanf(start, "%d.%d.%d", &version[0], &version[1], &version[2]) == 3;
}

static int compare(const int a[3], const int b[3]) {
    for (int i = 0; i < 3; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    }
    return 0;
}

static bool has_module(const struct judge *judge, const char *name) {
    const char *text = text_at(judge, "texts.modules");
    size_t length = strlen(name);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ' ')
            return true;
    }
    return false;
}

static void judge_driver(struct judge *judge) {
    /* Which driver comes with which kernel of the vendor, by boot logs of boards. */
    static const struct {
        int driver[3];
        const char *name, *kernel;
    } pairs[] = {{{0, 8, 2}, "0.8.2", "5.10.110"}, {{0, 9, 2}, "0.9.2", "5.10.160"}};
    const char *version = text_at(judge, "facts.npu.version");
    const char *kernel = text_at(judge, "facts.soc.kernel");
    int numbers[3], oldest[3];

    static const char banner[] = "Linux version ";

    if (!judge->npu_chip)
        return;
    if (kernel != NULL && strncmp(kernel, banner, strlen(banner)) == 0)
        kernel += strlen(banner);
    bool loaded =
        version != NULL || has_module(judge, "rknpu") || true_at(judge, "facts.device.there");
    if (!loaded) {
        find(judge, PROBLEM, "driver",
             PICO_DRIVER_SCRIPT " start loads it; if that fails, the end of dmesg says why",
             "the NPU's driver is not loaded");
        return;
    }
    if (version == NULL) {
        find(judge, NOTE, "driver", "see \"not_read\" in the file: the driver may be stuck",
             "the driver is loaded, but its version could not be read");
        return;
    }
    find(judge, OK, "driver", NULL, "%s", version);
    version_of(OLDEST_DRIVER, oldest);
    if (!version_of(version, numbers)) {
        find(judge, NOTE, "driver-version", "report it together with this file",
             "the driver's version is not understood: %s", version);
        return;
    }
    if (compare(numbers, oldest) < 0) {
        find(judge, PROBLEM, "driver-version",
             "use an image with a newer kernel: invoke build-image",
             "driver %d.%d.%d is too old: the runtime needs " OLDEST_DRIVER, numbers[0], numbers[1],
             numbers[2]);
        return;
    }
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        size_t length = strlen(pairs[i].kernel);
        bool same = kernel != NULL && strncmp(kernel, pairs[i].kernel, length) == 0;
        if (compare(numbers, pairs[i].driver) == 0 && same) {
            find(judge, OK, "driver-version", NULL, "%s with kernel %s, as on other boards",
                 pairs[i].name, pairs[i].kernel);
            return;
        }
    }
    find(judge, NOTE, "driver-version",
         "known pairs are 0.8.2 with 5.10.110 and 0.9.2 with 5.10.160; let invoke verify-board "
         "prove this one",
         "nobody has reported driver %d.%d.%d with kernel %.*s", numbers[0], numbers[1], numbers[2],
         kernel != NULL ? (int)strcspn(kernel, " ") : 7, kernel != NULL ? kernel : "unknown");
}

static void judge_device(struct judge *judge) {
    const char *mode = text_at(judge, "facts.device.mode");

    if (!judge->npu_chip)
        return;
    if (cJSON_IsNull(pico_json_find(judge->document, "facts.device")))
        find(judge, NOTE, "device", "see \"not_read\" in the file",
             "the NPU could not be looked at");
    else if (!true_at(judge, "facts.device.there"))
        find(judge, PROBLEM, "device",
             "load the driver first (" PICO_DRIVER_SCRIPT " start); devtmpfs then makes the node",
             "there is no %s", path_of(PICO_RKNPU_DEVICE));
    else if (!true_at(judge, "facts.device.usable"))
        find(judge, PROBLEM, "device", "run as root, or put this user into the device's group",
             "%s cannot be used by user %.0f (mode %s, owner %.0f, group %.0f)",
             path_of(PICO_RKNPU_DEVICE), number_at(judge, "facts.device.asked_by"),
             mode != NULL ? mode : "unknown", number_at(judge, "facts.device.owner"),
             number_at(judge, "facts.device.group"));
    else
        find(judge, OK, "device", NULL, "%s can be used", path_of(PICO_RKNPU_DEVICE));
}

/* -- the newest result */

/* The NPU's configuration of the newest result that has a fact; NULL if there is none. */
static const cJSON *npu_run(const struct judge *judge, const char *fact) {
    const cJSON *model, *config;

    cJSON_ArrayForEach(model, pico_json_find(judge->document, "result.content.models")) {
        cJSON_ArrayForEach(config, pico_json_find(model, "configurations")) {
            const cJSON *engine = pico_json_find(config, "engine");
            const cJSON *wanted = pico_json_find(config, fact);
            if (cJSON_IsString(engine) && strcmp(engine->valuestring, "npu") == 0 &&
                wanted != NULL && !cJSON_IsNull(wanted))
                return config;
        }
    }
    return NULL;
}

static const char *runtime_of(const struct judge *judge) {
    const cJSON *runtime = pico_json_find(npu_run(judge, "runtime"), "runtime");

    if (!cJSON_IsString(runtime))
        runtime = pico_json_find(npu_run(judge, "facts.runtime"), "facts.runtime");
    return cJSON_IsString(runtime) ? runtime->valuestring : NULL;
}

static void judge_result(struct judge *judge) {
    const cJSON *newest = pico_json_find(judge->document, "result");
    const char *file = text_at(judge, "result.file");
    const char *outcome = text_at(judge, "result.content.outcome");
    const cJSON *failure =
        cJSON_GetArrayItem(pico_json_find(judge->document, "result.content.failures"), 0);

    if (!cJSON_IsObject(newest))
        find(judge, NOTE, "result", "npu-bench measures, checks the answers and keeps a result",
             "there is no benchmark result yet");
    else if (outcome == NULL)
        find(judge, PROBLEM, "result", "run npu-bench again; move the file away",
             "the newest result, %s, cannot be used: %s", file, text_at(judge, "result.broken"));
    else if (strcmp(outcome, "ok") != 0)
        find(judge, PROBLEM, "result", "mend that first, then run npu-bench again",
             "the benchmark failed: %.250s",
             cJSON_IsString(failure) ? failure->valuestring : "(no reason given)");
    else
        find(judge, OK, "result", NULL, "%s is whole", file);
}

static void judge_verification(struct judge *judge) {
    const char *runtime = runtime_of(judge), *driver = text_at(judge, "facts.npu.version");
    const cJSON *model, *config;
    const char *why = NULL;
    int verified = 0, numbers[3];

    cJSON_ArrayForEach(model, pico_json_find(judge->document, "result.content.models")) {
        cJSON_ArrayForEach(config, pico_json_find(model, "configurations")) {
            const cJSON *verdict = pico_json_find(config, "verification.verdict");
            const cJSON *name = pico_json_find(model, "name");
            const cJSON *failure = pico_json_find(config, "verification_failure");
            if (cJSON_IsString(failure))
                why = failure->valuestring;
            if (!cJSON_IsString(verdict))
                continue;
            verified++;
            if (strcmp(verdict->valuestring, "wrong") == 0)
                find(judge, PROBLEM, "verification",
                     "invoke verify-board --bisect NAME finds the first wrong layer; another "
                     "runtime "
                     "(npu-runner --probe) may be right",
                     "the NPU computes %.80s wrong: it is not what the PC computes",
                     cJSON_IsString(name) ? name->valuestring : "a model");
            else
                find(judge, OK, "verification", NULL, "%.80s on the NPU: %.40s%s",
                     cJSON_IsString(name) ? name->valuestring : "a model", verdict->valuestring,
                     cJSON_IsTrue(pico_json_find(config, "verification.simulated"))
                         ? ", of a simulator: no proof for a board"
                         : "");
        }
    }
    if (!judge->npu_chip)
        return;
    if (verified == 0 && why != NULL)
        find(judge, NOTE, "verification",
             "send model and golden vectors of one conversion: invoke "
             "deploy --model NAME",
             "this NPU's outputs could not be compared with the PC's: %.200s", why);
    else if (verified == 0)
        find(judge, NOTE, "verification",
             "npu-bench does it before it measures; from a desk: invoke verify-board --host HOST",
             "nobody has compared this NPU's outputs with the PC's");
    bool reported = runtime != NULL && strstr(runtime, "2.3.2") != NULL &&
                    version_of(driver, numbers) && numbers[0] == 0 && numbers[2] == 2 &&
                    (numbers[1] == 8 || numbers[1] == 9);
    if (reported && verified == 0)
        find(judge, NOTE, "runtime",
             "invoke verify-board --host HOST tells which is true here; npu-runner --probe looks "
             "for a "
             "runtime that is right",
             "runtime 2.3.2 with driver 0.%d.2: two projects report it right, three threads report "
             "wrong or zero outputs",
             numbers[1]);
    else if (runtime != NULL)
        find(judge, OK, "runtime", NULL, "%.120s (of the newest result)", runtime);
    if (reported)
        known_wrong(judge,
                    "Runtime 2.3.2 with drivers 0.8.2 and 0.9.2: three public threads report "
                    "wrong or zero outputs, two projects report it right.");
}

/* -- memory */

/* Bytes of the largest installed model for the NPU. */
static double largest_model(const struct judge *judge) {
    const cJSON *model;
    double most = 0;

    cJSON_ArrayForEach(model, pico_json_find(judge->document, "facts.models")) {
        const cJSON *bytes = pico_json_find(model, "npu_bytes");
        most = cJSON_IsNumber(bytes) && bytes->valuedouble > most ? bytes->valuedouble : most;
    }
    return most;
}

static void judge_cma(struct judge *judge) {
    double total = number_at(judge, "facts.system.cma_kib");
    double left = number_at(judge, "facts.state.cma_free_kib");
    double needed = largest_model(judge) == 0 ? 0 : largest_model(judge) / 1024 + CMA_BESIDES_KIB;
    int mebibytes = (int)ceil((needed > 5 * 1024 ? needed : 5 * 1024) / 1024) + 1;
    char remedy[160];

    if (!judge->npu_chip)
        return;
    snprintf(remedy, sizeof remedy,
             "invoke repack --cma %dM on the image, flash it again (or set rk_dma_heap_cma=%dM on "
             "the kernel command line)",
             mebibytes, mebibytes);
    if (isnan(total) || total <= 0) {
        find(judge, PROBLEM, "cma", remedy, "the kernel keeps no contiguous memory (CMA)");
        return;
    }
    if (total < 2048 || total < needed) {
        find(judge, PROBLEM, "cma", remedy,
             "%.0f KiB of contiguous memory (CMA) are too few: the largest model takes about %.0f",
             total, needed > 0 ? needed : 5 * 1024.0);
        return;
    }
    if (isnan(left))
        find(judge, NOTE, "cma",
             "nothing to do: CmaFree is always 0 on these kernels; npu-runner tries, and says what "
             "was missing",
             "%.0f KiB of contiguous memory; how much is free is not known", total);
    else if (left < needed)
        find(judge, PROBLEM, "cma",
             "stop what holds it (RkLunch-stop.sh ends rkipc), or give the image more: invoke "
             "repack --cma",
             "%.0f of %.0f KiB of contiguous memory are free; the largest model takes about %.0f",
             left, total, needed);
    else
        find(judge, OK, "cma", NULL, "%.0f of %.0f KiB of contiguous memory are free", left, total);
    if (meminfo(judge, "CmaFree") == 0)
        known_wrong(judge, "CmaFree is always 0 on the vendor's kernels; what is free stands in "
                           "CmaReleased.");
}

static void judge_memory(struct judge *judge) {
    double left = meminfo(judge, "MemAvailable"), total = meminfo(judge, "MemTotal");
    enum level level = left < TOO_LITTLE_KIB ? PROBLEM : left < LITTLE_KIB ? NOTE : OK;

    if (isnan(left))
        find(judge, NOTE, "memory", "see \"not_read\" in the file",
             "how much memory is available could not be read");
    else
        find(judge, level, "memory",
             "stop other programs (top shows them); less contiguous memory leaves more for the "
             "CPU: invoke repack --cma",
             "%.0f of %.0f KiB are available", left, total);
    if (true_at(judge, "facts.services.rkipc")) {
        find(judge, PROBLEM, "camera", "RkLunch-stop.sh ends it; our images do not start it",
             "rkipc, the vendor's camera program, runs: it takes memory and the NPU");
        known_wrong(judge, "The NPU beside a streaming camera is reported to fail often.");
    } else {
        find(judge, OK, "camera", NULL, "rkipc does not run");
    }
}

/* -- clocks */

static void judge_npu_clock(struct judge *judge) {
    double mhz = number_at(judge, "facts.state.npu_mhz");

    if (!judge->npu_chip || !true_at(judge, "facts.device.there"))
        return;
    if (isnan(mhz)) {
        find(judge, NOTE, "npu-clock", "run as root", "the NPU's clock could not be read");
        return;
    }
    if (fabs(mhz - NPU_MHZ) < 1)
        find(judge, OK, "npu-clock", NULL, "%.0f MHz", mhz);
    else
        find(judge, mhz > TOO_FAST_MHZ ? PROBLEM : NOTE, "npu-clock",
             "the device tree sets 420 MHz; take back what changed it",
             "the NPU runs at %.0f MHz instead of 420: its times do not compare with other boards'",
             mhz);
    if (mhz > TOO_FAST_MHZ)
        known_wrong(judge, "An NPU at 700 MHz is reported to hang on a Zero.");
}

static void judge_cpu_clock(struct judge *judge) {
    double now = number_at(judge, "facts.clocks.cpu_mhz");
    double allowed = number_at(judge, "facts.clocks.cpu_mhz_allowed");
    double highest = number_at(judge, "facts.clocks.cpu_mhz_highest");
    double tree = number_at(judge, "facts.clocks.cpu_mhz_device_tree");
    const char *governor = text_at(judge, "facts.clocks.governor");

    if (judge->emulated)
        return; /* no clock at all */
    if (isnan(now) && isnan(highest))
        find(judge, NOTE, "cpu-clock", "nothing to do: npu-bench measures the clock itself",
             "the kernel does not tell the CPU's clock");
    else if (allowed < highest)
        find(judge, PROBLEM, "cpu-clock",
             "write the value of cpuinfo_max_freq to scaling_max_freq (both are in "
             "cpu0/cpufreq), and look for what lowered it: heat, or a script",
             "the CPU may run at %.0f MHz at most, its limit is %.0f", allowed, highest);
    else if (highest < tree)
        find(judge, NOTE, "cpu-clock",
             "nothing to do: the kernel leaves out operating points that this chip or its supply "
             "cannot take",
             "the CPU's limit is %.0f MHz; the device tree has up to %.0f", highest, tree);
    else if (governor != NULL && strcmp(governor, "performance") == 0 && now < allowed)
        find(judge, NOTE, "cpu-clock", "cool the board; a temperature above 85 degrees slows it",
             "the CPU runs at %.0f MHz, below its limit of %.0f", now, allowed);
    else if (isnan(highest))
        find(judge, OK, "cpu-clock", NULL, "%.0f MHz", now);
    else
        find(judge, OK, "cpu-clock", NULL, "%.0f MHz, at most %.0f", now, highest);
    if (governor == NULL)
        find(judge, NOTE, "governor", "nothing to do", "the kernel has no CPU governor");
    else if (strcmp(governor, "performance") != 0)
        find(
            judge, NOTE, "governor",
            "npu-bench sets performance while it measures; for runs of your own, write performance "
            "to cpu0/cpufreq/scaling_governor",
            "the CPU's governor is %s", governor);
    else
        find(judge, OK, "governor", NULL, "performance");
}

/* -- storage */

/* The word NAME=VALUE of the command line; false if there is none. */
static bool parameter(const struct judge *judge, const char *name, char *value, size_t size) {
    const char *at = text_at(judge, "texts.cmdline");
    size_t length = strlen(name);
    bool found = false;

    for (; at != NULL && *at != '\0'; at += strcspn(at, " \n") + (at[strcspn(at, " \n")] != '\0')) {
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            snprintf(value, size, "%.*s", (int)strcspn(at + length + 1, " \n"), at + length + 1);
            found = true; /* the last one counts */
        }
    }
    return found;
}

/* Device, type and options of what is mounted on a folder; false if nothing is. */
static bool mounted(const struct judge *judge, const char *folder, char device[64], char type[32],
                    char options[160]) {
    const char *line = text_at(judge, "texts.mounts");
    bool found = false;

    while (line != NULL && *line != '\0') {
        char from[64], place[64], kind[32], flags[160];
        if (sscanf(line, "%63s %63s %31s %159s", from, place, kind, flags) == 4 &&
            strcmp(place, folder) == 0 && strcmp(kind, "rootfs") != 0) {
            strcpy(device, from);
            strcpy(type, kind);
            strcpy(options, flags);
            found = true;
        }
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return found;
}

static bool read_only(const char *options) {
    return strcmp(options, "ro") == 0 || strncmp(options, "ro,", 3) == 0;
}

static void judge_root(struct judge *judge) {
    char root[64], parts[768], device[64] = "", type[32], options[160], card[32];

    if (!parameter(judge, "root", root, sizeof root)) {
        find(judge, NOTE, "root", "nothing to do if the board starts as it should",
             "the kernel command line does not say where the root file system is");
        return;
    }
    bool known = mounted(judge, "/", device, type, options);
    if (!parameter(judge, "blkdevparts", parts, sizeof parts)) {
        find(judge, judge->emulated ? NOTE : PROBLEM, "root",
             "insert the card before power; hold BOOT at power-on, or erase the flash, where the "
             "board prefers it",
             "the board did not start from our card: root is %s and there is no blkdevparts", root);
        return;
    }
    snprintf(card, sizeof card, "%.*s", (int)strcspn(parts, ":"), parts);
    const char *slash = strrchr(root, '/'), *last = strrchr(device, '/');
    bool same = slash != NULL && strncmp(slash + 1, card, strlen(card)) == 0;
    /* Older kernels show the name "root" instead. */
    bool moved =
        known && last != NULL && strncmp(last, "/mmcblk", 7) == 0 && strcmp(device, root) != 0;
    if (!same || moved)
        find(judge, PROBLEM, "root", "take the other card out, or erase the flash that it is on",
             "the root file system is on %s, not on the card that the loader partitioned (%s)",
             moved ? device : root, card);
    else if (known && read_only(options))
        find(judge, PROBLEM, "root",
             "the kernel does that after an error: see file-systems; check the card on a PC",
             "the root file system is mounted read-only");
    else
        find(judge, OK, "root", NULL, "%s", root);
}

static void judge_folder(struct judge *judge, const char *folder, const char *part) {
    char parts[768], device[64], type[32], options[160], name[40];

    snprintf(name, sizeof name, "(%s)", part);
    if (!parameter(judge, "blkdevparts", parts, sizeof parts) || strstr(parts, name) == NULL)
        return; /* a layout without it */
    if (!mounted(judge, folder, device, type, options))
        find(judge, PROBLEM, part,
             "the script S20linkmount mounts it and says on the console what is wrong",
             "%s is not mounted%s", folder,
             strcmp(part, "oem") == 0 ? ": the NPU's driver is on it" : "");
    else if (strcmp(type, "tmpfs") == 0)
        find(judge, PROBLEM, part,
             "keep results elsewhere (npu-bench --output), then make the file system again; "
             "S20linkmount prints the command on the console",
             "%s is in memory: what is written there is lost at power-off", folder);
    else if (read_only(options))
        find(judge, PROBLEM, part, "check the card on a PC (fsck.ext4), or flash it again",
             "%s is mounted read-only", folder);
    else
        find(judge, OK, part, NULL, "%s on %s", device, folder);
}

/* -- the kernel log */

static void judge_log(struct judge *judge) {
    static const char *const oops[] = {"Unable to handle kernel", "Internal error: Oops",
                                       "Kernel panic", "kernel BUG at", NULL};
    static const char *const killed[] = {"Out of memory: Kill", "invoked oom-killer",
                                         "oom-kill:", NULL};
    static const char *const npu[] = {"job timeout", "failed to wait job", "NPU timeout", NULL};
    static const char *const broken[] = {"EXT4-fs error",
                                         "mounting fs with errors",
                                         "Buffer I/O error",
                                         "I/O error, dev mmcblk",
                                         "JBD2: recovery failed",
                                         "Remounting filesystem read-only",
                                         NULL};
    static const struct {
        const char *name, *is, *none, *remedy;
        const char *const *words;
    } kinds[] = {
        {"kernel-oops", "the kernel had a fault", "the kernel had no fault",
         "start the board again; report this file, it holds the whole kernel log", oops},
        {"out-of-memory", "the kernel killed a program for want of memory",
         "no program was killed for want of memory",
         "run one thing at a time; smaller models, or less contiguous memory (invoke repack --cma)",
         killed},
        {"npu-timeout", "a job of the NPU timed out", "no job of the NPU timed out",
         "start the board again, stop rkipc, keep the NPU at 420 MHz; if it comes back, report "
         "this file",
         npu},
        {"file-systems", "a file system or the card has errors",
         "no error of a file system or the card",
         "save what you need, check the card on a PC, and use another card if it comes back",
         broken},
    };

    if (text_at(judge, "texts.kernel_log") == NULL) {
        find(judge, NOTE, "kernel-log", "run npu-doctor as root",
             "the kernel's messages could not be read");
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int length = 0;
        const char *line = log_line(judge, kinds[i].words, &length);
        if (line != NULL)
            find(judge, PROBLEM, kinds[i].name, kinds[i].remedy, "%s: %.*s", kinds[i].is, length,
                 line);
        else
            find(judge, OK, kinds[i].name, NULL, "%s", kinds[i].none);
    }
}

/* -- what is open, what is installed */

static void judge_clock(struct judge *judge) {
    double now = number_at(judge, "facts.clocks.unix_time");

    if (isnan(now))
        find(judge, NOTE, "clock", "nothing to do", "the time of day could not be read");
    else if (now < YEAR_2025)
        find(judge, NOTE, "clock",
             "date -s \"2026-01-31 12:00\" sets it; a network with NTP does it by itself",
             "the clock is not set: dates of results are wrong");
    else
        find(judge, OK, "clock", NULL, "the clock is set");
}

static void judge_doors(struct judge *judge) {
    if (true_at(judge, "facts.services.telnetd") || listens(judge, 23))
        find(judge, PROBLEM, "telnet",
             "killall telnetd, delete the script S50telnet that starts it, log in with SSH",
             "telnet is open (port 23): passwords cross the network in plain text");
    else
        find(judge, OK, "telnet", NULL, "telnet is closed");
    if (true_at(judge, "facts.services.adbd") || listens(judge, 5555))
        find(judge, PROBLEM, "adb", "killall adbd; our images do not start it",
             "adbd runs: a root shell without a password for whoever reaches port 5555 or the USB "
             "port");
    else
        find(judge, OK, "adb", NULL, "adbd does not run");
}

static void judge_models(struct judge *judge) {
    const cJSON *models = pico_json_find(judge->document, "facts.models"), *model, *file;
    int whole = 0, broken = 0;

    cJSON_ArrayForEach(model, models) {
        const cJSON *name = pico_json_find(model, "name");
        const cJSON *why = pico_json_find(model, "broken");
        const char *missing = NULL;
        cJSON_ArrayForEach(file, pico_json_find(model, "files")) {
            if (missing == NULL && !cJSON_IsNumber(pico_json_find(file, "bytes")))
                missing = pico_json_find(file, "path")->valuestring;
        }
        whole += missing == NULL && !cJSON_IsString(why);
        broken += missing != NULL || cJSON_IsString(why);
        if (cJSON_IsString(why))
            find(judge, PROBLEM, "models", "send it again: invoke deploy --model NAME",
                 "%.80s: %.250s", name->valuestring, why->valuestring);
        else if (missing != NULL)
            find(judge, PROBLEM, "models", "send it again: invoke deploy --model NAME",
                 "%.80s lacks %.200s", name->valuestring, missing);
    }
    if (whole == 0 && broken == 0)
        find(judge, NOTE, "models",
             "use an image whose variant has the package npu-models; invoke deploy --model NAME "
             "sends one",
             "no model is installed");
    else if (broken == 0)
        find(judge, OK, "models", NULL, "%d installed, all files there", whole);
}

static void judge_programs(struct judge *judge) {
    static const char *const names[] = {"npu-bench", "npu-runner", "neon-runner"};
    const char *variant = text_at(judge, "facts.system.image.VARIANT");

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "facts.programs.%s", names[i]);
        if (!cJSON_IsObject(pico_json_find(judge->document, path)))
            find(judge, NOTE, "programs", "use an image whose variant has this package",
                 "%s is not installed", names[i]);
    }
    if (variant == NULL)
        find(judge, NOTE, "image", "flash one of ours: invoke build-image, invoke flash",
             "this is none of our images: there is no %s", path_of(PICO_RELEASE));
    else
        find(judge, OK, "image", NULL, "%.80s", variant);
}

int doctor_judge(cJSON *document) {
    struct judge judge = {
        .document = document,
        .findings = cJSON_AddArrayToObject(document, "findings"),
        .known_wrong = cJSON_AddArrayToObject(document, "known_wrong"),
        .emulated = cJSON_IsTrue(pico_json_find(document, "emulated")),
    };

    judge_programs(&judge);
    judge_chip(&judge);
    judge_node(&judge);
    judge_driver(&judge);
    judge_device(&judge);
    judge_cma(&judge);
    judge_memory(&judge);
    judge_npu_clock(&judge);
    judge_cpu_clock(&judge);
    judge_root(&judge);
    judge_folder(&judge, "/oem", "oem");
    judge_folder(&judge, "/userdata", "userdata");
    judge_log(&judge);
    judge_clock(&judge);
    judge_doors(&judge);
    judge_models(&judge);
    judge_result(&judge);
    judge_verification(&judge);
    if (judge.npu_chip) {
        char text[200];
        snprintf(text, sizeof text,
                 "Reading %s ends in a kernel oops on these boards: no program of ours does.",
                 path_of(PICO_RKNPU_VOLT));
        known_wrong(&judge, text);
    }
    return judge.problems;
}
