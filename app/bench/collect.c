/* From a runner's JSON to samples. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "json.h"
#include "version.h"

static int unexpected(const struct bench_config *config, const char *what,
                      struct pico_error *error) {
    return pico_fail(error, PICO_FAILED, "%s printed a result without %s", config->program, what);
}

/* Another major version may mean anything; new fields of the same one are ignored. */
static int check_schema(const struct bench_config *config, const cJSON *result,
                        struct pico_error *error) {
    const cJSON *schema = pico_json_find(result, "schema");

    if (!cJSON_IsString(schema) || atoi(schema->valuestring) != atoi(PICO_RESULT_SCHEMA)) {
        return pico_fail(
            error, PICO_FAILED, "%s printed a result of schema %s; this npu-bench reads %s",
            config->program, cJSON_IsString(schema) ? schema->valuestring : "without a number",
            PICO_RESULT_SCHEMA);
    }
    return PICO_OK;
}

static int add_samples(struct pico_samples *samples, const cJSON *values) {
    const cJSON *value;

    cJSON_ArrayForEach(value, values) {
        if (pico_samples_add(samples, cJSON_IsNumber(value) ? value->valuedouble : NAN) != 0)
            return -1;
    }
    return 0;
}

static int keep_logits(struct bench_picture *picture, const cJSON *logits) {
    int count = cJSON_GetArraySize(logits), i = 0;
    const cJSON *value;

    if (count == 0)
        return 0;
    float *values = realloc(picture->logits, (size_t)count * sizeof *values);
    if (values == NULL)
        return -1;
    picture->logits = values;
    picture->classes = count;
    cJSON_ArrayForEach(value, logits) values[i++] =
        cJSON_IsNumber(value) ? (float)value->valuedouble : NAN;
    return 0;
}

static int collect_picture(const struct bench_config *config, struct bench_picture *picture,
                           const cJSON *json, struct pico_error *error) {
    const cJSON *first = pico_json_find(json, "first");
    int trouble = 0;

    for (int i = 0; i < PICO_STAGES; i++) {
        const cJSON *stage =
            cJSON_GetObjectItemCaseSensitive(pico_json_find(json, "stages"), pico_stage_names[i]);
        const cJSON *samples = pico_json_find(stage, "samples");
        if (!cJSON_IsArray(samples))
            return unexpected(config, pico_stage_names[i], error);
        trouble |= add_samples(&picture->stages[i], samples);
        if (cJSON_IsObject(first)) {
            const cJSON *value = cJSON_GetObjectItemCaseSensitive(first, pico_stage_names[i]);
            trouble |= pico_samples_add(&picture->first[i],
                                        cJSON_IsNumber(value) ? value->valuedouble : NAN);
        }
    }
    const cJSON *loop = pico_json_find(json, "loop");
    if (!cJSON_IsNumber(loop))
        return unexpected(config, "the time of all runs", error);
    trouble |= pico_samples_add(&picture->loops, loop->valuedouble);
    const cJSON *failed = pico_json_find(json, "failed");
    picture->failed += cJSON_IsNumber(failed) ? failed->valueint : 0;
    const cJSON *correct = pico_json_find(json, "correct");
    /* Once wrong stays wrong, whatever a later round answers. */
    if (cJSON_IsBool(correct) && picture->correct != 0)
        picture->correct = cJSON_IsTrue(correct);
    const cJSON *top = pico_json_find(json, "top");
    if (!cJSON_IsArray(top) || cJSON_GetArraySize(top) == 0)
        return unexpected(config, "a best class", error);
    cJSON_Delete(picture->top);
    picture->top = cJSON_Duplicate(top, true);
    trouble |= keep_logits(picture, pico_json_find(json, "logits"));
    if (trouble || picture->top == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory for the samples");
    return PICO_OK;
}

int bench_collect(struct bench *bench, const struct bench_model *model, struct bench_config *config,
                  const cJSON *result, struct pico_error *error) {
    const cJSON *pictures = pico_json_find(result, "pictures"), *item;
    int status = check_schema(config, result, error);

    if (status != PICO_OK)
        return status;
    if (cJSON_GetArraySize(pictures) != model->card.image_count)
        return unexpected(config, "all pictures", error);
    const cJSON *load = pico_json_find(result, "load");
    if (!cJSON_IsNumber(load) || pico_samples_add(&config->load, load->valuedouble) != 0)
        return unexpected(config, "a loading time", error);
    int index = 0;
    cJSON_ArrayForEach(item, pictures) {
        status = collect_picture(config, &config->pictures[index++], item, error);
        if (status != PICO_OK)
            return status;
    }
    config->simulated = cJSON_IsTrue(pico_json_find(result, "simulated_npu"));
    bench->emulated |= cJSON_IsTrue(pico_json_find(result, "emulated"));
    const cJSON *peak = pico_json_find(result, "memory.peak_kib");
    const cJSON *available = pico_json_find(result, "memory.available_kib");
    if (cJSON_IsNumber(peak) && (long)peak->valuedouble > config->peak_kib)
        config->peak_kib = (long)peak->valuedouble;
    if (cJSON_IsNumber(available) &&
        (config->available_kib < 0 || (long)available->valuedouble < config->available_kib))
        config->available_kib = (long)available->valuedouble;
    cJSON_Delete(config->facts);
    config->facts = cJSON_Duplicate(pico_json_find(result, "engine"), true);
    cJSON_ArrayForEach(item, pico_json_find(result, "warnings")) {
        /* bench_judge() looks at the number of samples and their variation over all rounds. */
        if (cJSON_IsString(item) && strstr(item->valuestring, "p99") == NULL &&
            strstr(item->valuestring, "CV above") == NULL)
            pico_note(&bench->warnings, "%s %s: %s", model->card.name, config->title,
                      item->valuestring);
    }
    return PICO_OK;
}
