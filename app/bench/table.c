/* The printed table. Times are in microseconds. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "json.h"

enum { ROWS_SHOWN = 10, COLUMN = 15 };

static const char *emulation(const struct bench *bench, const struct bench_model *model) {
    bool simulated = false;

    for (int k = 0; k < BENCH_CONFIGS; k++)
        simulated |= model->configs[k].simulated;
    if (bench->emulated)
        return simulated ? "emulated CPU · SIMULATED NPU" : "emulated CPU";
    return simulated ? "SIMULATED NPU" : "";
}

static bool measured(const struct bench_config *config) {
    return config->rounds > 0;
}

static void print_cell(double value) {
    if (isfinite(value))
        printf(" %*.0f", COLUMN - 1, value);
    else
        printf(" %*s", COLUMN - 1, "-");
}

static double sample(const struct pico_samples *samples, size_t index) {
    return index < samples->count ? samples->values[index] : NAN;
}

static void print_heading(const struct bench_model *model) {
    printf("%-8s", "");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        if (measured(&model->configs[k]))
            printf(" %*s", 2 * COLUMN - 1, model->configs[k].precision);
    }
    printf("\n%-8s", "Run");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        if (!measured(&model->configs[k]))
            continue;
        const char *engine = strcmp(model->configs[k].engine, "npu") == 0 ? "NPU" : "CPU";
        printf(" %*s total %*s inference", COLUMN - 7, engine, COLUMN - 11, engine);
    }
    printf("   [us]\n");
}

static void print_runs(const struct bench_model *model, int picture) {
    size_t most = 0;

    for (int k = 0; k < BENCH_CONFIGS; k++) {
        size_t count = model->configs[k].pictures[picture].stages[PICO_TOTAL].count;
        most = count > most ? count : most;
    }
    for (size_t run = 0; run < most && run < ROWS_SHOWN; run++) {
        printf("%-8zu", run + 1);
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            const struct bench_picture *result = &model->configs[k].pictures[picture];
            if (!measured(&model->configs[k]))
                continue;
            print_cell(sample(&result->stages[PICO_TOTAL], run));
            print_cell(sample(&result->stages[PICO_INFERENCE], run));
        }
        printf("\n");
    }
    if (most > ROWS_SHOWN)
        printf("...      %zu more runs are in the result file\n", most - ROWS_SHOWN);
}

struct summary_row {
    const char *name;
    size_t offset; /* of the figure in struct pico_stats */
    double factor;
};

static void print_cv(const struct bench_model *model,
                     const struct pico_stats stats[BENCH_CONFIGS][2]) {
    printf("%-8s", "CV");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        for (int c = 0; c < 2 && measured(&model->configs[k]); c++) {
            if (isfinite(stats[k][c].cv))
                printf(" %*.1f%%", COLUMN - 2, stats[k][c].cv * 100);
            else
                printf(" %*s", COLUMN - 1, "-");
        }
    }
    printf("\n");
}

static void print_summary(const struct bench_model *model, int picture) {
    static const struct summary_row rows[] = {
        {"mean", offsetof(struct pico_stats, mean), 1},
        {"min", offsetof(struct pico_stats, min), 1},
        {"p50", offsetof(struct pico_stats, median), 1},
        {"p90", offsetof(struct pico_stats, p90), 1},
        {"p99", offsetof(struct pico_stats, p99), 1},
    };
    static const int columns[2] = {PICO_TOTAL, PICO_INFERENCE};
    struct pico_stats stats[BENCH_CONFIGS][2];
    bool single = true; /* then all further rows would repeat the mean */

    for (int k = 0; k < BENCH_CONFIGS; k++) {
        for (int c = 0; c < 2; c++) {
            const struct pico_samples *samples =
                &model->configs[k].pictures[picture].stages[columns[c]];
            memset(&stats[k][c], 0, sizeof stats[k][c]);
            if (pico_stats_of(samples, &stats[k][c]) != 0)
                return;
            single &= stats[k][c].n <= 1;
        }
    }
    for (size_t row = 0; row < (single ? 1 : sizeof rows / sizeof rows[0]); row++) {
        printf("%-8s", rows[row].name);
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            for (int c = 0; c < 2 && measured(&model->configs[k]); c++) {
                double value;
                memcpy(&value, (const char *)&stats[k][c] + rows[row].offset, sizeof value);
                print_cell(value);
            }
        }
        printf("\n");
    }
    if (!single)
        print_cv(model, (const struct pico_stats(*)[2])stats);
    printf("%-8s", "n/failed");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        char text[40];
        if (!measured(&model->configs[k]))
            continue;
        snprintf(text, sizeof text, "%zu/%d", stats[k][0].n,
                 model->configs[k].pictures[picture].failed);
        printf(" %*s %*s", COLUMN - 1, text, COLUMN - 1, "");
    }
    printf("\n");
}

