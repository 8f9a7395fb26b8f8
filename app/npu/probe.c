#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board_files.h"
#include "card.h"
#include "child.h"
#include "json.h"
#include "runtimes.h"
#include "version.h"

enum { MODELS_MAX = 16, WORDS_MAX = 16 };

#define MODELS "/usr/share/npu-models"

/* From bad to good: of several models a runtime is as good as with the worst. */
enum outcome { FAILED, WRONG, WITHIN_TOLERANCE, EXACT, OUTCOMES };

static const char *const words[OUTCOMES] = {"failed", "wrong", "within-tolerance", "exact"};

struct trial {
    enum outcome outcome;
    bool bad_input; /* the program refused before it ran anything */
    char text[320]; /* the verdict, or why there is none */
    cJSON *result;  /* "verification" of the runner's result, or NULL */
};

struct model {
    char name[64], path[PATH_MAX], golden[PATH_MAX];
};

struct probe {
    const struct pico_options *options;
    struct pico_runtimes runtimes;
    int model_count;
    struct model models[MODELS_MAX];
    struct trial trials[PICO_RUNTIMES_MAX][MODELS_MAX];
    char driver[64];
    bool simulated;
};

/* -- what is tried */

static void add_model(struct probe *probe, const char *name, const char *folder, const char *file) {
    struct model *model = &probe->models[probe->model_count];

    if (snprintf(model->path, sizeof model->path, "%s/%s", folder, file) <
            (int)sizeof model->path &&
        snprintf(model->golden, sizeof model->golden, "%s/golden", folder) <
            (int)sizeof model->golden) {
        snprintf(model->name, sizeof model->name, "%.63s", name);
        probe->model_count++;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct model *)a)->name, ((const struct model *)b)->name);
}

/* The model of each folder whose card names one for the NPU and that has golden vectors. */
static void add_installed(struct probe *probe) {
    char top[PATH_MAX / 2], path[PATH_MAX];
    struct pico_error error;

    snprintf(top, sizeof top, "%s" MODELS, probe->options->root);
    DIR *folder = opendir(top);
    struct pico_card *card = malloc(sizeof *card);
    for (struct dirent *entry; folder != NULL && card != NULL && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.' || probe->model_count == MODELS_MAX)
            continue;
        snprintf(path, sizeof path, "%s/%s/golden", top, entry->d_name);
        if (access(path, F_OK) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/model.json", top, entry->d_name);
        if (pico_card_read(card, path, &error) != PICO_OK) {
            fprintf(stderr, "npu-runner: warning: left out: %s\n", error.message);
        } else if (card->npu.present) {
            path[strlen(path) - strlen("/model.json")] = '\0';
            add_model(probe, card->name, path, card->npu.path);
        }
    }
    if (folder != NULL)
        closedir(folder);
    free(card);
    qsort(probe->models, (size_t)probe->model_count, sizeof probe->models[0], by_name);
}

static int find_models(struct probe *probe, struct pico_error *error) {
    const char *path = probe->options->model;

    if (path != NULL) {
        char folder[PATH_MAX];
        const char *slash = strrchr(path, '/');
        snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) : 1,
                 slash != NULL ? path : ".");
        add_model(probe, path, folder, slash != NULL ? slash + 1 : path);
    } else {
        add_installed(probe);
    }
    if (probe->model_count > 0)
        return PICO_OK;
    pico_fail(error, PICO_BAD_INPUT,
              "there is no model with golden vectors to try the NPU runtimes with");
    return pico_hint(error, "images with the package npu-models have them; or name one: --model "
                            "FILE, with its folder golden beside it");
}

/* -- one trial */

static void read_result(struct probe *probe, struct trial *trial,
                        const struct child_output *output) {
    struct pico_error error;
    cJSON *result = NULL;

    snprintf(trial->text, sizeof trial->text, "it printed no verdict");
    if (output->length == 0 ||
        pico_json_parse("npu-runner", output->text, output->length, &result, &error) != PICO_OK)
        return;
    const cJSON *verdict = pico_json_find(result, "verification.verdict");
    const cJSON *line = pico_json_find(result, "verification.line");
    const cJSON *driver = pico_json_find(result, "engine.driver_version");
    for (int i = WRONG; i < OUTCOMES && cJSON_IsString(verdict) && cJSON_IsString(line); i++) {
        if (strcmp(verdict->valuestring, words[i]) == 0) {
            trial->outcome = (enum outcome)i;
            snprintf(trial->text, sizeof trial->text, "%s", line->valuestring);
        }
    }
    if (cJSON_IsString(driver))
        snprintf(probe->driver, sizeof probe->driver, "%.60s", driver->valuestring);
    probe->simulated |= cJSON_IsTrue(pico_json_find(result, "simulated_npu"));
    trial->result = cJSON_DetachItemFromObject(result, "verification");
    cJSON_Delete(result);
}

