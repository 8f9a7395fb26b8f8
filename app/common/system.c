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

/* The value after "KEY<blanks>:<blanks>" in a file of such lines. */
static bool read_key(const char *root, enum pico_board_file of, const char *key, char *value,
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

    return read_key(root, of, key, value, sizeof value) ? strtol(value, NULL, 10) : -1;
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
    if (read_key(root, PICO_CPUINFO, "vendor_id", text, sizeof text)) {
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

static void add_line(cJSON *object, const char *key, const char *root, enum pico_board_file of) {
    char text[512];

    if (pico_read_line(root, of, text, sizeof text) && text[0] != '\0')
        cJSON_AddStringToObject(object, key, text);
    else
        cJSON_AddNullToObject(object, key);
}

static void add_number(cJSON *object, const char *key, const char *root, enum pico_board_file of,
                       double factor) {
    char text[64], *end;

    if (pico_read_line(root, of, text, sizeof text)) {
        double value = strtod(text, &end);
        if (end != text) {
            cJSON_AddNumberToObject(object, key, value * factor);
            return;
        }
    }
    cJSON_AddNullToObject(object, key);
}

static void add_kib(cJSON *object, const char *key, const char *root, const char *name) {
    long kib = pico_memory_kib(root, PICO_MEMINFO, name);

    if (kib >= 0)
        cJSON_AddNumberToObject(object, key, (double)kib);
    else
        cJSON_AddNullToObject(object, key);
}

static cJSON *release_facts(const char *root) {
    char line[256];
    FILE *file = pico_board_open(root, PICO_RELEASE);

    if (file == NULL)
        return cJSON_CreateNull();
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

static cJSON *cpu_facts(const char *root) {
    static const char *const keys[][2] = {
        {"model", "model name"},      {"implementer", "CPU implementer"}, {"part", "CPU part"},
        {"revision", "CPU revision"}, {"features", "Features"},           {"hardware", "Hardware"},
    };
    cJSON *object = cJSON_CreateObject();

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char value[256];
        if (read_key(root, PICO_CPUINFO, keys[i][1], value, sizeof value))
            cJSON_AddStringToObject(object, keys[i][0], value);
        else
            cJSON_AddNullToObject(object, keys[i][0]);
    }
    return object;
}

cJSON *pico_system_facts(const char *root) {
    cJSON *object = cJSON_CreateObject();
    struct utsname names;
    char why[160];

    if (uname(&names) == 0) {
        cJSON *kernel = cJSON_AddObjectToObject(object, "kernel");
        cJSON_AddStringToObject(kernel, "release", names.release);
        cJSON_AddStringToObject(kernel, "version", names.version);
        cJSON_AddStringToObject(kernel, "machine", names.machine);
    }
    add_line(object, "command_line", root, PICO_CMDLINE);
    add_line(object, "board", root, PICO_DEVICE_TREE_MODEL);
    cJSON_AddItemToObject(object, "cpu", cpu_facts(root));
    cJSON_AddItemToObject(object, "image", release_facts(root));
    add_line(object, "deployed", root, PICO_DEPLOYED);
    add_kib(object, "memory_kib", root, "MemTotal");
    add_kib(object, "cma_kib", root, "CmaTotal");
    add_line(object, "npu_driver", root, PICO_RKNPU_VERSION);
    cJSON_AddBoolToObject(object, "emulated", pico_is_emulated(root, why, sizeof why));
    cJSON_AddStringToObject(object, "emulated_because", why);
    return object;
}

cJSON *pico_system_state(const char *root) {
    cJSON *object = cJSON_CreateObject();
    char text[64];

    add_line(object, "governor", root, PICO_GOVERNOR);
    add_number(object, "cpu_mhz_sysfs", root, PICO_CPU_FREQ, 1e-3);
    cJSON_AddNumberToObject(object, "cpu_mhz_measured",
                            (double)(long)(pico_measure_cpu_mhz(12) * 10) / 10);
    add_line(object, "npu_frequency", root, PICO_RKNPU_FREQ);
    /* The runtime has no OPP table: the clock is set by the device tree or by hand. */
    if (pico_read_line(root, PICO_RKNPU_FREQ, text, sizeof text) && strtod(text, NULL) > 1e6)
        cJSON_AddNumberToObject(object, "npu_mhz", strtod(text, NULL) / 1e6);
    else
        add_number(object, "npu_mhz", root, PICO_NPU_CLOCK, 1e-6);
    add_line(object, "npu_load", root, PICO_RKNPU_LOAD);
    add_number(object, "temperature_celsius", root, PICO_TEMPERATURE, 1e-3);
    add_kib(object, "available_kib", root, "MemAvailable");
    add_kib(object, "cma_free_kib", root, "CmaFree");
    long total = pico_memory_kib(root, PICO_MEMINFO, "SwapTotal");
    long left = pico_memory_kib(root, PICO_MEMINFO, "SwapFree");
    cJSON_AddNumberToObject(object, "swap_used_kib", (double)(total > 0 ? total - left : 0));
    add_number(object, "load_1min", root, PICO_LOADAVG, 1);
    add_number(object, "uptime_s", root, PICO_UPTIME, 1);
    cJSON_AddBoolToObject(object, "rkipc_runs", pico_process_runs(root, "rkipc"));
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
