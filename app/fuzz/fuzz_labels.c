/* Label files: every counted name can be read. */
#include "fuzz.h"
#include "labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pico_error error = {0};
    struct pico_labels labels;
    char path[32];
    size_t total = 0;
    int fd;

    fuzz_file(data, size, &fd, path);
    int status = pico_labels_read(&labels, path, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK) {
        for (int i = -1; i <= labels.count; i++)
            total += strlen(pico_labels_name(&labels, i));
        pico_labels_free(&labels);
    }
    close(fd);
    return total > size + 64 ? abort(), 1 : 0;
}
