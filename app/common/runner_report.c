/* The result of a runner, as text and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "runner.h"
#include "system.h"
#include "version.h"

static void print_stage(const char *name, const struct pico_samples *samples) {
    struct pico_stats stats;

    if (pico_stats_of(samples, &stats) != 0)
        return;
    printf("%-10s %6zu %10.0f %10.0f %10.0f %10.0f %10.0f", name, stats.n, stats.min, stats.median,
           stats.p90, stats.p99, stats.mean);
    if (isfinite(stats.cv))
        printf(" %6.1f%%\n", stats.cv * 100);
    else
        printf("       -\n");
}

static void print_picture(const struct pico_runner *runner,
                          const struct pico_picture_result *result) {
    const struct pico_picture *picture = &result->picture;

    printf("\npicture    %s, %s %dx%d", result->path, picture->kind->name, picture->stored_width,
           picture->stored_height);
    if (picture->scale > 1)
        printf(", decoded at 1/%d", picture->scale);
    printf("\n");
    if (result->has_first) {
        printf("first run  inference %.0f us, total %.0f us\n", result->first[PICO_INFERENCE],
               result->first[PICO_TOTAL]);
    }
    printf("stage           n        min     median        p90        p99       mean      CV  "
           "[us]\n");
    for (int stage = 0; stage < PICO_STAGES; stage++)
        print_stage(pico_stage_names[stage], &result->samples[stage]);
    printf("failed     %d\n", result->failed);
    for (int i = 0; i < result->top_count; i++) {
        const struct pico_top *top = &result->top[i];
        printf("%s %5d  %.5f  %s\n", i == 0 ? "top       " : "          ", top->class_index,
               (double)top->probability, pico_labels_name(&runner->labels, top->class_index));
    }
    int correct = pico_result_correct(result);
    if (correct >= 0) {
        printf("top-1      %s (expected %d %s)\n", correct ? "right" : "WRONG",
               result->known->expected[0],
               pico_labels_name(&runner->labels, result->known->expected[0]));
    }
}

void pico_runner_print_engine(const struct pico_runner *runner) {
    if (runner->description.simulated)
        printf("SIMULATED NPU: the verdict is about the model and the programs, not about a "
               "board\n");
    printf("model      %s\n", runner->options.model);
    printf("engine     %s; %s\n", runner->description.runtime, runner->description.line);
}

void pico_runner_print(const struct pico_runner *runner) {
    const struct pico_input_view *input = &runner->input;
    char why[160];

    if (pico_is_emulated(runner->options.root, why, sizeof why))
        printf("EMULATED CPU: the times below are not a board's (%s)\n", why);
    if (runner->description.simulated)
        printf("SIMULATED NPU: the times below mean nothing\n");
    printf("model      %s, %s, %dx%dx%d %s, %d classes\n",
           runner->has_card ? runner->card.title : runner->options.model, runner->options.model,
           input->width, input->height, input->channels, runner->description.precision,
           runner->classes);
    printf("engine     %s; %s\n", runner->description.runtime, runner->description.line);
    printf("load       %.0f us\n", runner->load_us);
    for (int i = 0; i < runner->picture_count; i++)
        print_picture(runner, &runner->pictures[i]);
}

static void add_stages(cJSON *object, const double times[PICO_STAGES]) {
    for (int stage = 0; stage < PICO_STAGES; stage++)
        pico_json_add_us(object, pico_stage_names[stage], times[stage]);
}

static cJSON *picture_json(const struct pico_runner *runner,
                           const struct pico_picture_result *result) {
    const struct pico_picture *picture = &result->picture;
    const struct pico_box *box = &result->preparation.box;
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "path", result->path);
    cJSON_AddStringToObject(object, "format", picture->kind->name);
    cJSON_AddNumberToObject(object, "width", picture->stored_width);
    cJSON_AddNumberToObject(object, "height", picture->stored_height);
    cJSON_AddNumberToObject(object, "decode_scale", picture->scale);
    const double corners[4] = {box->left, box->top, box->right, box->bottom};
    cJSON_AddItemToObject(object, "crop", cJSON_CreateDoubleArray(corners, 4));
    if (result->has_first)
        add_stages(cJSON_AddObjectToObject(object, "first"), result->first);
    else
        cJSON_AddNullToObject(object, "first");
    cJSON_AddNumberToObject(object, "runs",
                            (double)result->samples[PICO_TOTAL].count + result->failed);
    cJSON_AddNumberToObject(object, "failed", result->failed);
    pico_json_add_us(object, "loop", result->loop_us);
    cJSON *stages = cJSON_AddObjectToObject(object, "stages");
    for (int stage = 0; stage < PICO_STAGES; stage++) {
        const struct pico_samples *samples = &result->samples[stage];
        cJSON_AddItemToObject(stages, pico_stage_names[stage], pico_json_stats(samples));
    }
    cJSON *top = cJSON_AddArrayToObject(object, "top");
    for (int i = 0; i < result->top_count; i++) {
        const struct pico_top *entry = &result->top[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "class", entry->class_index);
        cJSON_AddStringToObject(item, "label",
                                pico_labels_name(&runner->labels, entry->class_index));
        pico_json_add_number(item, "score", (double)entry->score);
        pico_json_add_number(item, "probability", (double)entry->probability);
        cJSON_AddItemToArray(top, item);
    }
    int correct = pico_result_correct(result);
    if (correct >= 0) {
        cJSON_AddItemToObject(
            object, "expected",
            cJSON_CreateIntArray(result->known->expected, result->known->expected_count));
        cJSON_AddBoolToObject(object, "correct", correct);
    } else {
        cJSON_AddNullToObject(object, "expected");
        cJSON_AddNullToObject(object, "correct");
    }
    if (result->logits != NULL)
        cJSON_AddItemToObject(object, "logits",
                              cJSON_CreateFloatArray(result->logits, runner->classes));
    return object;
}

static cJSON *model_json(const struct pico_runner *runner) {
    const struct pico_card *card = &runner->card;
    const struct pico_input_view *input = &runner->input;
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "name", card->name);
    cJSON_AddStringToObject(object, "title", card->title);
    cJSON_AddStringToObject(object, "path", runner->options.model);
    cJSON_AddBoolToObject(object, "has_card", runner->has_card);
    cJSON_AddNumberToObject(object, "classes", runner->classes);
    if (card->macs > 0)
        cJSON_AddNumberToObject(object, "macs", card->macs);
    else
        cJSON_AddNullToObject(object, "macs");
    cJSON_AddStringToObject(object, "macs_source", card->macs_source);
    cJSON *shape = cJSON_AddObjectToObject(object, "input");
    cJSON_AddNumberToObject(shape, "width", input->width);
    cJSON_AddNumberToObject(shape, "height", input->height);
    cJSON_AddNumberToObject(shape, "channels", input->channels);
    cJSON_AddStringToObject(shape, "type", pico_type_name(input->type));
    pico_json_add_number(shape, "scale", (double)input->scale);
    cJSON_AddNumberToObject(shape, "zero_point", input->zero_point);
    return object;
}

/* What results of both kinds have in common. */
static cJSON *start_json(const struct pico_runner *runner, const char *kind) {
    cJSON *object = cJSON_CreateObject();
    char text[160];

    cJSON_AddStringToObject(object, "schema", PICO_RESULT_SCHEMA);
    cJSON_AddStringToObject(object, "kind", kind);
    cJSON *program = cJSON_AddObjectToObject(object, "program");
    cJSON_AddStringToObject(program, "name", runner->backend->program);
    cJSON_AddStringToObject(program, "version", PICO_VERSION);
    pico_utc_text(text, sizeof text, false);
    cJSON_AddStringToObject(object, "ended", text);
    cJSON_AddBoolToObject(object, "clock_set", pico_clock_is_set());
    cJSON_AddBoolToObject(object, "emulated",
                          pico_is_emulated(runner->options.root, text, sizeof text));
    cJSON_AddBoolToObject(object, "simulated_npu", runner->description.simulated);
    cJSON *engine = cJSON_Duplicate(runner->description.facts, true);
    if (engine == NULL)
        engine = cJSON_CreateObject();
    cJSON_AddStringToObject(engine, "name", runner->backend->engine);
    cJSON_AddStringToObject(engine, "runtime", runner->description.runtime);
    cJSON_AddStringToObject(engine, "precision", runner->description.precision);
    cJSON_AddStringToObject(engine, "line", runner->description.line);
    cJSON_AddItemToObject(object, "engine", engine);
    cJSON_AddItemToObject(object, "warnings", pico_json_notes(&runner->notes));
    return object;
}