static void print_stages(const struct bench *bench, const struct bench_model *model, int picture) {
    printf("stages, median");
    for (int i = 0; i < PICO_STAGES - 1; i++)
        printf(" · %s", pico_stage_names[i]);
    printf(" | first inference | load\n");
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        const struct bench_config *config = &model->configs[k];
        const struct bench_picture *result = &config->pictures[picture];
        if (!measured(config))
            continue;
        printf("  %-12s", config->title);
        for (int i = 0; i < PICO_STAGES - 1; i++)
            printf(" · %.0f", pico_median(&result->stages[i]));
        double first = pico_median(&result->first[PICO_INFERENCE]);
        if (isfinite(first))
            printf(" | %.0f", first);
        else
            printf(" | (other picture)");
        printf(" | %.0f", pico_median(&config->load));
        double gops = bench_gops(model, result);
        if (isfinite(gops) && !config->simulated) {
            printf("   %.3f %s%s", gops,
                   strcmp(config->precision, "float32") == 0 ? "GFLOPS" : "GOPS",
                   bench->emulated ? " emulated" : "");
        }
        double share = bench_npu_share(bench, model, config, result);
        if (isfinite(share))
            printf(", %.1f%% of peak (2 x 512 MAC x clock)", share * 100);
        printf("\n");
    }
}

static void print_pair(const struct bench *bench, const struct bench_config *a,
                       const struct bench_config *b, int picture) {
    struct bench_comparison result;

    if (!measured(a) || !measured(b))
        return;
    bench_compare(bench, a, b, picture, &result);
    printf("%s against %s:", a->title, b->title);
    if (isfinite(result.speedup_inference))
        printf(" speed-up inference x%.2f total x%.2f,", result.speedup_inference,
               result.speedup_total);
    printf(" top-1 %s, %d of top-5 shared", result.top1_equal ? "equal" : "DIFFERS",
           result.top5_shared);
    if (isfinite(result.cosine))
        printf(", cosine %.5f", result.cosine);
    printf("\n");
}

static void print_top(const struct bench_model *model, int picture) {
    for (int k = 0; k < BENCH_CONFIGS; k++) {
        const struct bench_config *config = &model->configs[k];
        const struct bench_picture *result = &config->pictures[picture];
        const cJSON *best = cJSON_GetArrayItem(result->top, 0);
        const cJSON *number = pico_json_find(best, "class");
        const cJSON *label = pico_json_find(best, "label");
        const cJSON *probability = pico_json_find(best, "probability");
        if (!measured(config) || !cJSON_IsNumber(number))
            continue;
        printf("top-1 %-12s %d %s %.3f  %s\n", config->title, number->valueint,
               cJSON_IsString(label) ? label->valuestring : "",
               cJSON_IsNumber(probability) ? probability->valuedouble : NAN,
               result->correct < 0 ? "(class not known)"
               : result->correct   ? "right"
                                   : "WRONG");
    }
}

/* The figures that this project set out to beat: float32 without NEON on the CPU, and an NPU run of
 * which four fifths were spent around the inference. One model, one RV1103, as published. */
static void print_study(const struct bench_model *model) {
    if (strncmp(model->card.name, "mobilenet-v2", 12) != 0)
        return;
    printf("study    CPU float32 1738000 total 1481000 inference, NPU 67600 total 14960 inference "
           "[us], MobileNetV2 224 on an RV1103 as published\n");
}

static void print_picture(const struct bench *bench, const struct bench_model *model, int picture) {
    const struct pico_card *card = &model->card;
    const char *name = strrchr(card->images[picture].path, '/');
    char title[192], size[24];

    name = name == NULL ? card->images[picture].path : name + 1;
    if (card->width == card->height)
        snprintf(size, sizeof size, "%d", card->width);
    else
        snprintf(size, sizeof size, "%dx%d", card->width, card->height);
    if (card->macs > 0)
        snprintf(title, sizeof title, "%s %s · %.0f MMAC · %.60s", card->name, size,
                 card->macs / 1e6, name);
    else
        snprintf(title, sizeof title, "%s %s · %.60s", card->name, size, name);
    printf("\n%-60s %s\n", title, emulation(bench, model));
    print_heading(model);
    print_runs(model, picture);
    print_summary(model, picture);
    print_stages(bench, model, picture);
    print_top(model, picture);
    const struct bench_config *configs = model->configs;
    print_pair(bench, &configs[1], &configs[0], picture);
    print_pair(bench, &configs[2], &configs[0], picture);
    print_pair(bench, &configs[2], &configs[1], picture);
    print_study(model);
}

