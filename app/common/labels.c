#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "mapping.h"

enum { LABEL_FILE_LIMIT = 1 << 20 };

static int split(struct pico_labels *labels, const char *path, size_t size,
                 struct pico_error *error) {
    int lines = 1;

    for (size_t i = 0; i < size; i++) {
        if (labels->text[i] == '\0') {
            return pico_fail(error, PICO_BAD_INPUT, "%s:%d: a zero byte: this is not a text file",
                             path, lines);
        }
        lines += labels->text[i] == '\n';
    }
    labels->names = calloc((size_t)lines, sizeof *labels->names);
    if (labels->names == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory for %d labels", lines);
    int empty_line = 0;
    char *line = labels->text;
    for (int number = 1; line != NULL; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r')
            line[--length] = '\0';
        if (length == 0) {
            empty_line = empty_line == 0 ? number : empty_line;
        } else if (empty_line != 0) {
            pico_fail(error, PICO_BAD_INPUT,
                      "%s:%d: an empty line between labels would shift every class after it", path,
                      empty_line);
            return pico_hint(error, "write one label per line, the first line for class 0");
        } else {
            labels->names[labels->count++] = line;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return PICO_OK;
}

int pico_labels_read(struct pico_labels *labels, const char *path, struct pico_error *error) {
    struct pico_mapping file;

    memset(labels, 0, sizeof *labels);
    int status = pico_map_file(&file, path, "name the classes", error);
    if (status != PICO_OK)
        return status;
    if (file.size > LABEL_FILE_LIMIT) {
        status = pico_fail(error, PICO_BAD_INPUT, "%s has %zu bytes, too many for a label file",
                           path, file.size);
    } else if ((labels->text = malloc(file.size + 1)) == NULL) {
        status = pico_fail(error, PICO_FAILED, "not enough memory to read %s", path);
    } else {
        memcpy(labels->text, file.data, file.size);
        labels->text[file.size] = '\0';
        status = split(labels, path, file.size, error);
    }
    pico_unmap_file(&file);
    if (status != PICO_OK)
        pico_labels_free(labels);
    return status;
}

const char *pico_labels_name(const struct pico_labels *labels, int index) {
    return index >= 0 && index < labels->count ? labels->names[index] : "";
}

void pico_labels_free(struct pico_labels *labels) {
    free(labels->names);
    free(labels->text);
    memset(labels, 0, sizeof *labels);
}
