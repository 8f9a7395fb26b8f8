#include "sim.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mapping.h"

enum { SIDECAR_LIMIT = 1 << 20, SIDECAR_SCHEMA = 1 };

/* The conversion writes our own facts into the model's custom string, which begins like this. */
static const char custom_mark[] = "{\"pico_image\":";

void sim_error(const char *format, ...) {
    va_list arguments;

    fputs("E RKNN (SIMULATED): ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static int read_quantities(const cJSON *json, const char *path, const char *kind,
                           struct sim_tensor *tensor, struct pico_error *error) {
    const cJSON *side = pico_json_find(json, kind);
    double scale = 0;
    int status = pico_json_number(side, path, "scale", 0, 1e9, &scale, error);

    if (status == PICO_OK)
        status = pico_json_int(side, path, "zero_point", -32768, 32767, &tensor->zero_point, error);
    tensor->scale = (float)scale;
    return status;
}

static int read_triple(const cJSON *array, const char *path, double *values, double low,
                       struct pico_error *error) {
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(array, i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= low))
            return pico_fail(error, PICO_BAD_INPUT, "%s: input.mean and input.std are needed",
                             path);
        values[i] = item->valuedouble;
    }
    return PICO_OK;
}

static int read_sidecar(struct sim_model *model, const char *path, struct pico_error *error) {
    cJSON *json = NULL;
    int schema = 0;
    int status = pico_json_read(path, SIDECAR_LIMIT, "simulate the NPU", &json, error);

    if (status == PICO_OK)
        status =
            pico_json_int(json, path, "schema", SIDECAR_SCHEMA, SIDECAR_SCHEMA, &schema, error);
    if (status == PICO_OK)
        status = read_quantities(json, path, "input", &model->input, error);
    if (status == PICO_OK)
        status = read_quantities(json, path, "output", &model->output, error);
    if (status == PICO_OK)
        status = read_triple(pico_json_find(json, "input.mean"), path, model->mean, -1e9, error);
    if (status == PICO_OK)
        status = read_triple(pico_json_find(json, "input.std"), path, model->std, 1e-9, error);
    cJSON_Delete(json);
    return status;
}

static void read_custom_string(struct sim_model *model, const struct pico_mapping *file) {
    const uint8_t *at = memmem(file->data, file->size, custom_mark, sizeof custom_mark - 1);

    for (size_t i = 0; at != NULL && i < sizeof model->custom - 1; i++) {
        if (at + i >= file->data + file->size || at[i] == '\0')
            return;
        model->custom[i] = (char)at[i];
    }
}

static size_t elements(const struct rknn_file_tensor *tensor) {
    size_t count = 1;

    for (int i = 0; i < tensor->dim_count; i++)
        count *= (size_t)tensor->dims[i];
    return count;
}

static int open_parts(struct sim_model *model, const char *path, struct pico_error *error) {
    char other[PATH_MAX];
    struct pico_mapping file;
    const char *slash = strrchr(path, '/');
    int status = pico_map_file(&file, path, "simulate the NPU", error);

    if (status != PICO_OK)
        return status;
    status = rknn_file_check(path, file.data, file.size, &model->file, error);
    if (status == PICO_OK)
        read_custom_string(model, &file);
    pico_unmap_file(&file);
    if (status != PICO_OK)
        return status;
    model->input.file = model->file.input;
    model->output.file = model->file.output;
    model->score_count = elements(&model->output.file);
    if (model->input.file.dim_count != 4 || model->input.file.dims[0] != 1 ||
        model->output.file.dims[0] != 1 || model->score_count > 1 << 22)
        return pico_fail(error, PICO_BAD_INPUT, "%s: only one picture at a time is simulated",
                         path);
    if (snprintf(other, sizeof other, "%s.json", path) >= (int)sizeof other)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", path);
    status = read_sidecar(model, other, error);
    if (status != PICO_OK)
        return status;
    model->scores = calloc(model->score_count, sizeof *model->scores);
    if (model->scores == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory");
    snprintf(other, sizeof other, "%.*sint8.tflite", slash == NULL ? 0 : (int)(slash - path) + 1,
             path);
    model->engine = sim_engine_open(other, model, error);
    return model->engine != NULL ? PICO_OK : error->status;
}

struct sim_model *sim_model_open(const char *path) {
    struct sim_model *model = calloc(1, sizeof *model);
    struct pico_error error;

    if (model == NULL)
        return NULL;
    if (open_parts(model, path, &error) != PICO_OK) {
        sim_error("%s", error.message);
        sim_model_close(model);
        return NULL;
    }
    return model;
}

void sim_model_close(struct sim_model *model) {
    if (model->engine != NULL)
        sim_engine_close(model->engine);
    free(model->scores);
    free(model);
}
