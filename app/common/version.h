/* Versions that results state. */
#ifndef PICO_VERSION_H
#define PICO_VERSION_H

/* The version of the whole project; pyproject.toml and the packages in package/ have the same. */
#define PICO_VERSION "0.1.0"

/* MAJOR.MINOR of app/bench/result.schema.json: readers refuse another major, ignore new fields. */
#define PICO_RESULT_SCHEMA "1.2"

#endif
