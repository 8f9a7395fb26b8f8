/* Facts about the machine and its state, read from /proc and /sys below a root; see
 * board_files.h. */
#ifndef PICO_SYSTEM_H
#define PICO_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

#include "board_files.h"

/* First line of a small file without its end; false when it cannot be read. */
bool pico_read_line(const char *root, enum pico_board_file of, char *text, size_t size);

/* A value of /proc/meminfo or /proc/self/status in KiB ("MemAvailable", "VmHWM"); -1 if absent. */
long pico_memory_kib(const char *root, enum pico_board_file of, const char *key);

/* QEMU: the kernel was started with the word pico.emulated=1 by our emulator, or the ARM program
 * finds a foreign processor in /proc/cpuinfo (user-mode QEMU). With a root of its own, the times
 * are not those of the board that is described. `why` says which; "" if not. */
bool pico_is_emulated(const char *root, char *why, size_t size);

/* Is a process of this name running? (rkipc, the vendor's camera program, uses NPU and memory.) */
bool pico_process_runs(const char *root, const char *name);

/* Facts that do not change: kernel, CPU, image release, memory, NPU driver. */
cJSON *pico_system_facts(const char *root);

/* Facts that change while a benchmark runs: governor, clocks, memory, load, temperature. Takes
 * about 15 ms, in which the CPU's clock is measured. */
cJSON *pico_system_state(const char *root);

/* Now, as "2026-11-23T14:06:21Z" or compact as "20261123T140621Z". The year tells whether the
 * clock was ever set. */
void pico_utc_text(char *text, size_t size, bool compact);
bool pico_clock_is_set(void);

#endif
