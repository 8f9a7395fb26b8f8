/* Errors: what failed, what it was needed for, and what to do next. */
#ifndef PICO_ERROR_H
#define PICO_ERROR_H

/* Exit statuses of every program here; functions return one of them. */
enum pico_status {
    PICO_OK = 0,
    PICO_FAILED = 1,    /* a run failed or its result is wrong */
    PICO_BAD_INPUT = 2, /* the user can fix it */
    PICO_INTERRUPTED = 130,
};

struct pico_error {
    int status;
    char message[640];
    char hint[320];
};

/* Fill `error` and return `status`, so that callers can write `return pico_fail(...)`. */
int pico_fail(struct pico_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Add what to do next to an error that is already filled; returns its status. */
int pico_hint(struct pico_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "PROGRAM: error: MESSAGE" and the hint, to stderr; nothing for an interruption. */
void pico_error_print(const char *program, const struct pico_error *error);

/* Warnings, which go to stderr and into the result. Those that do not fit are only counted. */
enum { PICO_NOTES_MAX = 24 };

struct pico_notes {
    int count;
    int dropped;
    char text[PICO_NOTES_MAX][320];
};

/* A text that is already there is not added again. */
void pico_note(struct pico_notes *notes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
