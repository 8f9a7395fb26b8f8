/* cJSON with errors that name the file and the key. */
#ifndef PICO_JSON_H
#define PICO_JSON_H

#include <stddef.h>

#include <cjson/cJSON.h>

#include "error.h"
#include "stats.h"

/* Read a JSON file of at most `limit` bytes. Syntax errors are PICO_BAD_INPUT with FILE:LINE. */
int pico_json_read(const char *path, size_t limit, const char *purpose, cJSON **json,
                   struct pico_error *error);

/* Parse text that is no file; `name` stands for it in errors. */
int pico_json_parse(const char *name, const char *text, size_t length, cJSON **json,
                    struct pico_error *error);

/* A member by dotted path ("input.resize.rule"), or NULL. */
const cJSON *pico_json_find(const cJSON *json, const char *path);

/* Members that must be there; PICO_BAD_INPUT says which file lacks which key of which type.
 * A string is copied into `value` (refused when it does not fit). */
int pico_json_string(const cJSON *json, const char *file, const char *path, char *value,
                     size_t size, struct pico_error *error);
int pico_json_number(const cJSON *json, const char *file, const char *path, double low, double high,
                     double *value, struct pico_error *error);
int pico_json_int(const cJSON *json, const char *file, const char *path, int low, int high,
                  int *value, struct pico_error *error);

/* Add a number; NaN and infinities become null, which JSON has no other word for. */
void pico_json_add_number(cJSON *object, const char *key, double value);
/* Microseconds, rounded to the nanosecond: more digits are noise of the conversion. */
void pico_json_add_us(cJSON *object, const char *key, double value);

/* {"n":..,"failed":..,"min":..,...,"samples":[..]}; NULL without memory. */
cJSON *pico_json_stats(const struct pico_samples *samples);

/* The list as an array of strings. */
cJSON *pico_json_notes(const struct pico_notes *notes);

/* Serialise and write with pico_write_file. */
int pico_json_write(const cJSON *json, const char *path, struct pico_error *error);

#endif
