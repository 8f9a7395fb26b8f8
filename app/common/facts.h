/* Facts about a board that no result needs, each read by a process that may die of it.
 *
 * A driver's file can end in a kernel oops, which kills who reads it, or never answer. A child
 * reads one fact after the other and hands each over at once: what it dies of becomes null with a
 * note, and another child goes on behind it. Called after the measurement: an oops may leave the
 * driver's locks taken. */
#ifndef PICO_FACTS_H
#define PICO_FACTS_H

#include <cjson/cJSON.h>

#include "board_files.h"
#include "error.h"

enum { PICO_FACT_PATIENCE_MS = 10000 }; /* for one fact */

struct pico_fact {
    const char *key; /* in the object */
    /* A new item; NULL when the fact is not there to read. */
    cJSON *(*read)(const char *root, const struct pico_fact *fact);
    enum pico_board_file file;
    const char *name; /* of a line in the file */
    double factor;    /* of a number */
};

/* Add all of `facts` to `object`, in their order; null for what could not be read. */
void pico_facts_add(cJSON *object, const char *root, const struct pico_fact *facts, int count,
                    struct pico_notes *notes);

#endif
