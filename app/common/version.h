/* Versions that results state. */
#ifndef PICO_VERSION_H
#define PICO_VERSION_H

#ifndef PICO_VERSION
#define PICO_VERSION "0.1.0"
#endif

/* MAJOR.MINOR of app/bench/result.schema.json: readers refuse another major, ignore new fields. */
#define PICO_RESULT_SCHEMA "1.1"

#endif
