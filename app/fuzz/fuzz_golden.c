/* golden.json: the list of golden vectors. */
#include "fuzz.h"
#include "golden.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct golden golden = {.folder = "fuzz", .list = "fuzz/golden.json"};
    struct pico_error error = {0};

    int status = golden_parse(&golden, (const char *)data, size, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK) {
        if (golden.count < 1 || golden.count > GOLDEN_VECTORS || golden.input_bytes < 1 ||
            golden.output_bytes < 1)
            abort();
        for (int i = 0; i < golden.count; i++) {
            const struct golden_vector *vector = &golden.vectors[i];
            if (strchr(vector->input, '/') != NULL || strcmp(vector->output, "..") == 0)
                abort();
        }
    }
    return 0;
}
