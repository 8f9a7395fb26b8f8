#include <stdio.h>
#include <string.h>

#include "options.h"
#include "runner.h"

enum {
    OPT_MODEL = PICO_OPT_OWN,
    OPT_IMAGE,
    OPT_LABELS,
    OPT_CARD,
    OPT_TOP_K,
    OPT_JSON,
    OPT_RAW_SIZE,
    OPT_EXACT_DECODE,
    OPT_LOGITS,
    OPT_NO_XNNPACK,
    OPT_COMPARE_LAYOUTS,
    OPT_VERIFY,
    OPT_VECTORS,
    OPT_PROBE,
    OPT_RUNTIME,
};

static const struct option long_options[] = {
    {"model", required_argument, NULL, OPT_MODEL},
    {"image", required_argument, NULL, OPT_IMAGE},
    {"labels", required_argument, NULL, OPT_LABELS},
    {"card", required_argument, NULL, OPT_CARD},
    {"top-k", required_argument, NULL, OPT_TOP_K},
    {"json", required_argument, NULL, OPT_JSON},
    {"raw-size", required_argument, NULL, OPT_RAW_SIZE},
    {"exact-decode", no_argument, NULL, OPT_EXACT_DECODE},
    {"logits", no_argument, NULL, OPT_LOGITS},
    {"no-xnnpack", no_argument, NULL, OPT_NO_XNNPACK},
    {"compare-layouts", no_argument, NULL, OPT_COMPARE_LAYOUTS},
    {"verify", required_argument, NULL, OPT_VERIFY},
    {"vectors", required_argument, NULL, OPT_VECTORS},
    {"probe", no_argument, NULL, OPT_PROBE},
    {"runtime", required_argument, NULL, OPT_RUNTIME},
    PICO_SHARED_OPTIONS,
    {NULL, 0, NULL, 0},
};

/* Where options go and the backend that says which are allowed. */
struct request {
    struct pico_options *options;
    const struct pico_backend *backend;
};

static void print_help(const void *user) {
    const struct pico_backend *backend = ((const struct request *)user)->backend;

    printf("usage: %s --model FILE --image FILE [options]\n"
           "\n"
           "Classify pictures with one model on one engine (%s) and time every stage.\n"
           "\n"
           "  --model FILE       the model\n"
           "  --image FILE       JPEG, PNG or raw RGB picture; up to %d times\n"
           "  --labels FILE      one class name per line (default: the card's)\n"
           "  --card FILE        model card (default: model.json beside the model)\n"
           "  --warmup-runs N    runs before timing, for each picture (1)\n"
           "  --min-runs N       minimum number of timed runs (50)\n"
           "  --min-secs S       and minimum time, in seconds (1)\n"
           "  --max-secs S       maximum time for each picture, in seconds (150)\n"
           "  --threads N        (1: the chip has one core)\n"
           "  --top-k K          classes to print (5)\n"
           "  --json FILE|-      write the result as JSON; - is stdout, with nothing else on it\n"
           "  --logits           put all scores into the JSON\n"
           "  --raw-size WxH     size of raw RGB pictures (default: the model's input)\n"
           "  --exact-decode     decode JPEG at full size, never at 1/2, 1/4 or 1/8\n"
           "%s" PICO_HELP_ROOT "  --version, --help\n"
           "\n"
           "Exit: 0 done, 1 a run failed or an answer is wrong, 2 bad input, 130 interrupted.\n",
           backend->program, backend->engine, PICO_IMAGES_MAX, backend->extra_help);
}

static int parse_size(const char *text, int *width, int *height, struct pico_error *error) {
    char end;

    if (sscanf(text, "%5dx%5d%c", width, height, &end) != 2 || *width < 1 || *height < 1 ||
        *width > PICO_PICTURE_SIDE_LIMIT || *height > PICO_PICTURE_SIDE_LIMIT) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "--raw-size %s: must be WIDTHxHEIGHT, each from 1 to %d", text,
                         PICO_PICTURE_SIDE_LIMIT);
    }
    return PICO_OK;
}

