#include "golden.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

enum { SCHEMA = 1, LIST_LIMIT = 1 << 20, ELEMENTS_MAX = 1 << 26 };

/* Elements of a shape, for a tensor of one byte each. */
static int read_shape(const cJSON *json, const char *file, const char *key, size_t *bytes,
                      struct pico_error *error) {
    const cJSON *shape = pico_json_find(json, key), *item;
    double elements = 1;

    cJSON_ArrayForEach(item, shape) {
        bool whole = cJSON_IsNumber(item) && item->valuedouble >= 1 &&
                     item->valuedouble == (double)item->valueint;
        elements *= whole ? item->valuedouble : 0;
    }
    if (!cJSON_IsArray(shape) || cJSON_GetArraySize(shape) < 2 || !(elements >= 1) ||
        elements > ELEMENTS_MAX) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s: \"%s\" must be the shape of a tensor, as [1, 1000]", file, key);
    }
    *bytes = (size_t)elements;
    return PICO_OK;
}

/* Names are joined to the folder and printed: no path, nothing hidden, no control character. */
static bool is_file_name(const char *name) {
    if (name[0] == '\0' || name[0] == '.')
        return false;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at == '/' || (unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    }
    return true;
}

static int read_name(const cJSON *json, const char *file, const char *key, char *name, size_t size,
                     struct pico_error *error) {
    int status = pico_json_string(json, file, key, name, size, error);

    if (status == PICO_OK && !is_file_name(name)) {
        status = pico_fail(error, PICO_BAD_INPUT,
                           "%s: \"%s\" is \"%.90s\"; it must be a name without folders", file, key,
                           name);
    }
    return status;
}

static int read_vectors(struct golden *golden, const cJSON *json, struct pico_error *error) {
    const cJSON *list = pico_json_find(json, "vectors"), *item;
    int status;

    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) < 1 ||
        cJSON_GetArraySize(list) > GOLDEN_VECTORS) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"vectors\" must be a list of 1 to %d",
                         golden->list, GOLDEN_VECTORS);
    }
    cJSON_ArrayForEach(item, list) {
        struct golden_vector *vector = &golden->vectors[golden->count++];
        if ((status = read_name(item, golden->list, "name", vector->name, sizeof vector->name,
                                error)) != 0 ||
            (status = read_name(item, golden->list, "input", vector->input, sizeof vector->input,
                                error)) != 0 ||
            (status = read_name(item, golden->list, "output", vector->output, sizeof vector->output,
                                error)) != 0)
            return status;
    }
    return PICO_OK;
}

static int read_list(struct golden *golden, const cJSON *json, struct pico_error *error) {
    const char *file = golden->list;
    int schema = 0, status;

    if ((status = pico_json_int(json, file, "schema", 0, 1000000, &schema, error)) != 0)
        return status;
    if (schema != SCHEMA) {
        pico_fail(error, PICO_BAD_INPUT, "%s: golden vectors of schema %d; this program reads %d",
                  file, schema, SCHEMA);
        return pico_hint(error, "convert the model again with the same version as the programs");
    }
    if ((status = read_name(json, file, "model", golden->model, sizeof golden->model, error)) !=
            0 ||
        (status = pico_json_string(json, file, "model_sha256", golden->model_sha256,
                                   sizeof golden->model_sha256, error)) != 0 ||
        (status = pico_json_string(json, file, "toolkit", golden->toolkit, sizeof golden->toolkit,
                                   error)) != 0 ||
        (status = pico_json_int(json, file, "tolerance_steps", 0, 255, &golden->tolerance_steps,
                                error)) != 0 ||
        (status = read_shape(json, file, "input_shape", &golden->input_bytes, error)) != 0 ||
        (status = read_shape(json, file, "output_shape", &golden->output_bytes, error)) != 0)
        return status;
    return read_vectors(golden, json, error);
}

int golden_parse(struct golden *golden, const char *text, size_t length, struct pico_error *error) {
    cJSON *json = NULL;
    int status = pico_json_parse(golden->list, text, length, &json, error);

    golden->count = 0;
    if (status == PICO_OK)
        status = read_list(golden, json, error);
    cJSON_Delete(json);
    return status;
}