static int try_runtime(struct probe *probe, int runtime, int number, struct pico_error *error) {
    const struct pico_options *options = probe->options;
    struct trial *trial = &probe->trials[runtime][number];
    struct model *model = &probe->models[number];
    char program[PATH_MAX], vectors[24];
    char *name = probe->runtimes.names[runtime], *line[WORDS_MAX];
    struct child_output output;
    int count = 0;

    pico_runtime_program(options->root, name, program, sizeof program);
    if (access(program, X_OK) != 0) /* there is one runtime alone, without a folder */
        snprintf(program, sizeof program, "%s", pico_board_files[PICO_SELF_EXE].path);
    snprintf(vectors, sizeof vectors, "%d", options->vectors);
    line[count++] = program;
    line[count++] = (char *)(uintptr_t)"--runtime";
    line[count++] = name;
    line[count++] = (char *)(uintptr_t)"--model";
    line[count++] = model->path;
    line[count++] = (char *)(uintptr_t)"--verify";
    line[count++] = model->golden;
    line[count++] = (char *)(uintptr_t)"--json";
    line[count++] = (char *)(uintptr_t)"-";
    if (options->vectors > 0) {
        line[count++] = (char *)(uintptr_t)"--vectors";
        line[count++] = vectors;
    }
    if (options->root[0] != '\0') {
        line[count++] = (char *)(uintptr_t)"--root";
        line[count++] = (char *)(uintptr_t)options->root;
    }
    line[count] = NULL;
    fprintf(stderr, "probe      runtime %s  %s\n", name, model->name);
    int status = child_run(line, (int)options->effort.max_secs, &output, error);
    if (status != PICO_OK)
        return status;
    if (output.late) {
        snprintf(trial->text, sizeof trial->text, "did not end in %.0f s and was killed",
                 options->effort.max_secs);
    } else if (output.status > 128) {
        snprintf(trial->text, sizeof trial->text, "was killed by signal %d", output.status - 128);
    } else if (output.status > 1 || output.length == 0) {
        trial->bad_input = output.status == PICO_BAD_INPUT;
        snprintf(trial->text, sizeof trial->text, "ended with status %d: %.260s", output.status,
                 output.complaint);
    } else {
        read_result(probe, trial, &output);
    }
    child_output_free(&output);
    return PICO_OK;
}

/* -- the verdict */

/* What no runtime can be asked about says nothing on any of them: a model that was changed on the
 * card, vectors of another toolkit. */
static bool refused_by_all(const struct probe *probe, int model) {
    for (int i = 0; i < probe->runtimes.count; i++) {
        if (!probe->trials[i][model].bad_input)
            return false;
    }
    return true;
}

static enum outcome outcome_of(const struct probe *probe, int runtime) {
    enum outcome worst = EXACT;

    for (int i = 0; i < probe->model_count; i++) {
        const struct trial *trial = &probe->trials[runtime][i];
        if (!refused_by_all(probe, i) && trial->outcome < worst)
            worst = trial->outcome;
    }
    return worst;
}

/* The best one; of equal ones the newest, which the models were converted for. */
static int best_of(const struct probe *probe) {
    int best = 0;

    for (int i = 1; i < probe->runtimes.count; i++) {
        if (outcome_of(probe, i) >= outcome_of(probe, best))
            best = i;
    }
    return best;
}

static void summarise(const struct probe *probe, char *text, size_t size) {
    size_t used = (size_t)snprintf(
        text, size, "driver %s:", probe->driver[0] != '\0' ? probe->driver : "unknown");

    for (int i = 0; i < probe->runtimes.count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s %s %s", i > 0 ? "," : "",
                                 probe->runtimes.names[i], words[outcome_of(probe, i)]);
}

static void print_table(const struct probe *probe, const char *summary) {
    if (probe->simulated)
        printf("SIMULATED NPU: the verdict is about the model and the programs, not about a "
               "board\n");
    printf("%-10s %-32s %s\n", "runtime", "model", "answers against the PC's");
    for (int i = 0; i < probe->runtimes.count; i++) {
        for (int k = 0; k < probe->model_count; k++)
            printf("%-10s %-32s %s\n", probe->runtimes.names[i], probe->models[k].name,
                   probe->trials[i][k].text);
    }
    printf("%s\n", summary);
}

