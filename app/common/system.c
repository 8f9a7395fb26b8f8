#include "system.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "clock.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* The first line of `file`, which may be NULL and is closed. */
static bool first_line(FILE *file, char *text, size_t size) {
    bool read = file != NULL && fgets(text, (int)size, file) != NULL;

    if (file != NULL)
        fclose(file);
    if (!read)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return read;
}

bool pico_read_line(const char *root, enum pico_board_file of, char *text, size_t size) {
    return first_line(pico_board_open(root, of), text, size);
}

bool pico_read_key(const char *root, enum pico_board_file of, const char *key, char *value,
                   size_t size) {
    char line[256];
    size_t length = strlen(key);
    bool found = false;
    FILE *file = pico_board_open(root, of);

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        const char *at = line + length;
        if (strncmp(line, key, length) != 0)
            continue;
        at += strspn(at, " \t");
        if (*at != ':')
            continue;
        at += 1 + strspn(at + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
        found = true;
    }
    fclose(file);
    return found;
}

long pico_memory_kib(const char *root, enum pico_board_file of, const char *key) {
    char value[64];

    return pico_read_key(root, of, key, value, sizeof value) ? strtol(value, NULL, 10) : -1;
}

void pico_read_cma(const char *root, struct pico_cma *cma) {
    long idle = pico_memory_kib(root, PICO_MEMINFO, "CmaFree");

    cma->total_kib = pico_memory_kib(root, PICO_MEMINFO, "CmaTotal");
    cma->free_kib = pico_memory_kib(root, PICO_MEMINFO, "CmaReleased");
    cma->apart = cma->free_kib >= 0 && idle == 0;
    if (cma->free_kib < 0 && idle > 0)
        cma->free_kib = idle;
}

static bool has_word(const char *text, const char *word) {
    size_t length = strlen(word);

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == text || isspace((unsigned char)at[-1])) &&
            (at[length] == '\0' || isspace((unsigned char)at[length])))
            return true;
    }
    return false;
}

bool pico_is_emulated(const char *root, char *why, size_t size) {
    char text[2048];

    why[0] = '\0';
    if (root[0] != '\0') {
        snprintf(why, size, "the board's files are read below %.100s", root);
        return true;
    }
    if (pico_read_line(root, PICO_CMDLINE, text, sizeof text) &&
        has_word(text, "pico.emulated=1")) {
        snprintf(why, size, "the kernel command line says pico.emulated=1");
        return true;
    }
#if defined(__arm__)
    if (pico_read_key(root, PICO_CPUINFO, "vendor_id", text, sizeof text)) {
        snprintf(why, size, "an ARM program on a processor by %.40s", text);
        return true;
    }
#endif
    return false;
}

bool pico_process_runs(const char *root, const char *name) {
    char proc[PATH_MAX - 32];
    DIR *folder = pico_board_path(root, PICO_PROC, proc, sizeof proc) ? opendir(proc) : NULL;
    bool found = false;

    if (folder == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        char path[PATH_MAX], comm[64];
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof path, "%s/%.20s/comm", proc, entry->d_name);
        found = first_line(fopen(path, "re"), comm, sizeof comm) && strcmp(comm, name) == 0;
    }
    closedir(folder);
    return found;
}

cJSON *pico_fact_line(const char *root, const struct pico_fact *fact) {
    char text[2048];

    return pico_read_line(root, fact->file, text, sizeof text) && text[0] != '\0'
               ? cJSON_CreateString(text)
               : NULL;
}

cJSON *pico_fact_number(const char *root, const struct pico_fact *fact) {
    char text[64], *end = text;

    double value = pico_read_line(root, fact->file, text, sizeof text) ? strtod(text, &end) : 0;
    return end != text ? cJSON_CreateNumber(value * fact->factor) : NULL;
}

cJSON *pico_fact_kib(const char *root, const struct pico_fact *fact) {
    long kib = pico_memory_kib(root, fact->file, fact->name);

    return kib >= 0 ? cJSON_CreateNumber((double)kib) : NULL;
}

cJSON *pico_fact_key(const char *root, const struct pico_fact *fact) {
    char text[256];

    return pico_read_key(root, fact->file, fact->name, text, sizeof text) ? cJSON_CreateString(text)
                                                                          : NULL;
}

static cJSON *release_facts(const char *root, const struct pico_fact *fact) {
    char line[256];
    FILE *file = pico_board_open(root, fact->file);

    if (file == NULL)
        return NULL;
    cJSON *object = cJSON_CreateObject();
    while (fgets(line, sizeof line, file) != NULL) {
        char *value = strchr(line, '=');
        line[strcspn(line, "\n")] = '\0';
        if (value == NULL || line[0] == '#')
            continue;
        *value++ = '\0';
        size_t length = strlen(value);
        if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
            value[length - 1] = '\0';
            value++;
        }
        cJSON_AddStringToObject(object, line, value);
    }
    fclose(file);
    return object;
}

