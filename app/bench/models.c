#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "sha256.h"
#include "stop.h"

/* The configurations of a model; the card says which of the files exist. */
static const struct {
    const char *engine, *precision, *title, *program;
} kinds[BENCH_CONFIGS] = {
    {"cpu", "float32", "CPU float32", "neon-runner"},
    {"cpu", "int8", "CPU int8", "neon-runner"},
    {"npu", "int8", "NPU int8", "npu-runner"},
};

static bool installed(const struct bench *bench, const char *program) {
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", bench->options.programs, program) <
               (int)sizeof path &&
           access(path, X_OK) == 0;
}

static double size_of(const struct bench_model *model, const struct pico_card_file *file) {
    char path[PATH_MAX];
    struct stat facts;

    if (!file->present ||
        snprintf(path, sizeof path, "%s/%s", model->folder, file->path) >= (int)sizeof path ||
        stat(path, &facts) != 0)
        return NAN;
    return (double)facts.st_size;
}

static void fill_configs(const struct bench *bench, struct bench_model *model) {
    const struct pico_card_file *files[BENCH_CONFIGS] = {&model->card.fp32, &model->card.int8,
                                                         &model->card.npu};
    const char *only = bench->options.only_engine;

    for (int i = 0; i < BENCH_CONFIGS; i++) {
        struct bench_config *config = &model->configs[i];
        config->engine = kinds[i].engine;
        config->precision = kinds[i].precision;
        config->title = kinds[i].title;
        config->program = kinds[i].program;
        config->file = files[i];
        config->present = files[i]->present && installed(bench, config->program) &&
                          (only == NULL || strcmp(only, config->engine) == 0);
        config->available_kib = -1;
        config->bytes = size_of(model, files[i]);
        strcpy(config->verified, "unknown");
        for (int k = 0; k < PICO_CARD_IMAGES; k++)
            config->pictures[k].correct = -1;
    }
}

static int add_model(struct bench *bench, const char *name, struct pico_error *error) {
    struct bench_model *model = &bench->models[bench->model_count];
    char path[PATH_MAX];

    if (snprintf(model->folder, sizeof model->folder, "%s/%s", bench->options.models, name) >=
            (int)sizeof model->folder ||
        snprintf(path, sizeof path, "%s/model.json", model->folder) >= (int)sizeof path)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", name);
    if (access(path, F_OK) != 0)
        return PICO_OK; /* a folder that holds no model */
    int status = pico_card_read(&model->card, path, error);
    if (status != PICO_OK)
        return status;
    if (bench->options.only_model != NULL &&
        strcmp(bench->options.only_model, model->card.name) != 0) {
        memset(model, 0, sizeof *model);
        return PICO_OK;
    }
    if (model->card.image_count == 0 && bench->options.only_model != NULL)
        return pico_fail(error, PICO_BAD_INPUT, "%s names no images to run on", path);
    if (model->card.image_count == 0) {
        /* A user's own model has none; it must not keep the others from being measured. */
        pico_note(&bench->warnings, "%s names no images to run on: left out", path);
        memset(model, 0, sizeof *model);
        return PICO_OK;
    }
    if (bench->options.pictures > 0 && model->card.image_count > bench->options.pictures)
        model->card.image_count = bench->options.pictures;
    fill_configs(bench, model);
    bench->model_count++;
    return PICO_OK;
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int bench_models_find(struct bench *bench, struct pico_error *error) {
    struct dirent **entries = NULL;
    int status = PICO_OK, runnable = 0;

    bench->models = calloc(BENCH_MODELS_MAX, sizeof *bench->models);
    if (bench->models == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to start");
    int count = scandir(bench->options.models, &entries, is_visible, alphasort);
    if (count < 0) {
        pico_fail(error, PICO_BAD_INPUT, "could not read the models in %s: %s",
                  bench->options.models, strerror(errno));
        return pico_hint(error, "--models names another folder");
    }
    for (int i = 0; i < count; i++) {
        if (status == PICO_OK && bench->model_count == BENCH_MODELS_MAX)
            status = pico_fail(error, PICO_BAD_INPUT, "%s holds more than %d models",
                               bench->options.models, BENCH_MODELS_MAX);
        if (status == PICO_OK)
            status = add_model(bench, entries[i]->d_name, error);
        free(entries[i]);
    }
    free(entries);
    if (status != PICO_OK)
        return status;
    for (int i = 0; i < bench->model_count; i++) {
        for (int k = 0; k < BENCH_CONFIGS; k++)
            runnable += bench->models[i].configs[k].present;
    }
    if (bench->model_count == 0) {
        if (bench->options.only_model != NULL)
            return pico_fail(error, PICO_BAD_INPUT, "there is no model named %s in %s",
                             bench->options.only_model, bench->options.models);
        if (bench->warnings.count > 0)
            return pico_fail(error, PICO_BAD_INPUT, "%s", bench->warnings.text[0]);
        pico_fail(error, PICO_BAD_INPUT, "there is no model in %s", bench->options.models);
        return pico_hint(error, "each model is a folder with a model.json; --models names another "
                                "place");
    }
    if (runnable == 0) {
        pico_fail(error, PICO_BAD_INPUT, "no installed program can run any of the models");
        return pico_hint(error,
                         "neon-runner and npu-runner are looked for in %s; --programs names "
                         "another folder",
                         bench->options.programs);
    }
    return PICO_OK;
}

static void free_picture(struct bench_picture *picture) {
    for (int i = 0; i < PICO_STAGES; i++) {
        pico_samples_free(&picture->stages[i]);
        pico_samples_free(&picture->first[i]);
    }
    pico_samples_free(&picture->loops);
    cJSON_Delete(picture->top);
    free(picture->logits);
}

void bench_models_free(struct bench *bench) {
    for (int i = 0; bench->models != NULL && i < BENCH_MODELS_MAX; i++) {
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            struct bench_config *config = &bench->models[i].configs[k];
            pico_samples_free(&config->load);
            cJSON_Delete(config->facts);
            cJSON_Delete(config->verification);
            for (int p = 0; p < PICO_CARD_IMAGES; p++)
                free_picture(&config->pictures[p]);
        }
    }
    free(bench->models);
    bench->models = NULL;
}

static int verify(struct bench *bench, const struct bench_model *model, struct bench_config *config,
                  struct pico_error *error) {
    char path[PATH_MAX], sha256[PICO_SHA256_TEXT];

    if (snprintf(path, sizeof path, "%s/%s", model->folder, config->file->path) >= (int)sizeof path)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", config->file->path);
    struct pico_error unread;
    if (pico_sha256_file(path, "be measured", sha256, &unread) != PICO_OK)
        return PICO_OK; /* the runner reports it */
    bool same = strcmp(sha256, config->file->sha256) == 0;
    strcpy(config->verified, same ? "yes" : "no");
    if (!same) {
        snprintf(config->failure, sizeof config->failure,
                 "%.200s is not the file that its card describes (SHA-256 differs)", path);
        pico_note(&bench->failures, "%s %s: %s", model->card.name, config->title, config->failure);
    }
    return PICO_OK;
}

int bench_models_verify(struct bench *bench, struct pico_error *error) {
    for (int i = 0; i < bench->model_count; i++) {
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            struct bench_config *config = &bench->models[i].configs[k];
            if (!config->present)
                continue;
            if (pico_stop_requested())
                return pico_fail(error, PICO_INTERRUPTED, "interrupted");
            int status = verify(bench, &bench->models[i], config, error);
            if (status != PICO_OK)
                return status;
        }
    }
    return PICO_OK;
}
