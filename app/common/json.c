#include "json.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "mapping.h"

int pico_json_parse(const char *name, const char *text, size_t length, cJSON **json,
                    struct pico_error *error) {
    const char *end = NULL;

    *json = cJSON_ParseWithLengthOpts(text, length, &end, false);
    if (*json != NULL)
        return PICO_OK;
    int line = 1;
    for (const char *at = text; at < text + length && at < end; at++)
        line += *at == '\n';
    return pico_fail(error, PICO_BAD_INPUT, "%s:%d: this is not JSON (or it ends too early)", name,
                     line);
}

int pico_json_read(const char *path, size_t limit, const char *purpose, cJSON **json,
                   struct pico_error *error) {
    struct pico_mapping file;
    int status = pico_map_file(&file, path, purpose, error);

    *json = NULL;
    if (status != PICO_OK)
        return status;
    if (file.size > limit) {
        status = pico_fail(error, PICO_BAD_INPUT, "%s has %zu bytes; at most %zu are expected",
                           path, file.size, limit);
    } else {
        status = pico_json_parse(path, (const char *)file.data, file.size, json, error);
    }
    pico_unmap_file(&file);
    return status;
}

const cJSON *pico_json_find(const cJSON *json, const char *path) {
    char key[64];

    while (json != NULL && *path != '\0') {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key)
            return NULL;
        memcpy(key, path, length);
        key[length] = '\0';
        json = cJSON_GetObjectItemCaseSensitive(json, key);
        path += length + (path[length] == '.');
    }
    return json;
}

int pico_json_string(const cJSON *json, const char *file, const char *path, char *value,
                     size_t size, struct pico_error *error) {
    const cJSON *item = pico_json_find(json, path);

    if (!cJSON_IsString(item))
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" must be a string", file, path);
    if (strlen(item->valuestring) >= size) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" is longer than %zu bytes", file, path,
                         size - 1);
    }
    strcpy(value, item->valuestring);
    return PICO_OK;
}

int pico_json_number(const cJSON *json, const char *file, const char *path, double low, double high,
                     double *value, struct pico_error *error) {
    const cJSON *item = pico_json_find(json, path);

    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high)) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" must be a number from %g to %g", file,
                         path, low, high);
    }
    *value = item->valuedouble;
    return PICO_OK;
}

int pico_json_int(const cJSON *json, const char *file, const char *path, int low, int high,
                  int *value, struct pico_error *error) {
    double number = 0;

    if (pico_json_number(json, file, path, low, high, &number, error) != PICO_OK ||
        number != floor(number)) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" must be a whole number from %d to %d",
                         file, path, low, high);
    }
    *value = (int)number;
    return PICO_OK;
}

void pico_json_add_number(cJSON *object, const char *key, double value) {
    if (isfinite(value))
        cJSON_AddNumberToObject(object, key, value);
    else
        cJSON_AddNullToObject(object, key);
}

static double to_nanosecond(double us) {
    return round(us * 1e3) / 1e3;
}

void pico_json_add_us(cJSON *object, const char *key, double value) {
    pico_json_add_number(object, key, to_nanosecond(value));
}

cJSON *pico_json_stats(const struct pico_samples *samples) {
    struct pico_stats stats;
    cJSON *object = cJSON_CreateObject();

    if (object == NULL || pico_stats_of(samples, &stats) != 0) {
        cJSON_Delete(object);
        return NULL;
    }
    cJSON_AddNumberToObject(object, "n", (double)stats.n);
    cJSON_AddNumberToObject(object, "failed", (double)stats.failed);
    pico_json_add_us(object, "min", stats.min);
    pico_json_add_us(object, "median", stats.median);
    pico_json_add_us(object, "p90", stats.p90);
    pico_json_add_us(object, "p99", stats.p99);
    pico_json_add_us(object, "max", stats.max);
    pico_json_add_us(object, "mean", stats.mean);
    pico_json_add_us(object, "stddev", stats.stddev);
    pico_json_add_number(object, "cv", stats.cv);
    cJSON *array = cJSON_AddArrayToObject(object, "samples");
    for (size_t i = 0; i < samples->count; i++) {
        double value = samples->values[i];
        cJSON_AddItemToArray(array, isfinite(value) ? cJSON_CreateNumber(to_nanosecond(value))
                                                    : cJSON_CreateNull());
    }
    return object;
}

cJSON *pico_json_notes(const struct pico_notes *notes) {
    cJSON *array = cJSON_CreateArray();

    for (int i = 0; i < notes->count; i++)
        cJSON_AddItemToArray(array, cJSON_CreateString(notes->text[i]));
    return array;
}

int pico_json_write(const cJSON *json, const char *path, struct pico_error *error) {
    char *text = cJSON_Print(json);

    if (text == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to write %s", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* the terminating zero is not written */
    int status = pico_write_file(path, text, length + 1, error);
    cJSON_free(text);
    return status;
}
