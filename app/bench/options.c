#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "options.h"

enum {
    OPT_MODELS = PICO_OPT_OWN,
    OPT_OUTPUT,
    OPT_JSON,
    OPT_MODEL,
    OPT_ENGINE,
    OPT_PROGRAMS,
    OPT_QUICK,
    OPT_MLPERF_STYLE,
    OPT_KEEP_GOVERNOR,
    OPT_ROUNDS,
    OPT_PICTURES,
};

static const struct option long_options[] = {
    {"models", required_argument, NULL, OPT_MODELS},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"json", required_argument, NULL, OPT_JSON},
    {"model", required_argument, NULL, OPT_MODEL},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"programs", required_argument, NULL, OPT_PROGRAMS},
    {"quick", no_argument, NULL, OPT_QUICK},
    {"mlperf-style", no_argument, NULL, OPT_MLPERF_STYLE},
    {"keep-governor", no_argument, NULL, OPT_KEEP_GOVERNOR},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"pictures", required_argument, NULL, OPT_PICTURES},
    PICO_SHARED_OPTIONS,
    {NULL, 0, NULL, 0},
};

static void print_help(const void *user) {
    (void)user;
    printf("usage: npu-bench [options]\n"
           "\n"
           "Run the installed models on the CPU and, where there is one, the NPU; print the\n"
           "times of every run and stage, check the answers, keep the result.\n"
           "\n"
           "  --quick            every picture once, as a check; too few runs for statistics\n"
           "  --mlperf-style     single stream, 5 rounds of at least 10 s for each picture; see\n"
           "                     median and p90. In the style of MLPerf, not an MLPerf result\n"
           "  --models DIR       (/usr/share/npu-models)\n"
           "  --output DIR       folder of results (/userdata/bench)\n"
           "  --json FILE|-      write the result there too; - is stdout, with nothing else on it\n"
           "  --model NAME       only this model\n"
           "  --engine cpu|npu   only this engine\n"
           "  --pictures N       only the first N pictures of each model (all)\n"
           "  --rounds N         how often each configuration is started (3)\n"
           "  --warmup-runs N    runs before timing, for each picture and round (1)\n"
           "  --min-runs N       minimum number of timed runs, for each picture and round (10)\n"
           "  --min-secs S       and minimum time, in seconds (1)\n"
           "  --max-secs S       maximum time, in seconds (60)\n"
           "  --threads N        (1)\n"
           "  --keep-governor    do not set the CPU governor to performance\n"
           "  --programs DIR     where neon-runner and npu-runner are (beside "
           "npu-bench)\n" PICO_HELP_ROOT "  --version, --help\n"
           "\n"
           "Exit: 0 done, 1 a run failed or an answer is wrong, 2 bad input, 130 interrupted.\n");
}

static int set_option(void *user, int option, const char *value, struct pico_error *error) {
    struct bench_options *options = user;

    switch (option) {
    case OPT_MODELS:
        options->models = value;
        return PICO_OK;
    case OPT_OUTPUT:
        options->output = value;
        return PICO_OK;
    case OPT_JSON:
        options->json = value;
        return PICO_OK;
    case OPT_MODEL:
        options->only_model = value;
        return PICO_OK;
    case OPT_ENGINE:
        if (strcmp(value, "cpu") != 0 && strcmp(value, "npu") != 0) {
            return pico_fail(error, PICO_BAD_INPUT, "--engine %s: allowed are cpu and npu", value);
        }
        options->only_engine = value;
        return PICO_OK;
    case OPT_PROGRAMS:
        options->programs = value;
        return PICO_OK;
    case OPT_QUICK:
        options->quick = true;
        options->rounds = 1;
        options->effort.warmup_runs = 0;
        options->effort.min_runs = 1;
        options->effort.min_secs = 0;
        return PICO_OK;
    case OPT_MLPERF_STYLE:
        /* MLPerf Tiny's rules: single stream, 5 loops of at least 10 s, 5 to 10 warm-up runs. */
        options->mlperf_style = true;
        options->rounds = 5;
        options->effort.warmup_runs = 5;
        options->effort.min_runs = 1;
        options->effort.min_secs = 10;
        return PICO_OK;
    case OPT_KEEP_GOVERNOR:
        options->keep_governor = true;
        return PICO_OK;
    case OPT_ROUNDS:
        return pico_option_int("rounds", value, 1, 1000, &options->rounds, error);
    case OPT_PICTURES:
    default:
        return pico_option_int("pictures", value, 1, PICO_CARD_IMAGES, &options->pictures, error);
    }
}

int bench_options_parse(struct bench_options *options, int argc, char **argv,
                        struct pico_error *error) {
    *options = (struct bench_options){
        .models = "/usr/share/npu-models",
        .output = "/userdata/bench",
        .root = "",
        .rounds = 3,
        .effort = {.warmup_runs = 1, .min_runs = 10, .threads = 1, .min_secs = 1, .max_secs = 60},
    };
    const struct pico_option_reader reader = {
        .program = "npu-bench",
        .table = long_options,
        .effort = &options->effort,
        .root = &options->root,
        .user = options,
        .set = set_option,
        .print_help = print_help,
    };
    return pico_options_read(&reader, argc, argv, error);
}
