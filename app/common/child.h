/* Programs run one at a time, with what they print. */
#ifndef PICO_CHILD_H
#define PICO_CHILD_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct child_output {
    char *text; /* standard output, zero-terminated; free() it */
    size_t length;
    char complaint[400]; /* the last line with "error:" of standard error, or its last line */
    int status;          /* exit status, or 128 + signal */
    bool late;           /* killed because its time was over */
};

/* Run `arguments` (NULL-terminated, the first one is the program's path) to its end, or for at most
 * `limit_s` seconds (0: as long as it takes). Standard error goes through to ours. PICO_FAILED when
 * it cannot be started; how it ended is in `output`. PICO_INTERRUPTED when we were asked to stop:
 * the child is then stopped and waited for, and killed when it does not obey within seconds. */
int child_run(char *const *arguments, int limit_s, struct child_output *output,
              struct pico_error *error);
void child_output_free(struct child_output *output);

#endif