static int write_json(const struct probe *probe, const char *summary, const char *right,
                      struct pico_error *error) {
    cJSON *object = cJSON_CreateObject(), *list;

    cJSON_AddStringToObject(object, "schema", PICO_RESULT_SCHEMA);
    cJSON_AddStringToObject(object, "kind", "probe");
    cJSON_AddBoolToObject(object, "simulated_npu", probe->simulated);
    cJSON_AddStringToObject(object, "driver", probe->driver);
    cJSON_AddStringToObject(object, "summary", summary);
    if (right != NULL)
        cJSON_AddStringToObject(object, "right", right);
    else
        cJSON_AddNullToObject(object, "right");
    list = cJSON_AddArrayToObject(object, "runtimes");
    for (int i = 0; i < probe->runtimes.count; i++) {
        cJSON *runtime = cJSON_CreateObject(), *models;
        cJSON_AddItemToArray(list, runtime);
        cJSON_AddStringToObject(runtime, "runtime", probe->runtimes.names[i]);
        cJSON_AddStringToObject(runtime, "outcome", words[outcome_of(probe, i)]);
        models = cJSON_AddArrayToObject(runtime, "models");
        for (int k = 0; k < probe->model_count; k++) {
            const struct trial *trial = &probe->trials[i][k];
            cJSON *item = cJSON_CreateObject();
            cJSON_AddItemToArray(models, item);
            cJSON_AddStringToObject(item, "model", probe->models[k].name);
            cJSON_AddStringToObject(item, "outcome", words[trial->outcome]);
            cJSON_AddStringToObject(item, "text", trial->text);
            cJSON_AddItemToObject(item, "verification",
                                  trial->result != NULL ? cJSON_Duplicate(trial->result, true)
                                                        : cJSON_CreateNull());
        }
    }
    int status = pico_json_write(object, probe->options->json, error);
    cJSON_Delete(object);
    return status;
}

/* Nothing is written where nothing changes, so that a user without rights can ask. */
static int keep_choice(const struct probe *probe, const char *linked, const char *right,
                       const char *summary, struct pico_error *error) {
    const struct pico_runtimes *runtimes = &probe->runtimes;
    const char *now = runtimes->chosen[0] != '\0' ? runtimes->chosen : linked;

    if (probe->simulated || runtimes->count == 1 ||
        (strcmp(now, right) == 0 && strcmp(runtimes->why, summary) == 0))
        return PICO_OK;
    if (strcmp(now, right) == 0 && geteuid() != 0)
        return PICO_OK;
    int status = pico_runtime_choose(runtimes, right, summary, error);
    if (status != PICO_OK)
        return pico_hint(error, "the right runtime is %s: run npu-runner --probe as root", right);
    fprintf(stderr, "npu-runner: runtime %s is chosen: written to %s\n", right, runtimes->file);
    return PICO_OK;
}

static int conclude(const struct probe *probe, const char *linked, struct pico_error *error) {
    const struct pico_options *options = probe->options;
    bool tried = false, json_only = options->json != NULL && strcmp(options->json, "-") == 0;
    char summary[190];

    for (int i = 0; i < probe->model_count; i++)
        tried |= !refused_by_all(probe, i);
    if (!tried) {
        pico_fail(error, PICO_BAD_INPUT, "no NPU runtime could be tried: %s",
                  probe->trials[0][0].text);
        return pico_hint(error, "the choice of the runtime is left as it was");
    }
    int best = best_of(probe);
    bool right = outcome_of(probe, best) >= WITHIN_TOLERANCE;
    const char *name = probe->runtimes.names[best];
    int status = PICO_OK;
    summarise(probe, summary, sizeof summary);
    if (!json_only)
        print_table(probe, summary);
    if (options->json != NULL)
        status = write_json(probe, summary, right ? name : NULL, error);
    if (status != PICO_OK)
        return status;
    if (right)
        return keep_choice(probe, linked, name, summary, error);
    pico_fail(error, PICO_FAILED, "none of the installed NPU runtimes is right: %s", summary);
    return pico_hint(error, "the choice is left as it was; invoke verify-board --bisect finds the "
                            "first layer that differs, npu-doctor packs what others need to help");
}

int npu_probe(const struct pico_backend *backend, const struct pico_options *options,
              struct pico_error *error) {
    struct probe *probe = calloc(1, sizeof *probe);
    int status;

    if (probe == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to try the NPU runtimes");
    probe->options = options;
    /* A damaged file of the choice is what --probe writes anew. */
    (void)pico_runtimes_read(options->root, &probe->runtimes, error);
    if (probe->runtimes.count == 0)
        strcpy(probe->runtimes.names[probe->runtimes.count++], backend->runtime);
    status = find_models(probe, error);
    for (int i = 0; i < probe->runtimes.count; i++) {
        for (int k = 0; status == PICO_OK && k < probe->model_count; k++)
            status = try_runtime(probe, i, k, error);
    }
    if (status == PICO_OK)
        status = conclude(probe, backend->runtime, error);
    for (int i = 0; i < PICO_RUNTIMES_MAX; i++) {
        for (int k = 0; k < MODELS_MAX; k++)
            cJSON_Delete(probe->trials[i][k].result);
    }
    free(probe);
    return status;
}