static cJSON *verification_json(const struct pico_runner *runner) {
    cJSON *object = start_json(runner, "verification");

    cJSON_AddStringToObject(cJSON_AddObjectToObject(object, "model"), "path",
                            runner->options.model);
    cJSON_AddItemToObject(object, "verification", cJSON_Duplicate(runner->verification, true));
    return object;
}

cJSON *pico_runner_json(const struct pico_runner *runner) {
    const struct pico_options *options = &runner->options;

    if (runner->verification != NULL)
        return verification_json(runner);
    cJSON *object = start_json(runner, "runner");
    cJSON_AddItemToObject(object, "model", model_json(runner));
    cJSON *protocol = cJSON_AddObjectToObject(object, "protocol");
    cJSON_AddStringToObject(protocol, "unit", "us");
    cJSON_AddStringToObject(protocol, "percentiles", PICO_PERCENTILE_RULE);
    pico_effort_add(protocol, &options->effort);
    cJSON_AddBoolToObject(protocol, "exact_decode", options->exact_decode);
    pico_json_add_us(object, "load", runner->load_us);
    cJSON *memory = cJSON_AddObjectToObject(object, "memory");
    cJSON_AddNumberToObject(memory, "peak_kib",
                            (double)pico_memory_kib("", PICO_SELF_STATUS, "VmHWM"));
    cJSON_AddNumberToObject(memory, "available_kib", (double)runner->available_kib);
    cJSON *pictures = cJSON_AddArrayToObject(object, "pictures");
    for (int i = 0; i < runner->picture_count; i++)
        cJSON_AddItemToArray(pictures, picture_json(runner, &runner->pictures[i]));
    return object;
}
