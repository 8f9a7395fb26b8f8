/* What is there, without a judgement. */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board_files.h"
#include "card.h"
#include "doctor.h"
#include "facts.h"
#include "json.h"
#include "system.h"

enum { RESULT_LIMIT = 2 << 20, LOG_LIMIT = 256 << 10, READ_ALL = 3, BUFFER_SIZE = 10 };

static void add_line(cJSON *object, const char *key, const char *root, enum pico_board_file file) {
    char text[256];

    if (pico_read_line(root, file, text, sizeof text) && text[0] != '\0')
        cJSON_AddStringToObject(object, key, text);
    else
        cJSON_AddNullToObject(object, key);
}

static void add_number(cJSON *object, const char *key, const char *root,
                       enum pico_board_file file) {
    const struct pico_fact fact = {.file = file, .factor = 1e-3};
    cJSON *number = pico_fact_number(root, &fact);

    cJSON_AddItemToObject(object, key, number != NULL ? number : cJSON_CreateNull());
}

/* Names separated by zero bytes, as the device tree has them. */
static cJSON *names_in(FILE *file) {
    char text[512];
    size_t length = fread(text, 1, sizeof text - 1, file);
    cJSON *names = cJSON_CreateArray();

    text[length] = '\0';
    for (size_t i = 0; i < length; i += strlen(text + i) + 1) {
        text[i + strcspn(text + i, "\n")] = '\0';
        if (text[i] != '\0')
            cJSON_AddItemToArray(names, cJSON_CreateString(text + i));
    }
    return names;
}

/* The first entry of a folder whose name starts so; false if there is none. */
static bool entry_of(const char *folder, const char *start, char *name, size_t size) {
    DIR *stream = opendir(folder);
    bool found = false;

    if (stream == NULL)
        return false;
    for (struct dirent *entry; !found && (entry = readdir(stream)) != NULL;) {
        found = strncmp(entry->d_name, start, strlen(start)) == 0;
        if (found)
            snprintf(name, size, "%s", entry->d_name);
    }
    closedir(stream);
    return found;
}

cJSON *doctor_soc(const char *root, const struct pico_fact *fact) {
    char tree[PATH_MAX], node[NAME_MAX + 1], path[PATH_MAX + NAME_MAX + 16];
    cJSON *object = cJSON_CreateObject();
    FILE *file = pico_board_open(root, PICO_DEVICE_TREE_COMPATIBLE);

    (void)fact;
    if (file == NULL)
        cJSON_AddNullToObject(object, "compatible");
    else
        cJSON_AddItemToObject(object, "compatible", names_in(file));
    if (file != NULL)
        fclose(file);
    /* Not from uname(): a recorded board has its own. */
    add_line(object, "kernel", root, PICO_KERNEL_VERSION);
    /* npu@ff660000; its status is "disabled" in the SoC's file, and a board's file enables it. */
    if (pico_board_path(root, PICO_DEVICE_TREE, tree, sizeof tree) &&
        entry_of(tree, "npu@", node, sizeof node)) {
        cJSON_AddStringToObject(object, "npu_node", node);
        snprintf(path, sizeof path, "%s/%s/status", tree, node);
        file = fopen(path, "re");
        cJSON *status = file == NULL ? NULL : names_in(file);
        const cJSON *first = cJSON_GetArrayItem(status, 0);
        /* A node without a status is enabled (Devicetree Specification 2.3.4). */
        cJSON_AddStringToObject(object, "npu_status",
                                cJSON_IsString(first) ? first->valuestring : "okay");
        cJSON_Delete(status);
        if (file != NULL)
            fclose(file);
    } else {
        cJSON_AddNullToObject(object, "npu_node");
        cJSON_AddNullToObject(object, "npu_status");
    }
    return object;
}

cJSON *doctor_device(const char *root, const struct pico_fact *fact) {
    char path[PATH_MAX];
    struct stat facts;
    cJSON *object = cJSON_CreateObject();
    bool known = pico_board_path(root, PICO_RKNPU_DEVICE, path, sizeof path);
    bool there = known && stat(path, &facts) == 0;

    (void)fact;
    cJSON_AddBoolToObject(object, "there", there);
    cJSON_AddBoolToObject(object, "usable", there && access(path, R_OK | W_OK) == 0);
    if (there) {
        char mode[8];
        snprintf(mode, sizeof mode, "%04o", (unsigned)facts.st_mode & 07777);
        cJSON_AddStringToObject(object, "mode", mode);
        cJSON_AddNumberToObject(object, "owner", (double)facts.st_uid);
        cJSON_AddNumberToObject(object, "group", (double)facts.st_gid);
    }
    cJSON_AddNumberToObject(object, "asked_by", (double)geteuid());
    return object;
}

