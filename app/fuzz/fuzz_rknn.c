/* .rknn files: header, trailer, and the comparison of versions. */
#include "fuzz.h"
#include "rknn_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pico_error error = {0};
    struct rknn_file file;

    uint8_t *copy = malloc(size + 1); /* + 1: malloc(0) may be NULL */
    memcpy(copy, data, size);
    uint8_t *exact = size > 0 ? realloc(copy, size) : copy;
    int status = rknn_file_check("fuzz", exact, size, &file, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK) {
        if (file.input.dim_count < 1 || file.output.dim_count < 1 ||
            file.body_size > size - RKNN_FILE_BODY)
            abort();
        fuzz_check(rknn_file_check_version("fuzz", &file, "2.3.2 (429f97ae6b@2025)", &error),
                   &error);
    }
    free(exact);
    return 0;
}
