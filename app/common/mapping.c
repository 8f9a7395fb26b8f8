#include "mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int pico_map_file(struct pico_mapping *mapping, const char *path, const char *purpose,
                  struct pico_error *error) {
    struct stat facts;
    int status = PICO_OK;

    memset(mapping, 0, sizeof *mapping);
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    if (handle < 0) {
        return pico_fail(error, PICO_BAD_INPUT, "could not open %s, which is needed to %s: %s",
                         path, purpose, strerror(errno));
    }
    if (fstat(handle, &facts) != 0) {
        status =
            pico_fail(error, PICO_BAD_INPUT, "could not examine %s: %s", path, strerror(errno));
    } else if (!S_ISREG(facts.st_mode)) {
        status = pico_fail(error, PICO_BAD_INPUT, "%s is not a file, but one is needed to %s", path,
                           purpose);
    } else if (facts.st_size == 0) {
        status =
            pico_fail(error, PICO_BAD_INPUT, "%s is empty, but is needed to %s", path, purpose);
    } else if (facts.st_size > (off_t)(SIZE_MAX / 2)) {
        status = pico_fail(error, PICO_BAD_INPUT, "%s is too large to be mapped", path);
    }
    if (status == PICO_OK) {
        void *data = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, handle, 0);
        if (data == MAP_FAILED) {
            status =
                pico_fail(error, PICO_BAD_INPUT, "could not map %s: %s", path, strerror(errno));
        } else {
            mapping->data = data;
            mapping->size = (size_t)facts.st_size;
        }
    }
    close(handle);
    return status;
}

void pico_unmap_file(struct pico_mapping *mapping) {
    if (mapping->data != NULL)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    memset(mapping, 0, sizeof *mapping);
}
