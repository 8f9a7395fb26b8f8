/* Command lines of the runners and of npu-bench: one word per line; the first byte selects the
 * program. */
#include <getopt.h>

#include "bench.h"
#include "fuzz.h"
#include "runner.h"

enum { WORDS = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *engines[] = {"cpu", "npu"};
    struct pico_error error = {0};
    char *words[WORDS + 2] = {(char *)(uintptr_t)"program"};
    int count = 1, status;

    if (size < 1)
        return 0;
    char *text = calloc(size, 1);
    memcpy(text, data + 1, size - 1);
    for (char *word = text; word != NULL && count <= WORDS; count++) {
        words[count] = word;
        if ((word = strchr(word, '\n')) != NULL)
            *word++ = '\0';
    }
    optind = 0; /* getopt begins anew */
    if (data[0] % 3 == 2) {
        struct bench_options options;
        status = bench_options_parse(&options, count, words, &error);
        if (status == PICO_OK &&
            (options.rounds < 1 || options.effort.max_secs < options.effort.min_secs))
            abort();
    } else {
        struct pico_backend backend = {
            .program = "program", .engine = engines[data[0] % 3], .extra_help = ""};
        struct pico_options options;
        status = pico_options_parse(&options, count, words, &backend, &error);
        if (status == PICO_OK &&
            (options.model == NULL || options.image_count < 1 ||
             options.image_count > PICO_IMAGES_MAX || options.effort.min_runs < 1 ||
             options.effort.max_secs < options.effort.min_secs || options.top_k < 1))
            abort();
    }
    if (status != -1) /* --help and --version end the program */
        fuzz_check(status, &error);
    free(text);
    return 0;
}