cJSON *pico_system_facts(const char *root, struct pico_notes *notes) {
    static const struct pico_fact cpu[] = {
        {"model", pico_fact_key, PICO_CPUINFO, "model name", 0},
        {"implementer", pico_fact_key, PICO_CPUINFO, "CPU implementer", 0},
        {"part", pico_fact_key, PICO_CPUINFO, "CPU part", 0},
        {"revision", pico_fact_key, PICO_CPUINFO, "CPU revision", 0},
        {"features", pico_fact_key, PICO_CPUINFO, "Features", 0},
        {"hardware", pico_fact_key, PICO_CPUINFO, "Hardware", 0},
    };
    static const struct pico_fact facts[] = {
        {"command_line", pico_fact_line, PICO_CMDLINE, NULL, 0},
        {"board", pico_fact_line, PICO_DEVICE_TREE_MODEL, NULL, 0},
        {"image", release_facts, PICO_RELEASE, NULL, 0},
        {"deployed", pico_fact_line, PICO_DEPLOYED, NULL, 0},
        {"memory_kib", pico_fact_kib, PICO_MEMINFO, "MemTotal", 0},
        {"cma_kib", pico_fact_kib, PICO_MEMINFO, "CmaTotal", 0},
        {"npu_driver", pico_fact_line, PICO_RKNPU_VERSION, NULL, 0},
    };
    cJSON *object = cJSON_CreateObject();
    struct utsname names;
    char why[160];

    if (uname(&names) == 0) {
        cJSON *kernel = cJSON_AddObjectToObject(object, "kernel");
        cJSON_AddStringToObject(kernel, "release", names.release);
        cJSON_AddStringToObject(kernel, "version", names.version);
        cJSON_AddStringToObject(kernel, "machine", names.machine);
    }
    pico_facts_add(cJSON_AddObjectToObject(object, "cpu"), root, cpu, COUNT(cpu), notes);
    pico_facts_add(object, root, facts, COUNT(facts), notes);
    cJSON_AddBoolToObject(object, "emulated", pico_is_emulated(root, why, sizeof why));
    cJSON_AddStringToObject(object, "emulated_because", why);
    return object;
}

static void add_item(cJSON *object, const char *key, cJSON *item) {
    cJSON_AddItemToObject(object, key, item != NULL ? item : cJSON_CreateNull());
}

/* What the kernel itself tells, as on every Linux, and the clock by our own measurement. */
static void add_kernel_state(cJSON *object, const char *root) {
    static const struct pico_fact facts[] = {
        {"governor", pico_fact_line, PICO_GOVERNOR, NULL, 0},
        {"cpu_mhz_sysfs", pico_fact_number, PICO_CPU_FREQ, NULL, 1e-3},
        {"available_kib", pico_fact_kib, PICO_MEMINFO, "MemAvailable", 0},
        {"load_1min", pico_fact_number, PICO_LOADAVG, NULL, 1},
        {"uptime_s", pico_fact_number, PICO_UPTIME, NULL, 1},
    };
    long total = pico_memory_kib(root, PICO_MEMINFO, "SwapTotal");
    long left = pico_memory_kib(root, PICO_MEMINFO, "SwapFree");
    struct pico_cma cma;

    for (int i = 0; i < COUNT(facts); i++)
        add_item(object, facts[i].key, facts[i].read(root, &facts[i]));
    cJSON_AddNumberToObject(object, "cpu_mhz_measured",
                            (double)(long)(pico_measure_cpu_mhz(12) * 10) / 10);
    cJSON_AddNumberToObject(object, "swap_used_kib", (double)(total > 0 ? total - left : 0));
    pico_read_cma(root, &cma);
    add_item(object, "cma_free_kib", cma.free_kib < 0 ? NULL : cJSON_CreateNumber(cma.free_kib));
    cJSON_AddBoolToObject(object, "rkipc_runs", pico_process_runs(root, "rkipc"));
}

/* The runtime has no OPP table: the clock is set by the device tree or by hand. */
static cJSON *npu_mhz(const char *root, const struct pico_fact *fact) {
    char text[64];

    if (pico_read_line(root, PICO_RKNPU_FREQ, text, sizeof text) && strtod(text, NULL) > 1e6)
        return cJSON_CreateNumber(strtod(text, NULL) * fact->factor);
    return pico_fact_number(root, fact);
}

cJSON *pico_system_state(const char *root, enum pico_when when, struct pico_notes *notes) {
    static const struct pico_fact facts[] = {
        {"temperature_celsius", pico_fact_number, PICO_TEMPERATURE, NULL, 1e-3},
        /* Of the NPU's driver, and only after measuring. */
        {"npu_frequency", pico_fact_line, PICO_RKNPU_FREQ, NULL, 0},
        {"npu_mhz", npu_mhz, PICO_NPU_CLOCK, NULL, 1e-6},
        {"npu_load", pico_fact_line, PICO_RKNPU_LOAD, NULL, 0},
    };
    cJSON *object = cJSON_CreateObject();

    add_kernel_state(object, root);
    pico_facts_add(object, root, facts, when == PICO_BEFORE ? 1 : COUNT(facts), notes);
    return object;
}

void pico_utc_text(char *text, size_t size, bool compact) {
    /* Days to a date by H. Hinnant, "chrono-compatible low-level date algorithms": gmtime and
     * strftime would bring time zones and locales into a static program, 20 KB of 700. */
    int64_t now = time(NULL), days = now / 86400 + 719468;
    int second = (int)(now % 86400);
    int era = (int)(days / 146097), day = (int)(days % 146097);
    int year = (day - day / 1460 + day / 36524 - day / 146096) / 365;

    day -= 365 * year + year / 4 - year / 100;
    int month = (5 * day + 2) / 153; /* from March */
    day -= (153 * month + 2) / 5 - 1;
    month += month < 10 ? 3 : -9;
    year += era * 400 + (month <= 2);
    snprintf(text, size, compact ? "%04d%02d%02dT%02d%02d%02dZ" : "%04d-%02d-%02dT%02d:%02d:%02dZ",
             year, month, day, second / 3600, second / 60 % 60, second % 60);
}

bool pico_clock_is_set(void) {
    /* Without a battery the clock starts in 1970 or at the kernel's build. 1 January 2025. */
    return time(NULL) > 1735689600;
}
