/* neon-runner: one model, some pictures, the CPU. */
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "neon_backend.h"
#include "runner.h"

/* std::set_new_handler of <new>, by its name in the Itanium C++ ABI. */
void set_new_handler(void (*handler)(void)) __asm__("_ZSt15set_new_handlerPFvvE");

/* TensorFlow Lite's C functions let std::bad_alloc through, and a C program ends there by SIGABRT:
 * seen with an input of 48 MiB on a board with 14 MB left. */
static void no_memory(void) {
    static const char text[] = "neon-runner: error: not enough memory for the model's tensors and "
                               "packed weights\n";

    (void)!write(STDERR_FILENO, text, strlen(text));
    _exit(PICO_FAILED);
}

int main(int argc, char **argv) {
    set_new_handler(no_memory);
    return pico_runner_main(argc, argv, &pico_neon_backend);
}