/* The highest operating point of the device tree, MHz; its nodes are named opp-1104000000. */
static double highest_point(const char *root) {
    char tree[PATH_MAX], folder[PATH_MAX + NAME_MAX + 2], name[NAME_MAX + 1];
    double highest = 0;

    if (!pico_board_path(root, PICO_DEVICE_TREE, tree, sizeof tree) ||
        !entry_of(tree, "cpu0-opp-table", name, sizeof name))
        return 0;
    snprintf(folder, sizeof folder, "%s/%s", tree, name);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        double hertz = strncmp(entry->d_name, "opp-", 4) == 0 ? strtod(entry->d_name + 4, NULL) : 0;
        highest = hertz > highest ? hertz : highest;
    }
    if (stream != NULL)
        closedir(stream);
    return highest / 1e6;
}

cJSON *doctor_clocks(const char *root, const struct pico_fact *fact) {
    cJSON *object = cJSON_CreateObject();
    double highest = highest_point(root);
    char line[128];
    FILE *file = pico_board_open(root, PICO_STAT);
    double booted = -1, uptime = -1;

    (void)fact;
    add_line(object, "governor", root, PICO_GOVERNOR);
    add_number(object, "cpu_mhz", root, PICO_CPU_FREQ);
    add_number(object, "cpu_mhz_allowed", root, PICO_CPU_ALLOWED);
    add_number(object, "cpu_mhz_highest", root, PICO_CPU_HIGHEST);
    if (highest > 0)
        cJSON_AddNumberToObject(object, "cpu_mhz_device_tree", highest);
    else
        cJSON_AddNullToObject(object, "cpu_mhz_device_tree");
    /* The time of day out of the kernel's files, so that a recorded board has its own. */
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "btime ", 6) == 0)
            booted = strtod(line + 6, NULL);
    }
    if (file != NULL)
        fclose(file);
    if (pico_read_line(root, PICO_UPTIME, line, sizeof line))
        uptime = strtod(line, NULL);
    if (booted >= 0 && uptime >= 0)
        cJSON_AddNumberToObject(object, "unix_time", booted + uptime);
    else
        cJSON_AddNullToObject(object, "unix_time");
    return object;
}

/* Ports of TCP in state LISTEN (0A), without addresses. */
static void add_ports(cJSON *ports, const char *root, enum pico_board_file file) {
    FILE *stream = pico_board_open(root, file);
    char line[256];

    while (stream != NULL && fgets(line, sizeof line, stream) != NULL) {
        unsigned port = 0, state = 0;
        bool known = false;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &port, &state) != 2 ||
            state != 0x0A)
            continue;
        for (const cJSON *item = ports->child; item != NULL; item = item->next)
            known |= item->valueint == (int)port;
        if (!known)
            cJSON_AddItemToArray(ports, cJSON_CreateNumber(port));
    }
    if (stream != NULL)
        fclose(stream);
}

cJSON *doctor_services(const char *root, const struct pico_fact *fact) {
    static const char *const programs[] = {"rkipc", "telnetd", "adbd", "npu-bench"};
    cJSON *object = cJSON_CreateObject();

    (void)fact;
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        cJSON_AddBoolToObject(object, programs[i], pico_process_runs(root, programs[i]));
    cJSON *ports = cJSON_AddArrayToObject(object, "listening");
    add_ports(ports, root, PICO_TCP);
    add_ports(ports, root, PICO_TCP6);
    return object;
}

/* The first line of PROGRAM --version. */
static void add_version(cJSON *object, const char *path) {
    char command[PATH_MAX + 40], line[128] = "";

    snprintf(command, sizeof command, "'%s' --version", path);
    FILE *stream = popen(command, "r");
    bool read = stream != NULL && fgets(line, sizeof line, stream) != NULL;
    if (stream != NULL)
        pclose(stream);
    line[strcspn(line, "\n")] = '\0';
    if (read)
        cJSON_AddStringToObject(object, "version", line);
    else
        cJSON_AddNullToObject(object, "version");
}

cJSON *doctor_programs(const char *root) {
    static const char *const names[] = {"npu-bench", "npu-runner", "neon-runner", "npu-doctor"};
    cJSON *object = cJSON_CreateObject();

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[PATH_MAX];
        struct stat facts;
        if (snprintf(path, sizeof path, "%s/usr/bin/%s", root, names[i]) >= (int)sizeof path ||
            stat(path, &facts) != 0) {
            cJSON_AddNullToObject(object, names[i]);
            continue;
        }
        cJSON *program = cJSON_AddObjectToObject(object, names[i]);
        cJSON_AddNumberToObject(program, "bytes", (double)facts.st_size);
        if (root[0] == '\0') /* those of a recorded board cannot run here */
            add_version(program, path);
        else
            cJSON_AddNullToObject(program, "version");
    }
    return object;
}