static const char *text_of(const cJSON *json, const char *path) {
    const cJSON *item = pico_json_find(json, path);

    return cJSON_IsString(item) && item->valuestring[0] != '\0' ? item->valuestring : "unknown";
}

static void print_state(const char *when, const cJSON *state) {
    static const struct {
        const char *key, *format;
    } figures[] = {
        {"cpu_mhz_measured", "%.0f MHz measured"},
        {"cpu_mhz_sysfs", "%.0f MHz by sysfs"},
        {"available_kib", "%.0f KiB free"},
        {"temperature_celsius", "%.0f C"},
        {"load_1min", "load %.2f"},
    };

    printf("%-8s governor %s", when, text_of(state, "governor"));
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        const cJSON *item = pico_json_find(state, figures[i].key);
        char text[48];
        if (!cJSON_IsNumber(item))
            continue;
        snprintf(text, sizeof text, figures[i].format, item->valuedouble);
        printf(", %s", text);
    }
    printf("\n");
}

/* Which of several NPU runtimes ran, and who chose it. */
static void print_runtimes(const struct bench_model *model, const struct bench_config *config) {
    const cJSON *installed = pico_json_find(config->facts, "runtimes.installed");
    const cJSON *why = pico_json_find(config->facts, "runtimes.why");

    if (cJSON_GetArraySize(installed) < 2)
        return;
    printf("runtime  %s %s: %s of %d, chosen by %s", model->card.name, config->title,
           text_of(config->facts, "runtimes.runs"), cJSON_GetArraySize(installed),
           text_of(config->facts, "runtimes.chosen_by"));
    if (cJSON_IsString(why))
        printf(" (%s)", why->valuestring);
    printf("\n");
}

static void print_context(const struct bench *bench) {
    printf("\nkernel   %s, CPU %s%s\n", text_of(bench->system, "kernel.release"),
           text_of(bench->system, "cpu.model"), bench->emulated ? " (emulated)" : "");
    printf("image    %s %s, commit %s\n", text_of(bench->system, "image.VARIANT"),
           text_of(bench->system, "image.VERSION"), text_of(bench->system, "image.COMMIT"));
    if (cJSON_IsString(pico_json_find(bench->system, "deployed")))
        printf("deployed %s\n", text_of(bench->system, "deployed"));
    print_state("before", bench->before);
    print_state("after", bench->after);
    for (int i = 0; i < bench->model_count; i++) {
        const struct bench_model *model = &bench->models[i];
        if (model->card.macs > 0)
            printf("MACs     %s: %.0f (%s); 2 operations each\n", model->card.name,
                   model->card.macs, model->card.macs_source);
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            const struct bench_config *config = &model->configs[k];
            if (!config->present)
                continue;
            printf("engine   %s %s: %s; %s; %ld KiB peak, %ld KiB left\n", model->card.name,
                   config->title, text_of(config->facts, "runtime"), text_of(config->facts, "line"),
                   config->peak_kib, config->available_kib);
            print_runtimes(model, config);
            printf("file     %s sha256 %s, verified: %s\n", config->file->path,
                   config->file->sha256, config->verified);
        }
    }
}

static void print_verification(const struct bench_config *config) {
    const cJSON *line = pico_json_find(config->verification, "line");
    bool simulated = cJSON_IsTrue(pico_json_find(config->verification, "simulated"));

    if (!config->present || strcmp(config->engine, "npu") != 0)
        return;
    printf("%sNPU = PC: ", simulated ? "SIMULATED " : "");
    if (cJSON_IsString(line))
        printf("%s%s\n", line->valuestring, simulated ? "; no proof for a board" : "");
    else if (config->verification_failure[0] != '\0')
        printf("not compared: %s\n", config->verification_failure);
    else
        printf("not compared: the model has no golden vectors\n");
}

void bench_print(const struct bench *bench) {
    for (int i = 0; i < bench->model_count; i++) {
        const struct bench_model *model = &bench->models[i];
        bool any = false;
        for (int k = 0; k < BENCH_CONFIGS; k++)
            any |= measured(&model->configs[k]);
        for (int picture = 0; any && picture < model->card.image_count; picture++)
            print_picture(bench, model, picture);
        for (int k = 0; k < BENCH_CONFIGS; k++)
            print_verification(&model->configs[k]);
    }
    print_context(bench);
    if (bench->options.mlperf_style)
        printf("protocol in the style of MLPerf (single stream): this is not an MLPerf result\n");
    if (bench->emulated)
        printf("emulated CPU: the times above say nothing about a board\n");
    for (int i = 0; i < bench->warnings.count; i++)
        printf("warning: %s\n", bench->warnings.text[i]);
    for (int i = 0; i < bench->failures.count; i++)
        printf("failed: %s\n", bench->failures.text[i]);
}
