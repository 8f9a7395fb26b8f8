/* Label files: one class per line, first line = class 0. */
#ifndef PICO_LABELS_H
#define PICO_LABELS_H

#include "error.h"

struct pico_labels {
    int count;
    char **names; /* UTF-8, without the line's end */
    char *text;   /* what the names point into */
};

/* PICO_BAD_INPUT: absent, no text, over 1 MB, or an empty line in the middle (it would shift all
 * later classes). */
int pico_labels_read(struct pico_labels *labels, const char *path, struct pico_error *error);

/* The label of a class, or "" when there are none. */
const char *pico_labels_name(const struct pico_labels *labels, int index);

void pico_labels_free(struct pico_labels *labels);

#endif
