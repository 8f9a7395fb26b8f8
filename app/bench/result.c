/* The result file; result.schema.json describes it. */
#include <math.h>
#include <string.h>

#include "bench.h"
#include "json.h"
#include "system.h"
#include "version.h"

static cJSON *copy(const cJSON *json) {
    return json == NULL ? cJSON_CreateNull() : cJSON_Duplicate(json, true);
}

static void add_text_or_null(cJSON *object, const char *key, const char *text) {
    if (text[0] != '\0')
        cJSON_AddStringToObject(object, key, text);
    else
        cJSON_AddNullToObject(object, key);
}

static cJSON *options_json(const struct bench_options *options) {
    cJSON *object = cJSON_CreateObject();

    cJSON_AddBoolToObject(object, "quick", options->quick);
    cJSON_AddBoolToObject(object, "mlperf_style", options->mlperf_style);
    if (options->pictures > 0)
        cJSON_AddNumberToObject(object, "pictures", options->pictures);
    cJSON_AddNumberToObject(object, "rounds", options->rounds);
    pico_effort_add(object, &options->effort);
    cJSON_AddStringToObject(object, "unit", "us");
    cJSON_AddStringToObject(object, "percentiles", PICO_PERCENTILE_RULE);
    cJSON_AddStringToObject(object, "order",
                            "every round runs each configuration once, in a process of its own");
    return object;
}

static cJSON *picture_json(const struct bench *bench, const struct bench_model *model,
                           const struct bench_config *config, int index) {
    const struct bench_picture *picture = &config->pictures[index];
    const struct pico_card_image *image = &model->card.images[index];
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "path", image->path);
    cJSON_AddStringToObject(object, "title", image->title);
    if (image->expected_count > 0)
        cJSON_AddItemToObject(object, "expected",
                              cJSON_CreateIntArray(image->expected, image->expected_count));
    else
        cJSON_AddNullToObject(object, "expected");
    if (picture->correct >= 0)
        cJSON_AddBoolToObject(object, "correct", picture->correct);
    else
        cJSON_AddNullToObject(object, "correct");
    cJSON_AddNumberToObject(object, "failed", picture->failed);
    cJSON *stages = cJSON_AddObjectToObject(object, "stages");
    cJSON *first = cJSON_AddObjectToObject(object, "first");
    for (int i = 0; i < PICO_STAGES; i++) {
        cJSON_AddItemToObject(stages, pico_stage_names[i], pico_json_stats(&picture->stages[i]));
        cJSON_AddItemToObject(first, pico_stage_names[i], pico_json_stats(&picture->first[i]));
    }
    cJSON_AddItemToObject(
        object, "loops", cJSON_CreateDoubleArray(picture->loops.values, (int)picture->loops.count));
    if (config->simulated)
        cJSON_AddNullToObject(object, "giga_operations_per_second");
    else
        pico_json_add_number(object, "giga_operations_per_second", bench_gops(model, picture));
    pico_json_add_number(object, "share_of_npu_peak",
                         bench_npu_share(bench, model, config, picture));
    cJSON_AddItemToObject(object, "top", copy(picture->top));
    return object;
}

static cJSON *config_json(const struct bench *bench, const struct bench_model *model,
                          const struct bench_config *config) {
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "title", config->title);
    cJSON_AddStringToObject(object, "engine", config->engine);
    cJSON_AddStringToObject(object, "precision", config->precision);
    cJSON_AddBoolToObject(object, "simulated", config->simulated);
    cJSON *file = cJSON_AddObjectToObject(object, "file");
    cJSON_AddStringToObject(file, "path", config->file->path);
    cJSON_AddStringToObject(file, "sha256", config->file->sha256);
    pico_json_add_number(file, "bytes", config->bytes);
    cJSON_AddStringToObject(file, "verified", config->verified);
    add_text_or_null(object, "failure", config->failure);
    cJSON_AddNumberToObject(object, "rounds", config->rounds);
    cJSON_AddItemToObject(object, "facts", copy(config->facts));
    cJSON_AddItemToObject(object, "load", pico_json_stats(&config->load));
    cJSON_AddItemToObject(object, "verification", copy(config->verification));
    add_text_or_null(object, "verification_failure", config->verification_failure);
    cJSON *memory = cJSON_AddObjectToObject(object, "memory");
    cJSON_AddNumberToObject(memory, "peak_kib", (double)config->peak_kib);
    cJSON_AddNumberToObject(memory, "available_kib", (double)config->available_kib);
    cJSON *pictures = cJSON_AddArrayToObject(object, "pictures");
    for (int i = 0; config->rounds > 0 && i < model->card.image_count; i++)
        cJSON_AddItemToArray(pictures, picture_json(bench, model, config, i));
    return object;
}

