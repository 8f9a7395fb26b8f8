/* Ctrl-C, SIGTERM and SIGHUP: finish the current step, clean up, exit 130. */
#ifndef PICO_STOP_H
#define PICO_STOP_H

#include <stdbool.h>

/* The first signal only sets a flag; a second one ends the program at once. */
void pico_stop_install(void);
bool pico_stop_requested(void);

#endif
