/* npu-bench: see bench.h. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "bench.h"
#include "json.h"
#include "stop.h"
#include "system.h"
#include "version.h"

/* The runners are installed beside npu-bench. */
static void find_programs(struct bench_options *options, char *folder, size_t size) {
    ssize_t length = readlink(pico_board_files[PICO_SELF_EXE].path, folder, size - 1);

    if (options->programs != NULL)
        return;
    folder[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder)
        *slash = '\0';
    options->programs = slash == NULL ? "/usr/bin" : folder;
}

/* Two benchmarks at once would disturb each other. The lock ends with the process. */
static int lock_output(const char *folder, struct pico_error *error) {
    char path[PATH_MAX];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int status = pico_make_folder(folder, error);

    if (status != PICO_OK)
        return status;
    if (snprintf(path, sizeof path, "%s/.lock", folder) >= (int)sizeof path)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", folder);
    int handle = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (handle < 0) {
        pico_fail(error, PICO_BAD_INPUT, "could not write to %s: %s", folder, strerror(errno));
        return pico_hint(error, "--output names another folder for results");
    }
    if (fcntl(handle, F_SETLK, &lock) == 0)
        return PICO_OK; /* kept open on purpose */
    lock.l_type = F_WRLCK;
    if (fcntl(handle, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        lock.l_pid = 0;
    close(handle);
    pico_fail(error, PICO_BAD_INPUT, "another npu-bench (process %d) is measuring",
              (int)lock.l_pid);
    return pico_hint(error, "wait until it has ended");
}

static int measure(struct bench *bench, struct pico_error *error) {
    char why[160];
    int status;

    if ((status = bench_models_find(bench, error)) != PICO_OK ||
        (status = lock_output(bench->options.output, error)) != PICO_OK)
        return status;
    bench->emulated = pico_is_emulated(bench->options.root, why, sizeof why);
    pico_utc_text(bench->started, sizeof bench->started, false);
    pico_utc_text(bench->name, sizeof bench->name, true);
    fprintf(stderr, "npu-bench %s: %d model%s, %d round%s%s\n", PICO_VERSION, bench->model_count,
            bench->model_count == 1 ? "" : "s", bench->options.rounds,
            bench->options.rounds == 1 ? "" : "s", bench->emulated ? ", emulated CPU" : "");
    if ((status = bench_models_verify(bench, error)) != PICO_OK ||
        (status = bench_verify(bench, error)) != PICO_OK)
        return status;
    bench_governor_raise(bench);
    bench->before = pico_system_state(bench->options.root, PICO_BEFORE, &bench->warnings);
    status = bench_measure(bench, error);
    bench->after = pico_system_state(bench->options.root, PICO_AFTER, &bench->warnings);
    bench_governor_restore(bench);
    bench->system = pico_system_facts(bench->options.root, &bench->warnings);
    return status;
}

static int write_result(struct bench *bench, char *path, size_t size, struct pico_error *error) {
    cJSON *json = bench_json(bench);
    char *text = json == NULL ? NULL : cJSON_Print(json);
    int status;

    if (text == NULL) {
        status = pico_fail(error, PICO_FAILED, "not enough memory to write the result");
    } else {
        size_t length = strlen(text);
        text[length++] = '\n';
        status = pico_write_numbered(bench->options.output, bench->name, text, length, path, size,
                                     error);
        if (status == PICO_OK && bench->options.json != NULL)
            status = pico_write_file(bench->options.json, text, length, error);
        cJSON_free(text);
    }
    cJSON_Delete(json);
    return status;
}

static int report(struct bench *bench, struct pico_error *error) {
    bool json_only = bench->options.json != NULL && strcmp(bench->options.json, "-") == 0;
    FILE *text = json_only ? stderr : stdout;
    char path[PATH_MAX] = "";

    bench_judge(bench);
    if (!json_only)
        bench_print(bench);
    int status = write_result(bench, path, sizeof path, error);
    if (status == PICO_OK && bench->failures.count > 0) {
        int more = bench->failures.count + bench->failures.dropped - 1;
        char others[40] = "";
        if (more > 0)
            snprintf(others, sizeof others, " (and %d more)", more);
        return pico_fail(error, PICO_FAILED, "%s%s; result %s", bench->failures.text[0], others,
                         path);
    }
    /* invoke bench and the emulator wait for this line, the last one. */
    if (status == PICO_OK &&
        (fprintf(text, "npu-bench: result %s\n", path) < 0 || fflush(text) != 0 || ferror(text)))
        status = pico_fail(error, PICO_BAD_INPUT, "could not write to standard output");
    return status;
}

int main(int argc, char **argv) {
    static struct bench bench;
    struct pico_error error = {0};
    char programs[PATH_MAX];

    pico_stop_install();
    int status = bench_options_parse(&bench.options, argc, argv, &error);
    if (status == -1)
        return fflush(stdout) == 0 ? PICO_OK : PICO_BAD_INPUT;
    if (status == PICO_OK) {
        find_programs(&bench.options, programs, sizeof programs);
        status = measure(&bench, &error);
    }
    if (status == PICO_OK)
        status = report(&bench, &error);
    if (status != PICO_OK) {
        bool json_only = bench.options.json != NULL && strcmp(bench.options.json, "-") == 0;
        if (error.hint[0] != '\0')
            fprintf(stderr, "npu-bench: hint: %s\n", error.hint);
        fflush(stderr);
        fprintf(json_only ? stderr : stdout, "npu-bench: FAILED: %s\n", error.message);
        fflush(stdout);
    }
    cJSON_Delete(bench.system);
    cJSON_Delete(bench.before);
    cJSON_Delete(bench.after);
    bench_models_free(&bench);
    return status;
}
