/* npu-doctor: what this board is, what is wrong with it and what helps, in one file that can be
 * posted. */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <cjson/cJSON.h>

#include "error.h"

struct doctor_options {
    const char *root;   /* "" on a board */
    const char *output; /* a file, "-" for standard output; NULL: a new one in `bench` */
    const char *bench;  /* folder of results, the root in front */
};

/* gather.c: the document without findings: "facts", whole "texts", the newest "result", and what
 * could not be read. NULL without memory. */
cJSON *doctor_gather(const struct doctor_options *options);

/* board.c: facts, some of which a child process reads (facts.h). */
struct pico_fact;
cJSON *doctor_soc(const char *root, const struct pico_fact *fact);
cJSON *doctor_device(const char *root, const struct pico_fact *fact);
cJSON *doctor_clocks(const char *root, const struct pico_fact *fact);
cJSON *doctor_services(const char *root, const struct pico_fact *fact);
cJSON *doctor_kernel_log(const char *root, const struct pico_fact *fact);
cJSON *doctor_programs(const char *root);
cJSON *doctor_models(const char *root);
/* The name, size and content of the newest result in a folder; null if there is none. */
cJSON *doctor_newest_result(const char *folder);

/* findings.c: add "findings" and "known_wrong" to a gathered document; how many problems. */
int doctor_judge(cJSON *document);

/* names.c: the names and numbers of this board that no form gives away. */
struct doctor_mask;
void doctor_learn_names(const char *root, struct doctor_mask *mask);

#endif
