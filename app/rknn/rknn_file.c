#include "rknn_file.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define CONVERT_AGAIN "convert it again: invoke convert-models (target_platform rv1103)"

static uint64_t u64(const uint8_t *bytes) {
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static int damaged(const char *path, const char *how, struct pico_error *error) {
    pico_fail(error, PICO_BAD_INPUT, "%s is truncated or damaged: %s", path, how);
    return pico_hint(error, "copy it again and compare its SHA-256 with the model card's");
}

static int find_trailer(const char *path, const uint8_t *data, size_t size, struct rknn_file *file,
                        const uint8_t **json, size_t *json_size, struct pico_error *error) {
    if (size < 4 || memcmp(data, "RKNN", 4) != 0) {
        pico_fail(error, PICO_BAD_INPUT, "%s is not an RKNN model", path);
        if (size >= 8 && memcmp(data + 4, "TFL3", 4) == 0)
            pico_hint(error, "this is a TensorFlow Lite model: run it with neon-runner");
        return error->status;
    }
    if (size < RKNN_FILE_BODY + 8)
        return damaged(path, "it is shorter than its header", error);
    uint64_t container = u64(data + 8);
    if (container != RKNN_FILE_CONTAINER) {
        pico_fail(error, PICO_BAD_INPUT,
                  "%s has container version %#" PRIx64 "; the runtime of RV1103 and RV1106 reads "
                  "%#x",
                  path, container, RKNN_FILE_CONTAINER);
        return pico_hint(error, CONVERT_AGAIN);
    }
    file->body_size = u64(data + 16);
    if (file->body_size > size - RKNN_FILE_BODY - 8)
        return damaged(path, "its body ends beyond the file", error);
    size_t at = RKNN_FILE_BODY + (size_t)file->body_size;
    uint64_t length = u64(data + at);
    if (length > size - at - 8)
        return damaged(path, "its description ends beyond the file", error);
    *json = data + at + 8;
    *json_size = (size_t)length;
    while (*json_size > 0 && (*json)[*json_size - 1] == '\0')
        (*json_size)--;
    return PICO_OK;
}

static int read_platforms(const char *path, const cJSON *json, struct rknn_file *file,
                          struct pico_error *error) {
    const cJSON *list = pico_json_find(json, "target_platform"), *item;
    bool fit = false, twin = false;

    /* A string in old files, a list in new ones. */
    const cJSON *only = cJSON_IsString(list) ? list : NULL;
    for (item = only != NULL ? only : (list != NULL ? list->child : NULL); item != NULL;
         item = only != NULL ? NULL : item->next) {
        if (!cJSON_IsString(item))
            continue;
        size_t used = strlen(file->platforms);
        snprintf(file->platforms + used, sizeof file->platforms - used, "%s%.24s",
                 used > 0 ? ", " : "", item->valuestring);
        fit |= strcmp(item->valuestring, "rv1103") == 0 || strcmp(item->valuestring, "rv1106") == 0;
        twin |=
            strcmp(item->valuestring, "rv1103b") == 0 || strcmp(item->valuestring, "rv1106b") == 0;
    }
    if (fit)
        return PICO_OK;
    pico_fail(error, PICO_BAD_INPUT, "%s is made for %s; this NPU is an rv1103's or rv1106's%s",
              path, file->platforms[0] != '\0' ? file->platforms : "no platform at all",
              twin ? " (the b variants have another one)" : "");
    return pico_hint(error, CONVERT_AGAIN);
}

static const cJSON *tensor_by_id(const cJSON *tensors, int id) {
    const cJSON *tensor;
    int number = 0;

    cJSON_ArrayForEach(tensor, tensors) {
        const cJSON *own = pico_json_find(tensor, "tensor_id");
        if ((cJSON_IsNumber(own) ? own->valueint : number) == id)
            return tensor;
        number++;
    }
    return NULL;
}

static int read_dims(const char *path, const cJSON *sizes, const char *kind,
                     struct rknn_file_tensor *tensor, struct pico_error *error) {
    const cJSON *item;

    if (cJSON_GetArraySize(sizes) < 1 || cJSON_GetArraySize(sizes) > RKNN_FILE_DIMS)
        return damaged(path, "a tensor has no shape", error);
    cJSON_ArrayForEach(item, sizes) {
        double value = cJSON_IsNumber(item) ? item->valuedouble : 0;
        if (!(value >= 1 && value <= 1 << 24)) {
            pico_fail(error, PICO_BAD_INPUT, "%s: the %s \"%s\" has a dynamic shape", path, kind,
                      tensor->name);
            return pico_hint(error, "the runtime of this chip refuses it; convert the model with "
                                    "a fixed shape");
        }
        tensor->dims[tensor->dim_count++] = (int)value;
    }
    return PICO_OK;
}

static int read_tensor(const char *path, const cJSON *json, const char *kind,
                       struct rknn_file_tensor *tensor, struct pico_error *error) {
    const cJSON *edge, *found = NULL;
    int count = 0;

    cJSON_ArrayForEach(edge, pico_json_find(json, "graph")) {
        const cJSON *left = pico_json_find(edge, "left");
        const cJSON *id = pico_json_find(edge, "right_tensor_id");
        if (!cJSON_IsString(left) || strcmp(left->valuestring, kind) != 0 || !cJSON_IsNumber(id))
            continue;
        count++;
        found = tensor_by_id(pico_json_find(json, "norm_tensor"), id->valueint);
    }
    if (count != 1) {
        return pico_fail(error, PICO_BAD_INPUT, "%s has %d %ss; a picture classifier has one", path,
                         count, kind);
    }
    const cJSON *name = pico_json_find(found, "url");
    const cJSON *type = pico_json_find(found, "dtype.vx_type");
    if (!cJSON_IsString(type))
        return damaged(path, "a tensor has no type", error);
    snprintf(tensor->name, sizeof tensor->name, "%.255s",
             cJSON_IsString(name) ? name->valuestring : "");
    snprintf(tensor->type, sizeof tensor->type, "%.15s", type->valuestring);
    return read_dims(path, pico_json_find(found, "size"), kind, tensor, error);
}

int rknn_file_check(const char *path, const uint8_t *data, size_t size, struct rknn_file *file,
                    struct pico_error *error) {
    const uint8_t *text = NULL;
    size_t length = 0;
    cJSON *json = NULL;

    memset(file, 0, sizeof *file);
    int status = find_trailer(path, data, size, file, &text, &length, error);
    if (status != PICO_OK)
        return status;
    if (pico_json_parse(path, (const char *)text, length, &json, error) != PICO_OK)
        return damaged(path, "its description cannot be read", error);
    const cJSON *version = pico_json_find(json, "version");
    snprintf(file->toolkit, sizeof file->toolkit, "%.*s",
             cJSON_IsString(version) ? (int)strcspn(version->valuestring, " (") : 0,
             cJSON_IsString(version) ? version->valuestring : "");
    if ((status = read_platforms(path, json, file, error)) == PICO_OK &&
        (status = read_tensor(path, json, "input", &file->input, error)) == PICO_OK)
        status = read_tensor(path, json, "output", &file->output, error);
    if (status == PICO_OK && (cJSON_IsTrue(pico_json_find(json, "dynamic_input")) ||
                              cJSON_IsTrue(pico_json_find(json, "dynamic_shape"))))
        status = pico_fail(error, PICO_BAD_INPUT,
                           "%s has dynamic shapes, which the runtime of this chip refuses", path);
    cJSON_Delete(json);
    return status;
}

/* The first three numbers of a version, wherever in the text they begin. */
static bool version_of(const char *text, int numbers[3]) {
    text += strcspn(text, "0123456789");
    return sscanf(text, "%6d.%6d.%6d", &numbers[0], &numbers[1], &numbers[2]) == 3;
}

int rknn_file_check_version(const char *path, const struct rknn_file *file, const char *runtime,
                            struct pico_error *error) {
    int model[3], ours[3];
    const char *build = strstr(runtime, " (");

    if (!version_of(file->toolkit, model) || !version_of(runtime, ours))
        return PICO_OK;
    for (int i = 0; i < 3; i++) {
        if (model[i] < ours[i])
            return PICO_OK;
        if (model[i] > ours[i]) {
            pico_fail(error, PICO_BAD_INPUT,
                      "%s was made by toolkit %s, newer than the runtime %.*s", path, file->toolkit,
                      build != NULL ? (int)(build - runtime) : (int)strlen(runtime), runtime);
            return pico_hint(error, "convert it with rknn-toolkit2==%d.%d.%d", ours[0], ours[1],
                             ours[2]);
        }
    }
    return PICO_OK;
}
