/* The rounds: every configuration once, then all again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"
#include "json.h"
#include "system.h"

enum {
    WORDS_MAX = 32 + 2 * PICO_CARD_IMAGES,
    TEXT_MAX = 24,
    /* Golden vectors with --quick: an emulated inference takes seconds. */
    QUICK_VECTORS = 2,
    /* Loading and at most 64 inferences: minutes are a runner that hangs. */
    VERIFY_LIMIT_S = 600,
};

/* The command line of a runner: words point into `text` and `paths`. */
struct command {
    char *words[WORDS_MAX];
    int count;
    char numbers[8][TEXT_MAX];
    char program[PATH_MAX], model[PATH_MAX], card[PATH_MAX]; /* card, or folder of vectors */
    char images[PICO_CARD_IMAGES][PATH_MAX];
};

static void add(struct command *command, const char *option, char *value) {
    if (command->count + 2 >= WORDS_MAX)
        return;
    command->words[command->count++] = (char *)(uintptr_t)option;
    if (value != NULL)
        command->words[command->count++] = value;
}

static int join(char *path, const char *folder, const char *name, struct pico_error *error) {
    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s/%s is too long", folder, name);
    return PICO_OK;
}

static int make_command(struct command *command, const struct bench *bench,
                        const struct bench_model *model, const struct bench_config *config,
                        struct pico_error *error) {
    const struct bench_options *options = &bench->options;
    int status;

    memset(command, 0, sizeof *command);
    if ((status = join(command->program, options->programs, config->program, error)) != 0 ||
        (status = join(command->model, model->folder, config->file->path, error)) != 0 ||
        (status = join(command->card, model->folder, "model.json", error)) != 0)
        return status;
    snprintf(command->numbers[0], TEXT_MAX, "%d", options->effort.warmup_runs);
    snprintf(command->numbers[1], TEXT_MAX, "%d", options->effort.min_runs);
    snprintf(command->numbers[2], TEXT_MAX, "%g", options->effort.min_secs);
    snprintf(command->numbers[3], TEXT_MAX, "%g", options->effort.max_secs);
    snprintf(command->numbers[4], TEXT_MAX, "%d", options->effort.threads);
    add(command, command->program, NULL);
    add(command, "--model", command->model);
    add(command, "--card", command->card);
    add(command, "--warmup-runs", command->numbers[0]);
    add(command, "--min-runs", command->numbers[1]);
    add(command, "--min-secs", command->numbers[2]);
    add(command, "--max-secs", command->numbers[3]);
    add(command, "--threads", command->numbers[4]);
    if (options->root[0] != '\0')
        add(command, "--root", (char *)(uintptr_t)options->root);
    add(command, "--logits", NULL);
    add(command, "--json", (char *)(uintptr_t)"-");
    for (int i = 0; i < model->card.image_count; i++) {
        status = join(command->images[i], model->folder, model->card.images[i].path, error);
        if (status != PICO_OK)
            return status;
        add(command, "--image", command->images[i]);
    }
    return PICO_OK;
}

static int make_verify_command(struct command *command, const struct bench *bench,
                               const struct bench_model *model, const struct bench_config *config,
                               struct pico_error *error) {
    const struct bench_options *options = &bench->options;
    int status;

    memset(command, 0, sizeof *command);
    if ((status = join(command->program, options->programs, config->program, error)) != 0 ||
        (status = join(command->model, model->folder, config->file->path, error)) != 0 ||
        (status = join(command->card, model->folder, "golden", error)) != 0)
        return status;
    add(command, command->program, NULL);
    add(command, "--model", command->model);
    add(command, "--verify", command->card);
    if (options->quick) {
        snprintf(command->numbers[0], TEXT_MAX, "%d", QUICK_VECTORS);
        add(command, "--vectors", command->numbers[0]);
    }
    if (options->root[0] != '\0')
        add(command, "--root", (char *)(uintptr_t)options->root);
    add(command, "--json", (char *)(uintptr_t)"-");
    return PICO_OK;
}

/* Why a runner without a result ended. */
static void describe_end(const struct bench_config *config, const struct child_output *output,
                         char *why, size_t size) {
    if (output->late)
        snprintf(why, size, "%s did not end and was killed", config->program);
    else if (output->status > 128)
        snprintf(why, size, "%s was killed by signal %d%s", config->program, output->status - 128,
                 output->status == 128 + 9 ? " (out of memory?)" : "");
    else
        snprintf(why, size, "%s ended with status %d: %s", config->program, output->status,
                 output->complaint);
}

static void failed(struct bench *bench, const struct bench_model *model,
                   struct bench_config *config, const char *why) {
    snprintf(config->failure, sizeof config->failure, "%s", why);
    pico_note(&bench->failures, "%s %s: %s", model->card.name, config->title, why);
}

/* Is there memory for the program's own pages, the weights, and the rest of a process?
 *
 * A lower bound: XNNPACK copies the weights, and tensors come on top. With less the kernel kills
 * the run, and may kill a shell or this program too (seen in QEMU at 6 and at 8 MB free of 64), or
 * the run reads the card again in every inference. The NPU's weights are in CMA, which npu-runner
 * checks itself. */
