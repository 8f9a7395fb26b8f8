/* Compare configurations, and find results that must not be trusted. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "json.h"
#include "topk.h"

double bench_gops(const struct bench_model *model, const struct bench_picture *picture) {
    double us = pico_median(&picture->stages[PICO_INFERENCE]);

    return model->card.macs > 0 ? 2 * model->card.macs / us / 1e3 : NAN;
}

static double number_of(const cJSON *json, const char *key) {
    const cJSON *item = pico_json_find(json, key);

    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

double bench_npu_share(const struct bench *bench, const struct bench_model *model,
                       const struct bench_config *config, const struct bench_picture *picture) {
    if (config->simulated || strcmp(config->engine, "npu") != 0)
        return NAN;
    return bench_gops(model, picture) * 1e3 / (2 * 512 * number_of(bench->after, "npu_mhz"));
}

static int class_at(const cJSON *top, int index) {
    const cJSON *item = pico_json_find(cJSON_GetArrayItem(top, index), "class");

    return cJSON_IsNumber(item) ? item->valueint : -1;
}

static int shared_of_five(const cJSON *a, const cJSON *b) {
    int shared = 0;

    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 5; k++)
            shared += class_at(a, i) >= 0 && class_at(a, i) == class_at(b, k);
    }
    return shared;
}

void bench_compare(const struct bench *bench, const struct bench_config *a,
                   const struct bench_config *b, int picture, struct bench_comparison *result) {
    const struct bench_picture *x = &a->pictures[picture], *y = &b->pictures[picture];

    *result = (struct bench_comparison){NAN, NAN, NAN, -1, -1};
    if (x->top == NULL || y->top == NULL)
        return;
    result->top1_equal = class_at(x->top, 0) == class_at(y->top, 0);
    result->top5_shared = shared_of_five(x->top, y->top);
    if (x->logits != NULL && y->logits != NULL && x->classes == y->classes)
        result->cosine = pico_cosine(x->logits, y->logits, (size_t)x->classes);
    /* A ratio of emulated or simulated times means nothing. */
    if (bench->emulated || a->simulated || b->simulated)
        return;
    result->speedup_inference =
        pico_median(&y->stages[PICO_INFERENCE]) / pico_median(&x->stages[PICO_INFERENCE]);
    result->speedup_total =
        pico_median(&y->stages[PICO_TOTAL]) / pico_median(&x->stages[PICO_TOTAL]);
}

static void judge_picture(struct bench *bench, const struct bench_model *model,
                          const struct bench_config *config, int index) {
    const struct bench_picture *picture = &config->pictures[index];
    const struct pico_card_image *image = &model->card.images[index];
    struct pico_stats stats;

    if (picture->failed > 0)
        pico_note(&bench->failures, "%s %s: %d runs on %s failed", model->card.name, config->title,
                  picture->failed, image->path);
    if (picture->correct == 0)
        pico_note(&bench->failures, "%s %s: wrong top-1 on %s: %d instead of %d", model->card.name,
                  config->title, image->path, class_at(picture->top, 0), image->expected[0]);
    const struct pico_samples *inference = &picture->stages[PICO_INFERENCE];
    if (pico_stats_of(inference, &stats) != 0)
        return;
    if (stats.failed > 0)
        pico_note(&bench->failures, "%s %s: %zu times are not valid numbers: the clock is broken",
                  model->card.name, config->title, stats.failed);
    /* Linear interpolation reaches the second-largest of 100 samples. */
    if (stats.n < 100)
        pico_note(&bench->warnings, "fewer than 100 runs: p99 is hardly more than the maximum");
    if (stats.cv > 0.025)
        pico_note(&bench->warnings, "%s %s on %s: inference times vary by %.1f%% (CV)",
                  model->card.name, config->title, image->path, stats.cv * 100);
}

/* The larger of both states, NaN when neither has it. */
static double either(const struct bench *bench, const char *key) {
    return fmax(number_of(bench->before, key), number_of(bench->after, key));
}

static void judge_system(struct bench *bench) {
    double before = number_of(bench->before, "cpu_mhz_measured");
    double after = number_of(bench->after, "cpu_mhz_measured");

    if (bench->governor_used[0] != '\0' && strcmp(bench->governor_used, "performance") != 0)
        pico_note(&bench->warnings, "the CPU governor is \"%s\": the clock changes while measuring",
                  bench->governor_used);
    const cJSON *left = pico_json_find(bench->after, "governor");
    if (cJSON_IsString(left) && bench->governor_used[0] != '\0' &&
        strcmp(left->valuestring, bench->governor_used) != 0)
        pico_note(&bench->warnings, "the CPU governor became \"%s\" while measuring",
                  left->valuestring);
    if (!bench->emulated && fabs(after - before) > 0.05 * before)
        pico_note(&bench->warnings, "the CPU clock changed: %.0f MHz before, %.0f MHz after",
                  before, after);
    if (either(bench, "swap_used_kib") > 0)
        pico_note(&bench->warnings, "swap is in use: times include waiting for the card");
    if (cJSON_IsTrue(pico_json_find(bench->before, "rkipc_runs")) ||
        cJSON_IsTrue(pico_json_find(bench->after, "rkipc_runs")))
        pico_note(&bench->warnings,
                  "rkipc runs: it takes memory and NPU time (stop it with RkLunch-stop.sh)");
    if (either(bench, "temperature_celsius") > 85)
        pico_note(&bench->warnings, "the chip is at %.0f degrees Celsius: it may slow down",
                  either(bench, "temperature_celsius"));
}

/* The simulator computes with TensorFlow Lite, whose weights are symmetric: with the random weights
 * of mobilenet-v2-random it is 21 steps off. Only an NPU's wrong answers fail the benchmark. */
static void judge_verification(struct bench *bench, const struct bench_model *model,
                               const struct bench_config *config) {
    const cJSON *verdict = pico_json_find(config->verification, "verdict");
    const cJSON *line = pico_json_find(config->verification, "line");
    bool simulated = cJSON_IsTrue(pico_json_find(config->verification, "simulated"));

    if (config->verification_failure[0] != '\0')
        pico_note(&bench->failures, "%s %s: its answers could not be compared with the PC's: %s",
                  model->card.name, config->title, config->verification_failure);
    if (cJSON_IsString(verdict) && strcmp(verdict->valuestring, "wrong") == 0)
        pico_note(simulated ? &bench->warnings : &bench->failures,
                  "%s %s%s: its answers are not the PC's: %s", model->card.name, config->title,
                  simulated ? " (simulated)" : "",
                  cJSON_IsString(line) ? line->valuestring : "wrong");
}

void bench_judge(struct bench *bench) {
    for (int i = 0; i < bench->model_count; i++) {
        const struct bench_model *model = &bench->models[i];
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            const struct bench_config *config = &model->configs[k];
            judge_verification(bench, model, config);
            for (int p = 0; config->rounds > 0 && p < model->card.image_count; p++)
                judge_picture(bench, model, config, p);
        }
    }
    judge_system(bench);
}