int golden_read(struct golden *golden, const char *folder, struct pico_error *error) {
    struct pico_mapping file;

    memset(golden, 0, sizeof *golden);
    if (snprintf(golden->folder, sizeof golden->folder, "%s", folder) >=
            (int)sizeof golden->folder ||
        snprintf(golden->list, sizeof golden->list, "%s/golden.json", folder) >=
            (int)sizeof golden->list)
        return pico_fail(error, PICO_BAD_INPUT, "the name %.200s... is too long", folder);
    int status = pico_map_file(&file, golden->list, "have golden vectors", error);
    if (status != PICO_OK)
        return pico_hint(error, "invoke convert-models writes the folder golden beside model.rknn");
    if (file.size > LIST_LIMIT)
        status = pico_fail(error, PICO_BAD_INPUT, "%s has %zu bytes; at most %d are expected",
                           golden->list, file.size, LIST_LIMIT);
    else
        status = golden_parse(golden, (const char *)file.data, file.size, error);
    pico_unmap_file(&file);
    return status;
}

/* The hash of model.rknn on the card beside it; "" when it is not known. */
static void read_card_sha256(const char *model, char text[PICO_SHA256_TEXT]) {
    char path[PATH_MAX];
    const char *slash = strrchr(model, '/');
    struct pico_error ignored;
    cJSON *card = NULL;

    text[0] = '\0';
    if (snprintf(path, sizeof path, "%.*smodel.json", slash == NULL ? 0 : (int)(slash - model) + 1,
                 model) < (int)sizeof path &&
        pico_json_read(path, LIST_LIMIT, "compare", &card, &ignored) == PICO_OK)
        (void)pico_json_string(card, path, "files.npu.sha256", text, PICO_SHA256_TEXT, &ignored);
    cJSON_Delete(card);
}

int golden_check_model(const struct golden *golden, const char *model, const uint8_t *data,
                       size_t size, const struct rknn_file *file, struct pico_error *error) {
    char sha256[PICO_SHA256_TEXT], card[PICO_SHA256_TEXT];
    const char *again = "convert the model again and send both: invoke deploy --model NAME";

    if (strcmp(golden->toolkit, file->toolkit) != 0) {
        pico_fail(error, PICO_BAD_INPUT,
                  "%s has answers of rknn-toolkit2 %s, but %s was made by %s: they do not compare",
                  golden->list, golden->toolkit, model, file->toolkit);
        return pico_hint(error, "%s", again);
    }
    pico_sha256(data, size, sha256);
    if (strcmp(golden->model_sha256, sha256) == 0)
        return PICO_OK;
    read_card_sha256(model, card);
    if (strcmp(card, sha256) == 0) {
        pico_fail(error, PICO_BAD_INPUT,
                  "%s is of another model: its vectors belong to a file of %.64s with SHA-256 "
                  "%.12s..., and %s, as its card says, is %.12s...",
                  golden->list, golden->model, golden->model_sha256, model, sha256);
        return pico_hint(error, "name the folder golden beside the model");
    }
    if (strcmp(card, golden->model_sha256) == 0) {
        pico_fail(error, PICO_BAD_INPUT,
                  "%s has changed since it was converted: its SHA-256 is %.12s..., its card and %s "
                  "say %.12s...",
                  model, sha256, golden->list, card);
        return pico_hint(error,
                         "the file was damaged or replaced on the card: invoke deploy "
                         "--model %.64s sends it again",
                         golden->model);
    }
    pico_fail(error, PICO_BAD_INPUT,
              "%s and %s do not belong together: SHA-256 %.12s..., and the vectors are of %.12s... "
              "(%.64s)",
              model, golden->list, sha256, golden->model_sha256, golden->model);
    return pico_hint(error, "%s", again);
}

static int open_one(const struct golden *golden, const char *name, size_t size,
                    struct pico_mapping *file, struct pico_error *error) {
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", golden->folder, name) >= (int)sizeof path)
        return pico_fail(error, PICO_BAD_INPUT, "the name %.200s... is too long", golden->folder);
    int status = pico_map_file(file, path, "compare the NPU's answers", error);
    if (status == PICO_OK && file->size != size)
        status = pico_fail(error, PICO_BAD_INPUT,
                           "%s has %zu bytes, but %zu are in a vector of this model", path,
                           file->size, size);
    return status == PICO_OK
               ? PICO_OK
               : pico_hint(error,
                           "send the model with its vectors again: invoke deploy --model "
                           "%.64s",
                           golden->model);
}

int golden_open(const struct golden *golden, int index, struct pico_mapping *input,
                struct pico_mapping *output, struct pico_error *error) {
    const struct golden_vector *vector = &golden->vectors[index];

    memset(input, 0, sizeof *input);
    memset(output, 0, sizeof *output);
    int status = open_one(golden, vector->input, golden->input_bytes, input, error);
    if (status == PICO_OK)
        status = open_one(golden, vector->output, golden->output_bytes, output, error);
    if (status != PICO_OK)
        golden_close(input, output);
    return status;
}

void golden_close(struct pico_mapping *input, struct pico_mapping *output) {
    pico_unmap_file(input);
    pico_unmap_file(output);
}