static bool enough_memory(const char *root, const struct command *command,
                          const struct bench_config *config, char *why, size_t size) {
    enum { BESIDE_KIB = 2048 };
    struct stat program, model;
    long available = pico_memory_kib(root, PICO_MEMINFO, "MemAvailable");

    if (available < 0 || stat(command->program, &program) != 0 || stat(command->model, &model) != 0)
        return true; /* the runner reports what is missing */
    long long weights = strcmp(config->engine, "cpu") == 0 ? model.st_size : 0;
    long long least = ((long long)program.st_size + weights) / 1024 + BESIDE_KIB;
    if (available >= least)
        return true;
    snprintf(why, size,
             "not enough memory: %s with its model needs at least %lld KiB, %ld KiB are available",
             config->program, least, available);
    return false;
}

/* Run one configuration once. Only an interruption or a failure of our own ends the benchmark: a
 * configuration that fails is reported and left out of further rounds, and the others go on. */
static int run_config(struct bench *bench, const struct bench_model *model,
                      struct bench_config *config, struct pico_error *error) {
    struct child_output output;
    cJSON *result = NULL;
    struct command *command = malloc(sizeof *command);

    if (command == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to start %s", config->program);
    char why[600];
    int status = make_command(command, bench, model, config, error);
    bool enough =
        status != PICO_OK || enough_memory(bench->options.root, command, config, why, sizeof why);
    if (status == PICO_OK && enough)
        status = child_run(command->words, 0, &output, error);
    free(command);
    if (!enough) {
        failed(bench, model, config, why);
        return PICO_OK;
    }
    if (status != PICO_OK)
        return status;
    /* 1 with a result is a wrong answer, which the result tells; 1 without is a failure. */
    if (output.status > 1 || output.length == 0) {
        describe_end(config, &output, why, sizeof why);
        failed(bench, model, config, why);
    } else if (pico_json_parse(config->program, output.text, output.length, &result, error) !=
                   PICO_OK ||
               bench_collect(bench, model, config, result, error) != PICO_OK) {
        failed(bench, model, config, error->message);
    } else {
        config->rounds++;
    }
    cJSON_Delete(result);
    child_output_free(&output);
    return PICO_OK;
}

static void collect_verification(struct bench *bench, struct bench_config *config,
                                 const struct child_output *output) {
    struct pico_error error;
    cJSON *result = NULL;

    /* 1 with a result is a wrong answer, which the result tells. */
    if (output->status > 1 || output->length == 0) {
        describe_end(config, output, config->verification_failure,
                     sizeof config->verification_failure);
        return;
    }
    if (pico_json_parse(config->program, output->text, output->length, &result, &error) ==
        PICO_OK) {
        config->verification = cJSON_DetachItemFromObject(result, "verification");
        bench->emulated |= cJSON_IsTrue(pico_json_find(result, "emulated"));
    }
    if (!cJSON_IsString(pico_json_find(config->verification, "verdict")) ||
        !cJSON_IsString(pico_json_find(config->verification, "line"))) {
        cJSON_Delete(config->verification);
        config->verification = NULL;
        snprintf(config->verification_failure, sizeof config->verification_failure,
                 "%s printed a result without a verdict", config->program);
    }
    cJSON_Delete(result);
}

static int verify_config(struct bench *bench, const struct bench_model *model,
                         struct bench_config *config, struct pico_error *error) {
    struct child_output output;
    struct command *command = malloc(sizeof *command);

    if (command == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to start %s", config->program);
    int status = make_verify_command(command, bench, model, config, error);
    if (status == PICO_OK && access(command->card, F_OK) == 0) {
        fprintf(stderr, "verify     %s  %s\n", model->card.name, config->title);
        status = child_run(command->words, VERIFY_LIMIT_S, &output, error);
        if (status == PICO_OK) {
            collect_verification(bench, config, &output);
            child_output_free(&output);
        }
    }
    free(command);
    return status;
}

int bench_verify(struct bench *bench, struct pico_error *error) {
    for (int i = 0; i < bench->model_count; i++) {
        struct bench_model *model = &bench->models[i];
        for (int k = 0; k < BENCH_CONFIGS; k++) {
            struct bench_config *config = &model->configs[k];
            if (!config->present || config->failure[0] != '\0' ||
                strcmp(config->engine, "npu") != 0)
                continue;
            int status = verify_config(bench, model, config, error);
            if (status != PICO_OK)
                return status;
        }
    }
    return PICO_OK;
}

int bench_measure(struct bench *bench, struct pico_error *error) {
    for (int round = 0; round < bench->options.rounds; round++) {
        for (int i = 0; i < bench->model_count; i++) {
            struct bench_model *model = &bench->models[i];
            for (int k = 0; k < BENCH_CONFIGS; k++) {
                struct bench_config *config = &model->configs[k];
                if (!config->present || config->failure[0] != '\0')
                    continue;
                fprintf(stderr, "round %d/%d  %s  %s\n", round + 1, bench->options.rounds,
                        model->card.name, config->title);
                int status = run_config(bench, model, config, error);
                if (status != PICO_OK)
                    return status;
            }
        }
    }
    return PICO_OK;
}
