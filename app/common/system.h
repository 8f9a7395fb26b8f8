/* Facts about the machine and its state, read from /proc and /sys below a root; see
 * board_files.h. */
#ifndef PICO_SYSTEM_H
#define PICO_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>

#include <cjson/cJSON.h>

#include "board_files.h"
#include "error.h"
#include "facts.h"

/* First line of a small file without its end; false when it cannot be read. */
bool pico_read_line(const char *root, enum pico_board_file of, char *text, size_t size);

/* The value after "KEY<blanks>:<blanks>" in a file of such lines; false when it is not there. */
bool pico_read_key(const char *root, enum pico_board_file of, const char *key, char *value,
                   size_t size);

/* A value of /proc/meminfo or /proc/self/status in KiB ("MemAvailable", "VmHWM"); -1 if absent. */
long pico_memory_kib(const char *root, enum pico_board_file of, const char *key);

/* Readers of single facts. The first line as text; its number times the factor; the KiB of a line
 * "NAME: 12 kB"; the text behind "NAME:". */
cJSON *pico_fact_line(const char *root, const struct pico_fact *fact);
cJSON *pico_fact_number(const char *root, const struct pico_fact *fact);
cJSON *pico_fact_kib(const char *root, const struct pico_fact *fact);
cJSON *pico_fact_key(const char *root, const struct pico_fact *fact);

/* Contiguous memory (CMA), which the NPU's buffers come from; -1: not known.
 *
 * The vendor's kernel has CONFIG_CMA_INACTIVE: reserved pages never reach the page allocator, so
 * that CmaFree is 0 for ever and MemTotal is without them. A Pico Max with nothing running shows
 * CmaTotal 67584, CmaAllocated 12, CmaReleased 67572, CmaFree 0. Free is CmaReleased where there
 * is that line, else CmaFree; a CmaFree of 0 alone tells nothing. */
struct pico_cma {
    long total_kib, free_kib;
    bool apart; /* MemTotal does not contain it */
};
void pico_read_cma(const char *root, struct pico_cma *cma);

/* QEMU: the kernel was started with the word pico.emulated=1 by our emulator, or the ARM program
 * finds a foreign processor in /proc/cpuinfo (user-mode QEMU). With a root of its own, the times
 * are not those of the board that is described. `why` says which; "" if not. */
bool pico_is_emulated(const char *root, char *why, size_t size);

/* Is a process of this name running? (rkipc, the vendor's camera program, uses NPU and memory.) */
bool pico_process_runs(const char *root, const char *name);

/* Facts that do not change: kernel, CPU, image release, memory, NPU driver. No result needs them:
 * see facts.h for when and how they are read. */
cJSON *pico_system_facts(const char *root, struct pico_notes *notes);

/* Facts that change while a benchmark runs: governor, clocks, memory, load, temperature; those
 * of the NPU's driver after measuring only. Takes about 15 ms, in which the CPU's clock is
 * measured. */
enum pico_when { PICO_BEFORE, PICO_AFTER };
cJSON *pico_system_state(const char *root, enum pico_when when, struct pico_notes *notes);

/* Now, as "2026-11-23T14:06:21Z" or compact as "20261123T140621Z". The year tells whether the
 * clock was ever set. */
void pico_utc_text(char *text, size_t size, bool compact);
bool pico_clock_is_set(void);

#endif
