#include "stop.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "error.h"

static volatile sig_atomic_t requested;

static void on_signal(int number) {
    (void)number;
    if (requested)
        _exit(PICO_INTERRUPTED);
    requested = 1;
}

void pico_stop_install(void) {
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    /* No SA_RESTART: a read() or waitpid() in progress must return. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* The terminal or the SSH connection was closed. */
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    /* Writing to a closed pipe then fails with EPIPE, which is reported. */
    sigaction(SIGPIPE, &action, NULL);
}

bool pico_stop_requested(void) {
    return requested != 0;
}
