#include "neon_backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapping.h"
#include "model_check.h"
#include "xnnpack.h"

struct neon {
    struct pico_mapping file; /* the model stays mapped: weights are used where they lie */
    struct pico_model_facts facts;
    TfLiteModel *model;
    TfLiteInterpreterOptions *options;
    TfLiteInterpreter *interpreter;
    struct pico_xnnpack xnnpack;
    const char *not_used; /* why XNNPACK is not used, or NULL */
    char refused[192];
    int threads;
    char message[256]; /* the last that TensorFlow Lite reported */
};

/* TensorFlow Lite reports errors here instead of on stderr: they become part of our message. */
static void on_report(void *user, const char *format, va_list arguments) {
    struct neon *neon = user;
    char text[sizeof neon->message];

    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    /* The first report is the cause, later ones ("Node number 3 failed to prepare") the place. */
    size_t length = strlen(neon->message);
    snprintf(neon->message + length, sizeof neon->message - length, "%s%s", length > 0 ? "; " : "",
             text);
}

static const char *reported(const struct neon *neon) {
    return neon->message[0] != '\0' ? neon->message : "no reason was reported";
}

static void close_neon(void *state) {
    struct neon *neon = state;

    /* The order matters: the interpreter still uses the delegate and the model. */
    if (neon->interpreter != NULL)
        TfLiteInterpreterDelete(neon->interpreter);
    if (neon->options != NULL)
        TfLiteInterpreterOptionsDelete(neon->options);
    pico_xnnpack_delete(&neon->xnnpack);
    if (neon->model != NULL)
        TfLiteModelDelete(neon->model);
    pico_unmap_file(&neon->file);
    free(neon);
}

static int create_interpreter(struct neon *neon, bool with_xnnpack) {
    if (neon->options != NULL)
        TfLiteInterpreterOptionsDelete(neon->options);
    neon->options = TfLiteInterpreterOptionsCreate();
    TfLiteInterpreterOptionsSetNumThreads(neon->options, neon->threads);
    TfLiteInterpreterOptionsSetErrorReporter(neon->options, on_report, neon);
    if (with_xnnpack)
        TfLiteInterpreterOptionsAddDelegate(neon->options, neon->xnnpack.delegate);
    neon->message[0] = '\0';
    neon->interpreter = TfLiteInterpreterCreate(neon->model, neon->options);
    return neon->interpreter != NULL;
}

static int start_interpreter(struct neon *neon, const struct pico_backend_options *options,
                             struct pico_error *error) {
    if (options->no_accelerator) {
        neon->not_used = "asked not to (--no-xnnpack)";
    } else {
        pico_xnnpack_create(&neon->xnnpack, neon->threads);
        if (neon->xnnpack.delegate == NULL) {
            neon->not_used = "it did not start: it recognised no CPU with NEON, or had no memory";
        } else if (!create_interpreter(neon, true)) {
            snprintf(neon->refused, sizeof neon->refused, "it refused the model: %.150s",
                     reported(neon));
            neon->not_used = neon->refused;
        }
    }
    if (neon->interpreter == NULL && !create_interpreter(neon, false)) {
        return pico_fail(error, PICO_BAD_INPUT, "TensorFlow Lite cannot run %s: %s", options->model,
                         reported(neon));
    }
    if (neon->not_used == NULL && neon->xnnpack.nodes_taken == 0)
        neon->not_used = "it supports no operator of this model";
    if (neon->not_used != NULL) {
        pico_note(options->notes,
                  "XNNPACK is not used: %s; the built-in kernels run instead, which are slower",
                  neon->not_used);
    }
    return PICO_OK;
}

static int open_model(struct neon *neon, const struct pico_backend_options *options,
                      struct pico_error *error) {
    int status = pico_map_file(&neon->file, options->model, "run a model", error);

    if (status == PICO_OK) {
        status =
            pico_model_check(options->model, neon->file.data, neon->file.size, &neon->facts, error);
    }
    if (status != PICO_OK)
        return status;
    if (neon->facts.inputs != 1 || neon->facts.outputs != 1) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s has %d inputs and %d outputs; a picture classifier has one of each",
                         options->model, neon->facts.inputs, neon->facts.outputs);
    }
    /* This runs the flatbuffers verifier over the whole structure. */
    neon->model =
        TfLiteModelCreateWithErrorReporter(neon->file.data, neon->file.size, on_report, neon);
    if (neon->model == NULL) {
        pico_fail(error, PICO_BAD_INPUT, "%s is a damaged TensorFlow Lite model: %s",
                  options->model, reported(neon));
        return pico_hint(error, "copy it again and compare its SHA-256 with the model card's");
    }
    status = start_interpreter(neon, options, error);
    if (status != PICO_OK)
        return status;
    neon->message[0] = '\0';
    if (TfLiteInterpreterAllocateTensors(neon->interpreter) != kTfLiteOk) {
        return pico_fail(error, PICO_BAD_INPUT, "TensorFlow Lite cannot prepare %s: %s",
                         options->model, reported(neon));
    }
    return PICO_OK;
}

static int type_of(const TfLiteTensor *tensor, enum pico_type *type) {
    switch (TfLiteTensorType(tensor)) {
    case kTfLiteFloat32:
        *type = PICO_FLOAT32;
        return PICO_OK;
    case kTfLiteInt8:
        *type = PICO_INT8;
        return PICO_OK;
    case kTfLiteUInt8:
        *type = PICO_UINT8;
        return PICO_OK;
    default:
        return PICO_BAD_INPUT;
    }
}

