/* A monotonic clock, and the measured clock rate of the CPU. */
#ifndef PICO_CLOCK_H
#define PICO_CLOCK_H

/* Microseconds of CLOCK_MONOTONIC. */
double pico_now_us(void);

/* CPU clock in MHz, measured: the time of a loop of dependent one-cycle additions (ARM DDI 0464:
 * an ADD whose result feeds the next one issues every cycle on a Cortex-A7). The best of
 * `rounds` is taken, since an interruption can only make a round longer.
 * In an emulator the figure is the emulator's speed, not a clock. */
double pico_measure_cpu_mhz(int rounds);

#endif
