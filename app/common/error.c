#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int pico_fail(struct pico_error *error, int status, const char *format, ...) {
    va_list arguments;

    error->status = status;
    error->hint[0] = '\0';
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

int pico_hint(struct pico_error *error, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error->hint, sizeof error->hint, format, arguments);
    va_end(arguments);
    return error->status;
}

void pico_error_print(const char *program, const struct pico_error *error) {
    if (error->status == PICO_INTERRUPTED) {
        fprintf(stderr, "%s: interrupted\n", program);
        return;
    }
    fprintf(stderr, "%s: error: %s\n", program, error->message);
    if (error->hint[0] != '\0')
        fprintf(stderr, "  hint: %s\n", error->hint);
}

void pico_note(struct pico_notes *notes, const char *format, ...) {
    char text[sizeof notes->text[0]];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (int i = 0; i < notes->count; i++) {
        if (strcmp(notes->text[i], text) == 0)
            return;
    }
    if (notes->count == PICO_NOTES_MAX) {
        notes->dropped++;
        return;
    }
    memcpy(notes->text[notes->count++], text, sizeof text);
}
