#include "select.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtimes.h"

/* The command line with --runtime NAME behind it: the program that is started then knows that it
 * was named, as by a user. */
static int start(const char *path, const char *name, char **argv, struct pico_error *error) {
    int count = 0;

    while (argv[count] != NULL)
        count++;
    char **words = calloc((size_t)count + 3, sizeof *words);
    if (words == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to start %s", path);
    memcpy(words, argv, (size_t)count * sizeof *words);
    words[count] = (char *)(uintptr_t)"--runtime";
    words[count + 1] = (char *)(uintptr_t)name;
    execv(path, words);
    pico_fail(error, PICO_BAD_INPUT, "%s could not be started: %s", path, strerror(errno));
    free(words);
    return error->status;
}

static int not_installed(const struct pico_runtimes *runtimes, const char *name, const char *by,
                         const char *linked, struct pico_error *error) {
    char text[PICO_RUNTIMES_MAX * PICO_RUNTIME_NAME];

    pico_runtimes_text(runtimes, text, sizeof text);
    pico_fail(error, PICO_BAD_INPUT, "the NPU runtime %s, which %.300s names, is not installed",
              name, by);
    return pico_hint(error, "installed: %s; npu-runner --probe finds the right one",
                     runtimes->count > 0 ? text : linked);
}

int npu_select(const struct pico_backend *backend, const struct pico_options *options, char **argv,
               struct pico_error *error) {
    struct pico_runtimes runtimes;
    const char *name = options->runtime;
    char path[PATH_MAX];

    if (name != NULL && strcmp(name, backend->runtime) == 0)
        return PICO_OK;
    if (backend->is_other && name == NULL)
        return PICO_OK;
    if (backend->is_other) { /* never on and on from one to the other */
        pico_fail(error, PICO_BAD_INPUT,
                  "this npu-runner is linked with the NPU runtime %s, not with %s",
                  backend->runtime, name);
        return pico_hint(error, "start the npu-runner of the image, which knows the others");
    }
    int status = pico_runtimes_read(options->root, &runtimes, error);
    if (name == NULL) {
        if (status != PICO_OK)
            return status;
        name = runtimes.chosen;
        if (name[0] == '\0' || strcmp(name, backend->runtime) == 0)
            return PICO_OK;
    }
    if (!pico_runtimes_has(&runtimes, name))
        return not_installed(&runtimes, name,
                             options->runtime != NULL ? "--runtime" : runtimes.file,
                             backend->runtime, error);
    pico_runtime_program(options->root, name, path, sizeof path);
    return start(path, name, argv, error);
}

cJSON *npu_runtime_facts(const char *root, const char *asked, const rknn_sdk_version *version,
                         struct pico_notes *notes) {
    cJSON *facts = cJSON_CreateObject(), *installed = cJSON_AddArrayToObject(facts, "installed");
    char runs[PICO_RUNTIME_NAME], driver[64];
    struct pico_runtimes runtimes;
    struct pico_error error;

    /* A damaged file ends npu_select(), where it counts. */
    (void)pico_runtimes_read(root, &runtimes, &error);
    snprintf(runs, sizeof runs, "%.*s", (int)strcspn(version->api_version, " "),
             version->api_version);
    for (int i = 0; i < runtimes.count; i++)
        cJSON_AddItemToArray(installed, cJSON_CreateString(runtimes.names[i]));
    if (runtimes.count == 0)
        cJSON_AddItemToArray(installed, cJSON_CreateString(runs));
    cJSON_AddStringToObject(facts, "runs", runs);
    bool chosen = strcmp(runtimes.chosen, runs) == 0;
    cJSON_AddStringToObject(facts, "chosen_by",
                            chosen          ? runtimes.file
                            : asked != NULL ? "--runtime"
                                            : "default");
    if (!chosen) {
        cJSON_AddNullToObject(facts, "why");
        return facts;
    }
    cJSON_AddStringToObject(facts, "why", runtimes.why);
    if (sscanf(runtimes.why, "driver %63[^:]:", driver) == 1 &&
        strcmp(driver, version->drv_version) != 0)
        pico_note(notes,
                  "the NPU runtime %s was chosen with driver %s, this is driver %.63s: "
                  "npu-runner --probe chooses anew",
                  runs, driver, version->drv_version);
    return facts;
}
