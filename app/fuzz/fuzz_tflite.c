/* .tflite files before TensorFlow Lite sees them. */
#include "fuzz.h"
#include "model_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pico_error error = {0};
    struct pico_model_facts facts;

    if (size == 0)
        return 0;
    uint8_t *exact = malloc(size);
    memcpy(exact, data, size);
    int status = pico_model_check("fuzz", exact, size, &facts, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK && facts.operators < 1)
        abort();
    free(exact);
    return 0;
}