/* Its size in bytes, null if it is missing. */
static const cJSON *add_file(cJSON *files, const char *folder, const char *name) {
    char path[PATH_MAX];
    struct stat facts;
    cJSON *file = cJSON_CreateObject();
    cJSON_AddItemToArray(files, file);
    cJSON_AddStringToObject(file, "path", name);
    if (snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path &&
        stat(path, &facts) == 0)
        return cJSON_AddNumberToObject(file, "bytes", (double)facts.st_size);
    return cJSON_AddNullToObject(file, "bytes");
}

static cJSON *model_of(const char *folder, const char *name) {
    static struct pico_card card;
    char path[PATH_MAX + 16];
    struct pico_error error = {0};
    cJSON *model = cJSON_CreateObject(), *files = cJSON_CreateArray();

    cJSON_AddStringToObject(model, "name", name);
    cJSON_AddItemToObject(model, "files", files);
    snprintf(path, sizeof path, "%s/model.json", folder);
    if (pico_card_read(&card, path, &error) != PICO_OK) {
        cJSON_AddStringToObject(model, "broken", error.message);
        return model;
    }
    const struct pico_card_file *models[] = {&card.fp32, &card.int8, &card.npu};
    for (int i = 0; i < 3; i++) {
        if (!models[i]->present)
            continue;
        const cJSON *bytes = add_file(files, folder, models[i]->path);
        if (models[i] == &card.npu && cJSON_IsNumber(bytes))
            cJSON_AddNumberToObject(model, "npu_bytes", bytes->valuedouble);
    }
    if (card.labels[0] != '\0')
        add_file(files, folder, card.labels);
    for (int i = 0; i < card.image_count; i++)
        add_file(files, folder, card.images[i].path);
    return model;
}

cJSON *doctor_models(const char *root) {
    char folder[PATH_MAX - 300], path[PATH_MAX], card[PATH_MAX + 16];
    cJSON *models = cJSON_CreateArray();

    snprintf(folder, sizeof folder, "%s/usr/share/npu-models", root);
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(card, sizeof card, "%s/model.json", path);
        if (entry->d_name[0] != '.' && access(card, F_OK) == 0)
            cJSON_AddItemToArray(models, model_of(path, entry->d_name));
    }
    if (stream != NULL)
        closedir(stream);
    return models;
}

cJSON *doctor_newest_result(const char *folder) {
    char path[PATH_MAX], newest[PATH_MAX] = "";
    struct stat facts, best = {0};
    struct pico_error error = {0};
    DIR *stream = opendir(folder);
    cJSON *content = NULL;

    for (struct dirent *entry; stream != NULL && (entry = readdir(stream)) != NULL;) {
        const char *name = entry->d_name;
        size_t length = strlen(name);
        if (name[0] == '.' || strncmp(name, "doctor-", 7) == 0 || length < 5 ||
            strcmp(name + length - 5, ".json") != 0 ||
            snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
            stat(path, &facts) != 0 || !S_ISREG(facts.st_mode))
            continue;
        /* Names begin with the time; a clock that was not set makes them lie, as it does mtime. */
        bool later = facts.st_mtime != best.st_mtime ? facts.st_mtime > best.st_mtime
                                                     : strcmp(path, newest) > 0;
        if (newest[0] == '\0' || later) {
            best = facts;
            memcpy(newest, path, sizeof newest);
        }
    }
    if (stream != NULL)
        closedir(stream);
    if (newest[0] == '\0')
        return cJSON_CreateNull();
    cJSON *result = cJSON_CreateObject();
    cJSON_AddStringToObject(result, "file", strrchr(newest, '/') + 1);
    cJSON_AddNumberToObject(result, "bytes", (double)best.st_size);
    if (pico_json_read(newest, RESULT_LIMIT, "to add the newest result", &content, &error) ==
        PICO_OK)
        cJSON_AddItemToObject(result, "content", content);
    else
        cJSON_AddNullToObject(result, "content");
    cJSON_AddStringToObject(result, "broken", error.message);
    return result;
}

cJSON *doctor_kernel_log(const char *root, const struct pico_fact *fact) {
    char *text = malloc(LOG_LIMIT);
    long length = -1;
    cJSON *json = NULL;

    (void)fact;
    if (text == NULL)
        return NULL;
    if (root[0] == '\0') {
        int size = klogctl(BUFFER_SIZE, NULL, 0);
        length = klogctl(READ_ALL, text, size > 0 && size < LOG_LIMIT ? size : LOG_LIMIT - 1);
    } else {
        char path[PATH_MAX];
        FILE *file = NULL;
        if (snprintf(path, sizeof path, "%s/dmesg.txt", root) < (int)sizeof path)
            file = fopen(path, "re");
        if (file != NULL) {
            length = (long)fread(text, 1, LOG_LIMIT - 1, file);
            fclose(file);
        }
    }
    if (length >= 0) {
        text[length] = '\0';
        /* A zero byte within would hide the rest. */
        for (long i = 0; i < length; i++)
            text[i] = text[i] == '\0' ? ' ' : text[i];
        json = cJSON_CreateString(text);
    }
    free(text);
    return json;
}
