#include "npu_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "layouts.h"
#include "mapping.h"
#include "npu_session.h"
#include "preflight.h"
#include "probe.h"
#include "select.h"
#include "verify.h"

static void close_npu(void *state) {
    npu_session_close(state);
    free(state);
}

#ifdef PICO_RKNN_SIMULATED
static const bool simulator_is_linked = true;
#else
static const bool simulator_is_linked = false;
#endif

/* Only the version tells the simulator from the real runtime. */
static bool is_simulated(const struct npu_session *session) {
    return strncmp(session->version.api_version, "SIMULATED", 9) == 0;
}

/* The simulator on a recorded board runs the code that a board runs, and fails where its memory
 * or its driver would not do. */
static int check_machine(const char *root, struct pico_error *error) {
    if (simulator_is_linked && root[0] == '\0')
        return npu_refuse_simulator(root, error);
    if (simulator_is_linked)
        setenv(RKNN_SIM_ROOT, root, 1);
    return npu_preflight(root, error);
}

static int read_golden(struct golden **golden, const char *folder, struct pico_error *error) {
    *golden = malloc(sizeof **golden);
    if (*golden == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to read %s", folder);
    return golden_read(*golden, folder, error);
}

static int check_golden(const struct pico_backend_options *options, const struct pico_mapping *file,
                        const struct rknn_file *facts, struct pico_error *error) {
    struct golden *golden;
    int status = read_golden(&golden, options->golden, error);

    if (status == PICO_OK)
        status = golden_check_model(golden, options->model, file->data, file->size, facts, error);
    free(golden);
    return status;
}

static int open_session(struct npu_session *session, const struct pico_backend_options *options,
                        struct pico_error *error) {
    struct pico_mapping file;
    int status = pico_map_file(&file, options->model, "run a model on the NPU", error);

    if (status != PICO_OK)
        return status;
    status = rknn_file_check(options->model, file.data, file.size, &session->file, error);
    /* Before it is opened: what the runtime does with a damaged model is not known. */
    if (status == PICO_OK && options->golden != NULL)
        status = check_golden(options, &file, &session->file, error);
    /* The runtime opens the file by its path: this mapping is no longer needed. */
    pico_unmap_file(&file);
    if (status == PICO_OK)
        status = check_machine(options->root, error);
    if (status == PICO_OK)
        status = npu_session_open(session, options->model, error);
    /* A runtime that was named may be older: it is being tried, or it was found right. */
    if (status == PICO_OK && options->runtime == NULL)
        status = rknn_file_check_version(options->model, &session->file,
                                         session->version.api_version, error);
    return status;
}

static int open_npu(void **state, const struct pico_backend_options *options,
                    struct pico_error *error) {
    struct npu_session *session = calloc(1, sizeof *session);

    if (session == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to open %s", options->model);
    session->root = options->root;
    session->runtime = options->runtime;
    session->any_output = options->any_output;
    int status = open_session(session, options, error);
    if (status != PICO_OK) {
        close_npu(session);
        return status;
    }
    if (is_simulated(session))
        pico_note(options->notes, "SIMULATED NPU: a functional simulator; its times mean nothing");
    if (options->threads > 1)
        pico_note(options->notes, "--threads has no effect on the NPU");
    *state = session;
    return PICO_OK;
}

static void add_attr(cJSON *object, const char *key, const rknn_tensor_attr *attr) {
    cJSON *json = cJSON_AddObjectToObject(object, key);
    cJSON *dims = cJSON_AddArrayToObject(json, "dims");

    for (uint32_t i = 0; i < attr->n_dims && i < RKNN_MAX_DIMS; i++)
        cJSON_AddItemToArray(dims, cJSON_CreateNumber(attr->dims[i]));
    cJSON_AddStringToObject(json, "name", attr->name);
    cJSON_AddStringToObject(json, "type", npu_type_name(attr->type));
    cJSON_AddNumberToObject(json, "layout", attr->fmt);
    cJSON_AddNumberToObject(json, "scale", (double)attr->scale);
    cJSON_AddNumberToObject(json, "zero_point", attr->zp);
    cJSON_AddNumberToObject(json, "w_stride", attr->w_stride);
    cJSON_AddNumberToObject(json, "bytes", (double)npu_buffer_size(attr));
}

static void describe(void *state, struct pico_description *description) {
    const struct npu_session *session = state;
    cJSON *facts = cJSON_CreateObject();

    description->simulated = is_simulated(session);
    snprintf(description->precision, sizeof description->precision, "%s", session->file.input.type);
    snprintf(description->runtime, sizeof description->runtime, "RKNN runtime %.70s",
             session->version.api_version);
    snprintf(description->line, sizeof description->line,
             "%szero-copy, driver %.50s, model of toolkit %s for %.50s",
             description->simulated ? "SIMULATED NPU, " : "", session->version.drv_version,
             session->file.toolkit, session->file.platforms);
    cJSON_AddStringToObject(facts, "api_version", session->version.api_version);
    cJSON_AddStringToObject(facts, "driver_version", session->version.drv_version);
    cJSON_AddStringToObject(facts, "toolkit", session->file.toolkit);
    cJSON_AddStringToObject(facts, "platforms", session->file.platforms);
    cJSON_AddStringToObject(facts, "custom_string", session->custom.string);
    cJSON *memory = cJSON_AddObjectToObject(facts, "memory");
    cJSON_AddNumberToObject(memory, "weight_bytes", session->memory.total_weight_size);
    cJSON_AddNumberToObject(memory, "internal_bytes", session->memory.total_internal_size);
    cJSON_AddNumberToObject(memory, "dma_bytes", (double)session->memory.total_dma_allocated_size);
    add_attr(facts, "input", &session->input_attr);
    add_attr(facts, "output", &session->output_attr);
    description->facts = facts;
}

static void late_facts(void *state, cJSON *facts, struct pico_notes *notes) {
    const struct npu_session *session = state;

    npu_machine_facts(session->root, cJSON_AddObjectToObject(facts, "rknpu"), notes);
    cJSON_AddItemToObject(
        facts, "runtimes",
        npu_runtime_facts(session->root, session->runtime, &session->version, notes));
}

static void get_input(void *state, struct pico_input_view *view) {
    const struct npu_session *session = state;

    *view = session->input;
}

static int run(void *state, struct pico_error *error) {
    return npu_session_run(state, error);
}

static void get_output(void *state, struct pico_output_view *view) {
    const struct npu_session *session = state;

    *view = session->output;
}

static int compare_layouts(void *state, char *line, size_t size, struct pico_error *error) {
    return npu_session_compare_layouts(state, line, size, error);
}

static int verify(void *state, const char *folder, int limit, bool print, cJSON **json,
                  struct pico_error *error) {
    const struct npu_session *session = state;
    struct npu_verification *result = malloc(sizeof *result);
    struct golden *golden;
    int status = read_golden(&golden, folder, error);

    if (status == PICO_OK && result == NULL)
        status = pico_fail(error, PICO_FAILED, "not enough memory to compare answers");
    if (status == PICO_OK)
        status = npu_verify(state, golden, limit, result, error);
    if (status == PICO_OK && print)
        npu_verification_print(result, golden);
    if (status == PICO_OK) {
        *json = npu_verification_json(result, golden);
        cJSON_AddBoolToObject(*json, "simulated", is_simulated(session));
        cJSON_AddStringToObject(*json, "runtime", session->version.api_version);
    }
    free(golden);
    free(result);
    return status;
}

const struct pico_backend pico_npu_backend = {
    .program = "npu-runner",
    .engine = "npu",
    .extra_help =
        "  --compare-layouts  prove that native and NHWC outputs hold the same scores\n"
        "  --verify DIR       instead of pictures: are the answers to the golden vectors\n"
        "                     in DIR those of the PC, byte by byte?\n"
        "  --vectors N        only the first N golden vectors (all)\n"
        "  --probe            let each installed NPU runtime verify the model, or all that are\n"
        "                     installed, for at most --max-secs; keep the right one\n"
        "  --runtime VERSION  run this NPU runtime of those that are installed\n",
    .select = npu_select,
    .open = open_npu,
    .describe = describe,
    .late_facts = late_facts,
    .get_input = get_input,
    .run = run,
    .get_output = get_output,
    .compare_layouts = compare_layouts,
    .verify = verify,
    .probe = npu_probe,
    .close = close_npu,
};
