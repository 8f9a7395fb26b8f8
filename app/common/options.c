#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "version.h"

int pico_option_int(const char *name, const char *text, int low, int high, int *value,
                    struct pico_error *error) {
    char *end;

    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < low || number > high) {
        return pico_fail(error, PICO_BAD_INPUT, "--%s %s: must be a whole number from %d to %d",
                         name, text, low, high);
    }
    *value = (int)number;
    return PICO_OK;
}

static int seconds(const char *name, const char *text, double *value, struct pico_error *error) {
    char *end;
    double number = strtod(text, &end);

    if (end == text || *end != '\0' || !(number >= 0 && number <= 1e6)) {
        return pico_fail(error, PICO_BAD_INPUT, "--%s %s: must be seconds from 0 to 1000000", name,
                         text);
    }
    *value = number;
    return PICO_OK;
}

static int set_root(const char **root, const char *value, struct pico_error *error) {
    struct stat about;

    if (stat(value, &about) != 0 || !S_ISDIR(about.st_mode))
        return pico_fail(error, PICO_BAD_INPUT, "--root %s: there is no such folder", value);
    *root = strcmp(value, "/") == 0 ? "" : value;
    return PICO_OK;
}

void pico_effort_add(cJSON *object, const struct pico_effort *effort) {
    cJSON_AddNumberToObject(object, "warmup_runs", effort->warmup_runs);
    cJSON_AddNumberToObject(object, "min_runs", effort->min_runs);
    cJSON_AddNumberToObject(object, "min_secs", effort->min_secs);
    cJSON_AddNumberToObject(object, "max_secs", effort->max_secs);
    cJSON_AddNumberToObject(object, "threads", effort->threads);
}

static int set(const struct pico_option_reader *reader, int option, const char *value,
               struct pico_error *error) {
    struct pico_effort *effort = reader->effort;

    switch (option) {
    case PICO_OPT_WARMUP_RUNS:
        return pico_option_int("warmup-runs", value, 0, 1000000, &effort->warmup_runs, error);
    case PICO_OPT_MIN_RUNS:
        return pico_option_int("min-runs", value, 1, 1000000, &effort->min_runs, error);
    case PICO_OPT_MIN_SECS:
        return seconds("min-secs", value, &effort->min_secs, error);
    case PICO_OPT_MAX_SECS:
        return seconds("max-secs", value, &effort->max_secs, error);
    case PICO_OPT_THREADS:
        return pico_option_int("threads", value, 1, 16, &effort->threads, error);
    case PICO_OPT_ROOT:
        return set_root(reader->root, value, error);
    case PICO_OPT_VERSION:
        printf("%s %s\n", reader->program, PICO_VERSION);
        return -1;
    case PICO_OPT_HELP:
        reader->print_help(reader->user);
        return -1;
    default:
        return reader->set(reader->user, option, value, error);
    }
}

static int refused(const struct pico_option_reader *reader, struct pico_error *error) {
    return pico_hint(error, "%s --help lists the options", reader->program);
}

int pico_options_read(const struct pico_option_reader *reader, int argc, char **argv,
                      struct pico_error *error) {
    const struct pico_effort *effort = reader->effort;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", reader->table, NULL)) != -1) {
        if (option == ':' || option == '?') {
            pico_fail(error, PICO_BAD_INPUT,
                      option == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
            return refused(reader, error);
        }
        int status = set(reader, option, optarg, error);
        if (status != PICO_OK)
            return status;
    }
    if (optind < argc) {
        pico_fail(error, PICO_BAD_INPUT, "unexpected argument %s", argv[optind]);
        return refused(reader, error);
    }
    if (effort->max_secs < effort->min_secs) {
        return pico_fail(error, PICO_BAD_INPUT, "--max-secs %g is less than --min-secs %g",
                         effort->max_secs, effort->min_secs);
    }
    return PICO_OK;
}
