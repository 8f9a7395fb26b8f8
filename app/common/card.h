/* The model card `model.json`: the input that a model expects, and the meaning of its scores. */
#ifndef PICO_CARD_H
#define PICO_CARD_H

#include <stdbool.h>

#include <cjson/cJSON.h>

#include "error.h"

enum { PICO_CARD_IMAGES = 16, PICO_CARD_TOP1 = 8 };

enum pico_resize_rule {
    PICO_RESIZE_CENTER_CROP, /* the centre square of fraction x short side */
    PICO_RESIZE_STRETCH,     /* the whole picture */
};

struct pico_card_image {
    char path[192]; /* relative to the card's folder */
    char title[96];
    int expected[PICO_CARD_TOP1]; /* any of these classes is right as top-1 */
    int expected_count;           /* 0: the class is not known */
};

struct pico_card_file {
    bool present;
    char path[128]; /* relative to the card's folder */
    char sha256[65];
};

struct pico_card {
    char name[64];
    char title[96];
    int width, height, channels; /* of the input, pixels */
    bool bgr;                    /* the model was trained on BGR pictures */
    double mean[3], std[3];      /* (pixel - mean) / std, pixel 0...255 */
    enum pico_resize_rule rule;
    double fraction; /* of the short side; 1 for stretch */
    int classes;
    bool softmax; /* the model ends in logits: the runner applies softmax */
    double macs;  /* multiply-accumulates of one inference; 0 when not stated */
    char macs_source[160];
    char labels[128]; /* relative to the card's folder; "" when none */
    struct pico_card_file fp32, int8, npu;
    struct pico_card_image images[PICO_CARD_IMAGES];
    int image_count;
};

/* PICO_BAD_INPUT names the file and the key. */
int pico_card_read(struct pico_card *card, const char *path, struct pico_error *error);

/* The image of the card with this file name (folders ignored), or NULL. */
const struct pico_card_image *pico_card_image(const struct pico_card *card, const char *path);

#endif