static int check_shapes(const struct neon *neon, const char *path, struct pico_error *error) {
    const TfLiteTensor *input = TfLiteInterpreterGetInputTensor(neon->interpreter, 0);
    const TfLiteTensor *output = TfLiteInterpreterGetOutputTensor(neon->interpreter, 0);
    enum pico_type type;

    if (type_of(input, &type) != PICO_OK || type_of(output, &type) != PICO_OK) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s takes %s and gives %s; float32, int8 and uint8 are supported", path,
                         TfLiteTypeGetName(TfLiteTensorType(input)),
                         TfLiteTypeGetName(TfLiteTensorType(output)));
    }
    if (TfLiteTensorNumDims(input) != 4 || TfLiteTensorDim(input, 0) != 1 ||
        TfLiteTensorDim(input, 1) < 1 || TfLiteTensorDim(input, 2) < 1) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s does not take one picture: its input is not 1 x height x width x "
                         "channels",
                         path);
    }
    int classes = 1;
    for (int i = 0; i < TfLiteTensorNumDims(output); i++)
        classes *= TfLiteTensorDim(output, i);
    if (TfLiteTensorNumDims(output) < 1 || classes < 1 ||
        TfLiteTensorDim(output, TfLiteTensorNumDims(output) - 1) != classes) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s is not a classifier: its output is not one row of scores", path);
    }
    return PICO_OK;
}

static int open_neon(void **state, const struct pico_backend_options *options,
                     struct pico_error *error) {
    struct neon *neon = calloc(1, sizeof *neon);

    if (neon == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to open %s", options->model);
    neon->threads = options->threads;
    int status = open_model(neon, options, error);
    if (status == PICO_OK)
        status = check_shapes(neon, options->model, error);
    if (status != PICO_OK) {
        close_neon(neon);
        return status;
    }
    *state = neon;
    return PICO_OK;
}

static void describe(void *state, struct pico_description *description) {
    const struct neon *neon = state;
    const struct pico_xnnpack *xnnpack = &neon->xnnpack;
    enum pico_type type = PICO_FLOAT32;
    bool used = neon->not_used == NULL;

    type_of(TfLiteInterpreterGetInputTensor(neon->interpreter, 0), &type);
    snprintf(description->precision, sizeof description->precision, "%s", pico_type_name(type));
    snprintf(description->runtime, sizeof description->runtime, "TensorFlow Lite %s",
             TfLiteVersion());
    if (used) {
        snprintf(description->line, sizeof description->line,
                 "XNNPACK runs %d of %d nodes in %d part%s, %d thread%s", xnnpack->nodes_taken,
                 xnnpack->nodes_before, xnnpack->partitions, xnnpack->partitions == 1 ? "" : "s",
                 neon->threads, neon->threads == 1 ? "" : "s");
    } else {
        snprintf(description->line, sizeof description->line, "WITHOUT XNNPACK: %.150s",
                 neon->not_used);
    }
    cJSON *facts = cJSON_CreateObject();
    cJSON *json = cJSON_AddObjectToObject(facts, "xnnpack");
    cJSON_AddBoolToObject(json, "used", used);
    cJSON_AddNumberToObject(json, "nodes", xnnpack->nodes_taken);
    cJSON_AddNumberToObject(json, "total_nodes", neon->facts.operators);
    cJSON_AddNumberToObject(json, "partitions", xnnpack->partitions);
    if (used)
        cJSON_AddNullToObject(json, "reason");
    else
        cJSON_AddStringToObject(json, "reason", neon->not_used);
    description->facts = facts;
}

static void get_input(void *state, struct pico_input_view *view) {
    const struct neon *neon = state;
    TfLiteTensor *tensor = TfLiteInterpreterGetInputTensor(neon->interpreter, 0);
    TfLiteQuantizationParams quantization = TfLiteTensorQuantizationParams(tensor);

    memset(view, 0, sizeof *view);
    view->data = TfLiteTensorData(tensor);
    type_of(tensor, &view->type);
    view->height = TfLiteTensorDim(tensor, 1);
    view->width = TfLiteTensorDim(tensor, 2);
    view->channels = TfLiteTensorDim(tensor, 3);
    view->row_bytes = (size_t)view->width * (size_t)view->channels * pico_type_size(view->type);
    view->scale = quantization.scale;
    view->zero_point = quantization.zero_point;
}

static int run(void *state, struct pico_error *error) {
    struct neon *neon = state;

    neon->message[0] = '\0';
    if (TfLiteInterpreterInvoke(neon->interpreter) != kTfLiteOk) {
        return pico_fail(error, PICO_FAILED, "TensorFlow Lite failed to run the model: %s",
                         reported(neon));
    }
    return PICO_OK;
}

static void get_output(void *state, struct pico_output_view *view) {
    const struct neon *neon = state;
    const TfLiteTensor *tensor = TfLiteInterpreterGetOutputTensor(neon->interpreter, 0);
    TfLiteQuantizationParams quantization = TfLiteTensorQuantizationParams(tensor);

    memset(view, 0, sizeof *view);
    view->data = TfLiteTensorData(tensor);
    type_of(tensor, &view->type);
    view->classes = TfLiteTensorDim(tensor, TfLiteTensorNumDims(tensor) - 1);
    view->group = view->classes;
    view->scale = quantization.scale;
    view->zero_point = quantization.zero_point;
}

const struct pico_backend pico_neon_backend = {
    .program = "neon-runner",
    .engine = "cpu",
    .extra_help = "  --no-xnnpack       use TensorFlow Lite's built-in kernels\n",
    .open = open_neon,
    .describe = describe,
    .get_input = get_input,
    .run = run,
    .get_output = get_output,
    .close = close_neon,
};