static int set_option(void *user, int option, const char *value, struct pico_error *error) {
    const struct request *request = user;
    const struct pico_backend *backend = request->backend;
    struct pico_options *options = request->options;

    switch (option) {
    case OPT_MODEL:
        options->model = value;
        return PICO_OK;
    case OPT_IMAGE:
        if (options->image_count == PICO_IMAGES_MAX) {
            return pico_fail(error, PICO_BAD_INPUT, "at most %d pictures in one run",
                             PICO_IMAGES_MAX);
        }
        options->images[options->image_count++] = value;
        return PICO_OK;
    case OPT_LABELS:
        options->labels = value;
        return PICO_OK;
    case OPT_CARD:
        options->card = value;
        return PICO_OK;
    case OPT_TOP_K:
        return pico_option_int("top-k", value, 1, PICO_TOPK_MAX, &options->top_k, error);
    case OPT_JSON:
        options->json = value;
        return PICO_OK;
    case OPT_RAW_SIZE:
        return parse_size(value, &options->raw_width, &options->raw_height, error);
    case OPT_EXACT_DECODE:
        options->exact_decode = true;
        return PICO_OK;
    case OPT_LOGITS:
        options->logits = true;
        return PICO_OK;
    case OPT_NO_XNNPACK:
        if (strcmp(backend->engine, "cpu") != 0) {
            return pico_fail(error, PICO_BAD_INPUT, "--no-xnnpack is an option of neon-runner");
        }
        options->no_accelerator = true;
        return PICO_OK;
    case OPT_VERIFY:
        if (backend->verify == NULL)
            return pico_fail(error, PICO_BAD_INPUT, "--verify is an option of npu-runner");
        options->verify = value;
        return PICO_OK;
    case OPT_VECTORS:
        return pico_option_int("vectors", value, 1, 1000, &options->vectors, error);
    case OPT_PROBE:
        if (backend->probe == NULL)
            return pico_fail(error, PICO_BAD_INPUT, "--probe is an option of npu-runner");
        options->probe = true;
        return PICO_OK;
    case OPT_RUNTIME:
        if (backend->select == NULL)
            return pico_fail(error, PICO_BAD_INPUT, "--runtime is an option of npu-runner");
        options->runtime = value;
        return PICO_OK;
    case OPT_COMPARE_LAYOUTS:
    default:
        if (backend->compare_layouts == NULL) {
            return pico_fail(error, PICO_BAD_INPUT, "--compare-layouts is an option of npu-runner");
        }
        options->compare_layouts = true;
        return PICO_OK;
    }
}

int pico_options_parse(struct pico_options *options, int argc, char **argv,
                       const struct pico_backend *backend, struct pico_error *error) {
    *options = (struct pico_options){
        .effort = {.warmup_runs = 1, .min_runs = 50, .threads = 1, .min_secs = 1, .max_secs = 150},
        .top_k = 5,
        .root = "",
    };
    struct request request = {options, backend};
    const struct pico_option_reader reader = {
        .program = backend->program,
        .table = long_options,
        .effort = &options->effort,
        .root = &options->root,
        .user = &request,
        .set = set_option,
        .print_help = print_help,
    };
    int status = pico_options_read(&reader, argc, argv, error);
    if (status != PICO_OK)
        return status;
    if (options->probe && (options->image_count > 0 || options->verify != NULL ||
                           options->compare_layouts || options->runtime != NULL)) {
        status = pico_fail(error, PICO_BAD_INPUT,
                           "--probe tries every runtime with golden vectors; leave out --image, "
                           "--verify, --compare-layouts and --runtime");
    } else if (options->verify != NULL && (options->image_count > 0 || options->compare_layouts)) {
        status =
            pico_fail(error, PICO_BAD_INPUT, "--verify runs golden vectors alone; leave out %s",
                      options->image_count > 0 ? "--image" : "--compare-layouts");
    } else if (options->vectors > 0 && options->verify == NULL && !options->probe) {
        status = pico_fail(error, PICO_BAD_INPUT, "--vectors needs --verify DIR");
    } else if (options->probe) {
        return PICO_OK;
    } else if (options->model == NULL || (options->image_count == 0 && options->verify == NULL)) {
        status = pico_fail(error, PICO_BAD_INPUT, "%s is missing",
                           options->model == NULL ? "--model FILE" : "--image FILE");
    }
    return status == PICO_OK ? PICO_OK
                             : pico_hint(error, "%s --help lists the options", backend->program);
}