static cJSON *comparison_json(const struct bench *bench, const struct bench_model *model, int a,
                              int b, int picture) {
    const struct bench_config *x = &model->configs[a], *y = &model->configs[b];
    struct bench_comparison result;
    cJSON *object = cJSON_CreateObject();

    bench_compare(bench, x, y, picture, &result);
    cJSON_AddStringToObject(object, "of", x->title);
    cJSON_AddStringToObject(object, "against", y->title);
    cJSON_AddStringToObject(object, "picture", model->card.images[picture].path);
    pico_json_add_number(object, "speedup_inference", result.speedup_inference);
    pico_json_add_number(object, "speedup_total", result.speedup_total);
    cJSON_AddBoolToObject(object, "top1_equal", result.top1_equal == 1);
    cJSON_AddNumberToObject(object, "top5_shared", result.top5_shared);
    pico_json_add_number(object, "cosine", result.cosine);
    return object;
}

static cJSON *model_json(const struct bench *bench, const struct bench_model *model) {
    static const int pairs[3][2] = {{1, 0}, {2, 0}, {2, 1}};
    const struct pico_card *card = &model->card;
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "name", card->name);
    cJSON_AddStringToObject(object, "title", card->title);
    cJSON *input = cJSON_AddObjectToObject(object, "input");
    cJSON_AddNumberToObject(input, "width", card->width);
    cJSON_AddNumberToObject(input, "height", card->height);
    cJSON_AddNumberToObject(input, "channels", card->channels);
    cJSON_AddNumberToObject(object, "classes", card->classes);
    if (card->macs > 0)
        cJSON_AddNumberToObject(object, "macs", card->macs);
    else
        cJSON_AddNullToObject(object, "macs");
    add_text_or_null(object, "macs_source", card->macs_source);
    cJSON *configs = cJSON_AddArrayToObject(object, "configurations");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        if (model->configs[k].present)
            cJSON_AddItemToArray(configs, config_json(bench, model, &model->configs[k]));
    }
    cJSON *comparisons = cJSON_AddArrayToObject(object, "comparisons");
    for (int i = 0; i < 3; i++) {
        if (model->configs[pairs[i][0]].rounds == 0 || model->configs[pairs[i][1]].rounds == 0)
            continue;
        for (int p = 0; p < card->image_count; p++)
            cJSON_AddItemToArray(comparisons,
                                 comparison_json(bench, model, pairs[i][0], pairs[i][1], p));
    }
    return object;
}

cJSON *bench_json(const struct bench *bench) {
    cJSON *object = cJSON_CreateObject();
    bool simulated = false;
    char ended[32];

    if (object == NULL)
        return NULL;
    for (int i = 0; i < bench->model_count; i++) {
        for (int k = 0; k < BENCH_CONFIGS; k++)
            simulated |= bench->models[i].configs[k].simulated;
    }
    cJSON_AddStringToObject(object, "schema", PICO_RESULT_SCHEMA);
    cJSON_AddStringToObject(object, "kind", "bench");
    cJSON *program = cJSON_AddObjectToObject(object, "program");
    cJSON_AddStringToObject(program, "name", "npu-bench");
    cJSON_AddStringToObject(program, "version", PICO_VERSION);
    pico_utc_text(ended, sizeof ended, false);
    cJSON_AddStringToObject(object, "started", bench->started);
    cJSON_AddStringToObject(object, "ended", ended);
    cJSON_AddBoolToObject(object, "clock_set", pico_clock_is_set());
    cJSON_AddBoolToObject(object, "emulated", bench->emulated);
    cJSON_AddBoolToObject(object, "simulated_npu", simulated);
    cJSON_AddStringToObject(object, "outcome", bench->failures.count == 0 ? "ok" : "failed");
    cJSON_AddItemToObject(object, "options", options_json(&bench->options));
    cJSON_AddItemToObject(object, "system", copy(bench->system));
    cJSON_AddItemToObject(object, "before", copy(bench->before));
    cJSON_AddItemToObject(object, "after", copy(bench->after));
    cJSON *governor = cJSON_AddObjectToObject(object, "governor");
    add_text_or_null(governor, "found", bench->governor_before);
    add_text_or_null(governor, "used", bench->governor_used);
    cJSON *models = cJSON_AddArrayToObject(object, "models");
    for (int i = 0; i < bench->model_count; i++)
        cJSON_AddItemToArray(models, model_json(bench, &bench->models[i]));
    cJSON_AddItemToObject(object, "warnings", pico_json_notes(&bench->warnings));
    cJSON_AddItemToObject(object, "failures", pico_json_notes(&bench->failures));
    return object;
}
