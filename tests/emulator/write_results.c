/*
 * Writes results as npu-bench does, through its own code, as fast as it can, for ever; says after
 * each that it is on the card. The power is cut meanwhile.
 */
#include <stdio.h>
#include <string.h>

#include "atomic_file.h"
#include "error.h"

enum { BODY = 20000 };

int main(void) {
    static char text[BODY + 64];
    struct pico_error error;

    for (unsigned number = 0;; number++) {
        char path[256];
        int length = snprintf(text, sizeof text, "{\"number\":%u,\"body\":\"", number);
        memset(text + length, 'a' + (int)(number % 26), BODY);
        strcpy(text + length + BODY, "\"}\n");
        if (pico_write_numbered("/userdata/bench", "cut", text, strlen(text), path, sizeof path,
                                &error) != PICO_OK) {
            pico_error_print("write-results", &error);
            return 1;
        }
        printf("reported %s\n", path);
        fflush(stdout);
    }
}
