/* The stages of one run, which every program times and names alike. */
#ifndef PICO_STAGES_H
#define PICO_STAGES_H

/* In order. */
enum pico_stage {
    PICO_DECODE,    /* picture bytes in memory -> RGB rows */
    PICO_PREPARE,   /* crop, resize, normalise, write the input */
    PICO_INFERENCE, /* the backend's run() */
    PICO_POST,      /* top-k, softmax */
    PICO_TOTAL,     /* all four and what lies between them */
    PICO_STAGES,
};

extern const char *const pico_stage_names[PICO_STAGES];

#endif
