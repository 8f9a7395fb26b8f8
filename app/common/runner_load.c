/* Load and check all input before the first run. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "mapping.h"
#include "runner.h"
#include "stop.h"
#include "system.h"

/* FOLDER_OF(path)/name, or name itself when it is absolute. */
static void beside(char *result, size_t size, const char *path, const char *name) {
    const char *slash = strrchr(path, '/');

    if (slash == NULL || name[0] == '/')
        snprintf(result, size, "%s", name);
    else
        snprintf(result, size, "%.*s/%s", (int)(slash - path), path, name);
}

static void default_card(struct pico_runner *runner) {
    struct pico_card *card = &runner->card;

    memset(card, 0, sizeof *card);
    snprintf(card->name, sizeof card->name, "%.60s", runner->options.model);
    for (int c = 0; c < 3; c++)
        card->mean[c] = card->std[c] = 127.5;
    card->rule = PICO_RESIZE_STRETCH;
    card->fraction = 1;
    pico_note(&runner->notes,
              "no model card: pictures are stretched and normalised by (x - 127.5) / 127.5, and "
              "scores are shown as the model computes them");
}

static int load_card(struct pico_runner *runner, struct pico_error *error) {
    const struct pico_options *options = &runner->options;
    char path[PATH_MAX];

    if (options->card != NULL) {
        snprintf(path, sizeof path, "%s", options->card);
    } else {
        beside(path, sizeof path, options->model, "model.json");
        if (access(path, F_OK) != 0) {
            default_card(runner);
            return PICO_OK;
        }
    }
    runner->has_card = true;
    return pico_card_read(&runner->card, path, error);
}

static int load_labels(struct pico_runner *runner, struct pico_error *error) {
    const struct pico_options *options = &runner->options;
    char path[PATH_MAX];

    if (options->labels != NULL)
        snprintf(path, sizeof path, "%s", options->labels);
    else if (runner->card.labels[0] != '\0')
        beside(path, sizeof path, options->card != NULL ? options->card : options->model,
               runner->card.labels);
    else
        return PICO_OK;
    int status = pico_labels_read(&runner->labels, path, error);
    if (status != PICO_OK)
        return status;
    if (runner->labels.count != runner->classes) {
        pico_fail(error, PICO_BAD_INPUT, "%s has %d labels, but the model has %d classes", path,
                  runner->labels.count, runner->classes);
        return pico_hint(error, "write one label per line, in the order of the model's classes");
    }
    return PICO_OK;
}

static int check_card(const struct pico_runner *runner, struct pico_error *error) {
    const struct pico_card *card = &runner->card;
    const struct pico_input_view *input = &runner->input;

    if (!runner->has_card)
        return PICO_OK;
    if (card->width != input->width || card->height != input->height ||
        card->channels != input->channels) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "the input of %s is %dx%d with %d channels, but its card says %dx%d with "
                         "%d",
                         runner->options.model, input->width, input->height, input->channels,
                         card->width, card->height, card->channels);
    }
    if (card->classes != runner->classes) {
        return pico_fail(error, PICO_BAD_INPUT, "%s has %d classes, but its card says %d",
                         runner->options.model, runner->classes, card->classes);
    }
    return PICO_OK;
}

static int load_model(struct pico_runner *runner, struct pico_error *error) {
    const struct pico_backend_options options = {
        .model = runner->options.model,
        .runtime = runner->options.runtime,
        .root = runner->options.root,
        .threads = runner->options.effort.threads,
        .no_accelerator = runner->options.no_accelerator,
        .any_output = runner->options.compare_layouts || runner->options.verify != NULL,
        .golden = runner->options.verify,
        .notes = &runner->notes,
    };
    struct pico_output_view output;
    double began = pico_now_us();

    int status = runner->backend->open(&runner->state, &options, error);
    if (status != PICO_OK) {
        runner->state = NULL;
        return status;
    }
    runner->load_us = pico_now_us() - began;
    runner->backend->describe(runner->state, &runner->description);
    runner->backend->get_input(runner->state, &runner->input);
    if (!options.any_output) {
        runner->backend->get_output(runner->state, &output);
        runner->classes = output.classes;
    }
    return PICO_OK;
}

static int load_picture(struct pico_runner *runner, struct pico_picture_result *result,
                        struct pico_error *error) {
    const struct pico_options *options = &runner->options;
    bool sized = options->raw_width > 0;
    struct pico_mapping file;

    int status = pico_map_file(&file, result->path, "have a picture to classify", error);
    if (status != PICO_OK)
        return status;
    result->picture.data = file.data; /* so that unload finds the mapping */
    result->picture.size = file.size;
    status = pico_picture_open(&result->picture, result->path, file.data, file.size,
                               sized ? options->raw_width : runner->input.width,
                               sized ? options->raw_height : runner->input.height, error);
    if (status == PICO_OK)
        status = pico_picture_check(&result->picture, error);
    if (status != PICO_OK)
        return status;
    result->known = pico_card_image(&runner->card, result->path);
    if (options->logits && runner->classes > 0) {
        result->logits = calloc((size_t)runner->classes, sizeof *result->logits);
        if (result->logits == NULL)
            return pico_fail(error, PICO_FAILED, "not enough memory for the scores");
    }
    for (int stage = 0; stage < PICO_STAGES; stage++) {
        if (pico_samples_reserve(&result->samples[stage], (size_t)options->effort.min_runs) != 0)
            return pico_fail(error, PICO_FAILED, "not enough memory for the samples");
    }
    return pico_preparation_init(&result->preparation, &result->picture, &runner->card,
                                 &runner->input, options->exact_decode, error);
}

int pico_runner_load(struct pico_runner *runner, struct pico_error *error) {
    int status;

    if (runner->options.verify != NULL)
        return load_model(runner, error);
    if ((status = load_card(runner, error)) != 0 || (status = load_model(runner, error)) != 0)
        return status;
    if (!runner->options.compare_layouts &&
        ((status = check_card(runner, error)) != 0 || (status = load_labels(runner, error)) != 0))
        return status;
    for (int i = 0; i < runner->options.image_count; i++) {
        if (pico_stop_requested())
            return pico_fail(error, PICO_INTERRUPTED, "interrupted");
        runner->pictures[i].path = runner->options.images[i];
        runner->picture_count = i + 1;
        status = load_picture(runner, &runner->pictures[i], error);
        if (status != PICO_OK)
            return status;
    }
    return PICO_OK;
}

void pico_runner_unload(struct pico_runner *runner) {
    for (int i = 0; i < runner->picture_count; i++) {
        struct pico_picture_result *result = &runner->pictures[i];
        struct pico_mapping file = {result->picture.data, result->picture.size};
        pico_preparation_free(&result->preparation);
        pico_picture_close(&result->picture);
        pico_unmap_file(&file);
        for (int stage = 0; stage < PICO_STAGES; stage++)
            pico_samples_free(&result->samples[stage]);
        free(result->logits);
    }
    cJSON_Delete(runner->description.facts);
    cJSON_Delete(runner->verification);
    pico_labels_free(&runner->labels);
    if (runner->state != NULL)
        runner->backend->close(runner->state);
    runner->state = NULL;
}
