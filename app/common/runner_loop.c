/* Run one picture through the engine repeatedly and time every stage. */
#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "runner.h"
#include "stop.h"
#include "system.h"

static int run_once(struct pico_runner *runner, struct pico_picture_result *result,
                    double times[PICO_STAGES], struct pico_error *error) {
    const struct pico_backend *backend = runner->backend;
    struct pico_prepare_times parts;
    struct pico_input_view input;

    if (pico_stop_requested())
        return pico_fail(error, PICO_INTERRUPTED, "interrupted");
    double began = pico_now_us();
    backend->get_input(runner->state, &input);
    int status = pico_prepare(&result->preparation, &input, &parts, error);
    if (status != PICO_OK)
        return status;
    double prepared = pico_now_us();
    status = backend->run(runner->state, error);
    double inferred = pico_now_us();
    if (status != PICO_OK)
        return status;
    backend->get_output(runner->state, &runner->output);
    int count =
        pico_topk(&runner->output, runner->options.top_k, runner->card.softmax, result->top);
    double ended = pico_now_us();
    if (count < 0)
        return pico_fail(error, PICO_FAILED, "the model's scores for %s are not finite numbers",
                         result->path);
    result->top_count = count;
    result->has_top = true;
    times[PICO_DECODE] = parts.decode;
    times[PICO_PREPARE] = parts.prepare;
    times[PICO_INFERENCE] = inferred - prepared;
    times[PICO_POST] = ended - inferred;
    times[PICO_TOTAL] = ended - began;
    return PICO_OK;
}

static int keep(struct pico_picture_result *result, const double times[PICO_STAGES],
                struct pico_error *error) {
    for (int stage = 0; stage < PICO_STAGES; stage++) {
        if (pico_samples_add(&result->samples[stage], times[stage]) != 0)
            return pico_fail(error, PICO_FAILED, "not enough memory for the samples");
    }
    return PICO_OK;
}

int pico_runner_measure(struct pico_runner *runner, struct pico_picture_result *result, bool first,
                        struct pico_error *error) {
    const struct pico_options *options = &runner->options;
    double times[PICO_STAGES];
    int status;

    if (first) {
        status = run_once(runner, result, result->first, error);
        if (status != PICO_OK)
            return status;
        result->has_first = true;
        /* By now everything that the model needs is in memory. */
        runner->available_kib = pico_memory_kib(options->root, PICO_MEMINFO, "MemAvailable");
    }
    for (int i = 0; i < options->effort.warmup_runs; i++) {
        if ((status = run_once(runner, result, times, error)) != PICO_OK)
            return status;
    }
    double began = pico_now_us();
    for (int runs = 0;; runs++) {
        result->loop_us = pico_now_us() - began;
        double elapsed = result->loop_us / 1e6;
        if (runs > 0 && (elapsed >= options->effort.max_secs ||
                         (runs >= options->effort.min_runs && elapsed >= options->effort.min_secs)))
            break;
        status = run_once(runner, result, times, error);
        if (status == PICO_FAILED) {
            /* Failed runs are counted and reported; after three there is no point in going on. */
            result->failed++;
            pico_note(&runner->notes, "%s: a run failed: %s", result->path, error->message);
            if (result->failed >= 3)
                return status;
            continue;
        }
        if (status != PICO_OK || (status = keep(result, times, error)) != PICO_OK)
            return status;
    }
    if (result->logits != NULL) {
        for (int i = 0; i < runner->classes; i++)
            result->logits[i] = pico_output_score(&runner->output, i);
    }
    return PICO_OK;
}

int pico_runner_compare(struct pico_runner *runner, struct pico_error *error) {
    struct pico_prepare_times times;
    struct pico_input_view input;
    char line[256] = "";

    runner->backend->get_input(runner->state, &input);
    int status = pico_prepare(&runner->pictures[0].preparation, &input, &times, error);
    if (status == PICO_OK)
        status = runner->backend->compare_layouts(runner->state, line, sizeof line, error);
    if (status == PICO_OK)
        printf("layouts    %s\n", line);
    return status;
}

int pico_result_correct(const struct pico_picture_result *result) {
    if (result->known == NULL || result->known->expected_count == 0 || result->top_count == 0)
        return -1;
    for (int i = 0; i < result->known->expected_count; i++) {
        if (result->known->expected[i] == result->top[0].class_index)
            return 1;
    }
    return 0;
}
