/* The includes of every unit test, in the order that cmocka requires. */
#ifndef PICO_CHECK_H
#define PICO_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"

#define assert_close(a, b, tolerance)                                                              \
    do {                                                                                           \
        double a_ = (a), b_ = (b);                                                                 \
        if (!(a_ - b_ <= (tolerance) && b_ - a_ <= (tolerance)))                                   \
            fail_msg("%s is %.17g, not %.17g", #a, a_, b_);                                        \
    } while (0)

#define assert_says(error, text)                                                                   \
    do {                                                                                           \
        if (strstr((error).message, (text)) == NULL)                                               \
            fail_msg("\"%s\" does not say \"%s\"", (error).message, (text));                       \
    } while (0)

/* A new empty folder; leave_folder removes it with its files. */
static inline char *enter_folder(void) {
    static char path[64];

    strcpy(path, "/tmp/pico-test.XXXXXX");
    assert_non_null(mkdtemp(path));
    assert_int_equal(chdir(path), 0);
    return path;
}

static inline void leave_folder(char *path) {
    char command[128];

    assert_int_equal(chdir("/"), 0);
    snprintf(command, sizeof command, "rm -rf %s", path);
    assert_int_equal(system(command), 0);
}

static inline void write_bytes(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void write_text(const char *path, const char *text) {
    write_bytes(path, text, strlen(text));
}

#endif
