#include "card.h"

#include <string.h>

#include "json.h"

enum { CARD_LIMIT = 1 << 20, CARD_MAJOR = 1 };

static int read_triple(const cJSON *json, const char *path, const char *key, double low,
                       double *values, struct pico_error *error) {
    const cJSON *array = pico_json_find(json, key);

    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) != 3)
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" must be three numbers", path, key);
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(array, i);
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= 1e6)) {
            return pico_fail(error, PICO_BAD_INPUT, "%s: \"%s\" number %d must be from %g to 1e6",
                             path, key, i + 1, low);
        }
        values[i] = item->valuedouble;
    }
    return PICO_OK;
}

static int read_input(struct pico_card *card, const cJSON *json, const char *path,
                      struct pico_error *error) {
    char word[32];
    int status;

    if ((status = pico_json_int(json, path, "input.width", 1, 8192, &card->width, error)) != 0 ||
        (status = pico_json_int(json, path, "input.height", 1, 8192, &card->height, error)) != 0 ||
        (status = pico_json_int(json, path, "input.channels", 1, 4, &card->channels, error)) != 0 ||
        (status = read_triple(json, path, "input.mean", -1e6, card->mean, error)) != 0 ||
        (status = read_triple(json, path, "input.std", 1e-6, card->std, error)) != 0 ||
        (status = pico_json_string(json, path, "input.color", word, sizeof word, error)) != 0)
        return status;
    card->bgr = strcmp(word, "BGR") == 0;
    if (!card->bgr && strcmp(word, "RGB") != 0) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"input.color\" is \"%s\"; allowed: RGB, BGR",
                         path, word);
    }
    status = pico_json_string(json, path, "input.resize.rule", word, sizeof word, error);
    if (status != PICO_OK)
        return status;
    card->fraction = 1;
    if (strcmp(word, "center-crop") == 0) {
        card->rule = PICO_RESIZE_CENTER_CROP;
        status = pico_json_number(json, path, "input.resize.fraction", 0.01, 1.0, &card->fraction,
                                  error);
        if (status != PICO_OK)
            return status;
    } else if (strcmp(word, "stretch") == 0) {
        card->rule = PICO_RESIZE_STRETCH;
    } else {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s: \"input.resize.rule\" is \"%s\"; allowed: center-crop, stretch", path,
                         word);
    }
    status = pico_json_string(json, path, "input.resize.filter", word, sizeof word, error);
    if (status == PICO_OK && strcmp(word, "bilinear") != 0) {
        return pico_fail(error, PICO_BAD_INPUT,
                         "%s: \"input.resize.filter\" is \"%s\"; allowed: bilinear", path, word);
    }
    return status;
}

static int read_file(struct pico_card_file *file, const cJSON *json, const char *path,
                     const char *key, struct pico_error *error) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(pico_json_find(json, "files"), key);

    if (item == NULL || cJSON_IsNull(item))
        return PICO_OK;
    file->present = true;
    int status = pico_json_string(item, path, "path", file->path, sizeof file->path, error);
    if (status == PICO_OK)
        status = pico_json_string(item, path, "sha256", file->sha256, sizeof file->sha256, error);
    return status;
}

static int read_image(struct pico_card_image *image, const cJSON *json, const char *path,
                      int classes, struct pico_error *error) {
    const cJSON *title = cJSON_GetObjectItemCaseSensitive(json, "title");
    const cJSON *top1 = cJSON_GetObjectItemCaseSensitive(json, "top1");
    int status = pico_json_string(json, path, "path", image->path, sizeof image->path, error);

    if (status != PICO_OK)
        return status;
    if (cJSON_IsString(title))
        strncpy(image->title, title->valuestring, sizeof image->title - 1);
    if (cJSON_GetArraySize(top1) > PICO_CARD_TOP1) {
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"top1\" of %s has more than %d classes", path,
                         image->path, PICO_CARD_TOP1);
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, top1) {
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble >= classes) {
            return pico_fail(error, PICO_BAD_INPUT,
                             "%s: \"top1\" of %s must hold classes from 0 to %d", path, image->path,
                             classes - 1);
        }
        image->expected[image->expected_count++] = item->valueint;
    }
    return PICO_OK;
}

static int read_images(struct pico_card *card, const cJSON *json, const char *path,
                       struct pico_error *error) {
    const cJSON *item;

    cJSON_ArrayForEach(item, pico_json_find(json, "images")) {
        if (card->image_count == PICO_CARD_IMAGES) {
            return pico_fail(error, PICO_BAD_INPUT, "%s: more than %d images", path,
                             PICO_CARD_IMAGES);
        }
        int status = read_image(&card->images[card->image_count], item, path, card->classes, error);
        if (status != PICO_OK)
            return status;
        card->image_count++;
    }
    return PICO_OK;
}

static int read_card(struct pico_card *card, const cJSON *json, const char *path,
                     struct pico_error *error) {
    const cJSON *item;
    int major = 0, status;

    if ((status = pico_json_int(json, path, "schema", 0, 1000000, &major, error)) != 0)
        return status;
    if (major != CARD_MAJOR) {
        pico_fail(error, PICO_BAD_INPUT, "%s: model card of schema %d; this program reads %d", path,
                  major, CARD_MAJOR);
        return pico_hint(error, "convert the model again with the same version as the programs");
    }
    if ((status = pico_json_string(json, path, "name", card->name, sizeof card->name, error)) !=
            0 ||
        (status = read_input(card, json, path, error)) != 0 ||
        (status = pico_json_int(json, path, "classes", 1, 1000000, &card->classes, error)) != 0)
        return status;
    item = pico_json_find(json, "title");
    strncpy(card->title, cJSON_IsString(item) ? item->valuestring : card->name,
            sizeof card->title - 1);
    item = pico_json_find(json, "softmax");
    if (!cJSON_IsBool(item))
        return pico_fail(error, PICO_BAD_INPUT, "%s: \"softmax\" must be true or false", path);
    card->softmax = cJSON_IsTrue(item);
    item = pico_json_find(json, "macs");
    if (item != NULL && !cJSON_IsNull(item)) {
        if ((status = pico_json_number(json, path, "macs", 0, 1e15, &card->macs, error)) != 0 ||
            (status = pico_json_string(json, path, "macs_source", card->macs_source,
                                       sizeof card->macs_source, error)) != 0)
            return status;
    }
    item = pico_json_find(json, "labels");
    if (item != NULL && !cJSON_IsNull(item)) {
        status = pico_json_string(json, path, "labels", card->labels, sizeof card->labels, error);
        if (status != PICO_OK)
            return status;
    }
    if ((status = read_file(&card->fp32, json, path, "fp32", error)) != 0 ||
        (status = read_file(&card->int8, json, path, "int8", error)) != 0 ||
        (status = read_file(&card->npu, json, path, "npu", error)) != 0)
        return status;
    return read_images(card, json, path, error);
}

int pico_card_read(struct pico_card *card, const char *path, struct pico_error *error) {
    cJSON *json = NULL;

    memset(card, 0, sizeof *card);
    int status = pico_json_read(path, CARD_LIMIT, "know what the model expects", &json, error);
    if (status == PICO_OK)
        status = read_card(card, json, path, error);
    cJSON_Delete(json);
    return status;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

const struct pico_card_image *pico_card_image(const struct pico_card *card, const char *path) {
    for (int i = 0; i < card->image_count; i++) {
        if (strcmp(base_name(card->images[i].path), base_name(path)) == 0)
            return &card->images[i];
    }
    return NULL;
}
