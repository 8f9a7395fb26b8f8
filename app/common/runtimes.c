#include "runtimes.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "board_files.h"

#define FOLDER "/usr/lib/npu-runner"

/* A version becomes part of a path: digits, letters and points, and never "..". */
static bool is_name(const char *text) {
    size_t length = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz.-");

    return length > 0 && length < PICO_RUNTIME_NAME && text[length] == '\0' && text[0] != '.';
}

static int by_version(const void *a, const void *b) {
    int x[3] = {0, 0, 0}, y[3] = {0, 0, 0};

    (void)sscanf(a, "%6d.%6d.%6d", &x[0], &x[1], &x[2]);
    (void)sscanf(b, "%6d.%6d.%6d", &y[0], &y[1], &y[2]);
    for (int i = 0; i < 3; i++) {
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    }
    return strcmp(a, b);
}

void pico_runtime_program(const char *root, const char *name, char *path, size_t size) {
    snprintf(path, size, "%s" FOLDER "/%s/npu-runner", root, name);
}

static void list_installed(const char *root, struct pico_runtimes *runtimes) {
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s" FOLDER, root);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (!is_name(entry->d_name) || runtimes->count == PICO_RUNTIMES_MAX)
            continue;
        pico_runtime_program(root, entry->d_name, path, sizeof path);
        if (access(path, X_OK) == 0)
            strcpy(runtimes->names[runtimes->count++], entry->d_name);
    }
    closedir(folder);
    qsort(runtimes->names, (size_t)runtimes->count, sizeof runtimes->names[0], by_version);
}

static int read_choice(struct pico_runtimes *runtimes, struct pico_error *error) {
    FILE *stream = fopen(runtimes->file, "re");
    char line[PICO_RUNTIME_NAME + 1] = "";

    if (stream == NULL)
        return PICO_OK;
    if (fgets(line, sizeof line, stream) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (fgets(runtimes->why, sizeof runtimes->why, stream) != NULL)
            runtimes->why[strcspn(runtimes->why, "\n")] = '\0';
    }
    fclose(stream);
    if (is_name(line)) {
        strcpy(runtimes->chosen, line);
        return PICO_OK;
    }
    pico_fail(error, PICO_BAD_INPUT, "%s does not begin with the version of an NPU runtime",
              runtimes->file);
    return pico_hint(error, "npu-runner --probe writes it anew; without it the newest one runs");
}

int pico_runtimes_read(const char *root, struct pico_runtimes *runtimes, struct pico_error *error) {
    memset(runtimes, 0, sizeof *runtimes);
    if (!pico_board_path(root, PICO_NPU_RUNTIME, runtimes->file, sizeof runtimes->file))
        return pico_fail(error, PICO_BAD_INPUT, "--root %s: the name is too long", root);
    list_installed(root, runtimes);
    return read_choice(runtimes, error);
}

bool pico_runtimes_has(const struct pico_runtimes *runtimes, const char *name) {
    for (int i = 0; i < runtimes->count; i++) {
        if (strcmp(runtimes->names[i], name) == 0)
            return true;
    }
    return false;
}

void pico_runtimes_text(const struct pico_runtimes *runtimes, char *text, size_t size) {
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < runtimes->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "",
                                 runtimes->names[i]);
}

int pico_runtime_choose(const struct pico_runtimes *runtimes, const char *name, const char *why,
                        struct pico_error *error) {
    char text[PICO_RUNTIME_NAME + sizeof runtimes->why + 2];
    int length = snprintf(text, sizeof text, "%s\n%.190s\n", name, why);

    return pico_write_file(runtimes->file, text, (size_t)length, error);
}
