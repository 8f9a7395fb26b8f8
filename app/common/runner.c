#include "runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "stop.h"

/* Warn of statistics that the samples do not support. */
static void add_warnings(struct pico_runner *runner) {
    for (int i = 0; i < runner->picture_count; i++) {
        const struct pico_picture_result *result = &runner->pictures[i];
        const struct pico_samples *inference = &result->samples[PICO_INFERENCE];
        struct pico_stats stats;
        if (pico_stats_of(inference, &stats) != 0)
            continue;
        if (stats.n < 100)
            pico_note(&runner->notes, "fewer than 100 runs: p99 is hardly more than the maximum");
        if (stats.failed > 0)
            pico_note(&runner->notes, "%s: %zu times are not valid numbers: the clock is broken",
                      result->path, stats.failed);
        if (stats.cv > 0.025)
            pico_note(&runner->notes, "%s: inference times vary by %.1f%% (CV above 2.5%%)",
                      result->path, stats.cv * 100);
    }
}

static int measure_all(struct pico_runner *runner, struct pico_error *error) {
    int status = pico_runner_load(runner, error);

    for (int i = 0; status == PICO_OK && i < runner->picture_count; i++)
        status = pico_runner_measure(runner, &runner->pictures[i], i == 0, error);
    return status;
}

/* Standard output is for the JSON alone. */
static bool json_only(const struct pico_runner *runner) {
    return runner->options.json != NULL && strcmp(runner->options.json, "-") == 0;
}

/* Late facts, warnings and the JSON. */
static int report(struct pico_runner *runner, struct pico_error *error) {
    const char *json_path = runner->options.json;
    int status = PICO_OK;

    if (json_path != NULL && runner->backend->late_facts != NULL)
        runner->backend->late_facts(runner->state, runner->description.facts, &runner->notes);
    for (int i = 0; i < runner->notes.count; i++)
        fprintf(stderr, "%s: warning: %s\n", runner->backend->program, runner->notes.text[i]);
    if (json_path != NULL) {
        cJSON *json = pico_runner_json(runner);
        if (json == NULL)
            return pico_fail(error, PICO_FAILED, "not enough memory to write the result");
        status = pico_json_write(json, json_path, error);
        cJSON_Delete(json);
    }
    /* A full disk behind a redirection shows only when the buffer is flushed. */
    if (status == PICO_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = pico_fail(error, PICO_BAD_INPUT, "could not write to standard output");
    return status;
}

static int verdict(const struct pico_runner *runner, struct pico_error *error) {
    for (int i = 0; i < runner->picture_count; i++) {
        const struct pico_picture_result *result = &runner->pictures[i];
        if (result->failed > 0)
            return pico_fail(error, PICO_FAILED, "%d of the runs on %s failed", result->failed,
                             result->path);
        if (pico_result_correct(result) == 0) {
            return pico_fail(error, PICO_FAILED, "wrong top-1 on %s: %d %s, expected %d %s",
                             result->path, result->top[0].class_index,
                             pico_labels_name(&runner->labels, result->top[0].class_index),
                             result->known->expected[0],
                             pico_labels_name(&runner->labels, result->known->expected[0]));
        }
    }
    return PICO_OK;
}

static int measure_and_report(struct pico_runner *runner, struct pico_error *error) {
    int status = measure_all(runner, error);

    if (status == PICO_OK) {
        add_warnings(runner);
        if (!json_only(runner))
            pico_runner_print(runner);
        status = report(runner, error);
    }
    return status == PICO_OK ? verdict(runner, error) : status;
}

static int compare(struct pico_runner *runner, struct pico_error *error) {
    int status = pico_runner_load(runner, error);

    return status == PICO_OK ? pico_runner_compare(runner, error) : status;
}

static int verify(struct pico_runner *runner, struct pico_error *error) {
    const struct pico_options *options = &runner->options;
    bool print = !json_only(runner);
    int status = pico_runner_load(runner, error);

    if (status == PICO_OK && print)
        pico_runner_print_engine(runner);
    if (status == PICO_OK)
        status = runner->backend->verify(runner->state, options->verify, options->vectors, print,
                                         &runner->verification, error);
    if (status == PICO_OK)
        status = report(runner, error);
    if (status != PICO_OK)
        return status;
    const cJSON *verdict = pico_json_find(runner->verification, "verdict");
    if (cJSON_IsString(verdict) && strcmp(verdict->valuestring, "wrong") != 0)
        return PICO_OK;
    const cJSON *line = pico_json_find(runner->verification, "line");
    return pico_fail(error, PICO_FAILED, "the answers of %s are not those of %s: %s",
                     options->model, options->verify,
                     cJSON_IsString(line) ? line->valuestring : "no verdict");
}

int pico_runner_main(int argc, char **argv, const struct pico_backend *backend) {
    struct pico_error error = {0};
    /* 16 pictures with their tables: too large for the stack of a small board. */
    struct pico_runner *runner = calloc(1, sizeof *runner);

    if (runner == NULL) {
        fprintf(stderr, "%s: error: not enough memory to start\n", backend->program);
        return PICO_FAILED;
    }
    runner->backend = backend;
    pico_stop_install();
    int status = pico_options_parse(&runner->options, argc, argv, backend, &error);
    if (status == -1) {
        free(runner);
        return fflush(stdout) == 0 ? PICO_OK : PICO_BAD_INPUT;
    }
    if (status == PICO_OK && backend->select != NULL && !runner->options.probe)
        status = backend->select(backend, &runner->options, argv, &error);
    if (status == PICO_OK)
        status = runner->options.probe ? backend->probe(backend, &runner->options, &error)
                 : runner->options.verify != NULL  ? verify(runner, &error)
                 : runner->options.compare_layouts ? compare(runner, &error)
                                                   : measure_and_report(runner, &error);
    if (status != PICO_OK)
        pico_error_print(backend->program, &error);
    pico_runner_unload(runner);
    free(runner);
    return status;
}
