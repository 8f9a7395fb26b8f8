/* The files of a board that our programs touch: one list, and the one way to open them.
 *
 * A file of a driver is not harmless because it can be read: /proc/rknpu/volt ends in a kernel
 * oops. No other C file names anything under /proc, /sys, /dev or /etc (a test looks), so a new
 * reader begins with a row here that says why the file is safe. */
#ifndef PICO_BOARD_FILES_H
#define PICO_BOARD_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Loads the NPU's driver; named in remedies, opened by none of our programs. */
#define PICO_DRIVER_SCRIPT "/etc/init.d/S21appinit"

enum pico_board_file {
    PICO_CMDLINE,
    PICO_CPUINFO,
    PICO_MEMINFO,
    PICO_LOADAVG,
    PICO_UPTIME,
    PICO_KERNEL_VERSION,
    PICO_MOUNTS,
    PICO_MODULES,
    PICO_STAT,
    PICO_PARTITIONS,
    PICO_TCP,
    PICO_TCP6,
    PICO_HOSTNAME,
    PICO_KERNEL_LOG,
    PICO_DEVICE_TREE,
    PICO_DEVICE_TREE_MODEL,
    PICO_DEVICE_TREE_COMPATIBLE,
    PICO_RKNPU_VERSION,
    PICO_RKNPU_FREQ,
    PICO_RKNPU_LOAD,
    PICO_RKNPU_POWER,
    PICO_GOVERNOR,
    PICO_CPU_FREQ,
    PICO_CPU_ALLOWED,
    PICO_CPU_HIGHEST,
    PICO_NPU_CLOCK,
    PICO_TEMPERATURE,
    PICO_RELEASE,
    PICO_DEPLOYED,
    PICO_PASSWD,
    PICO_WPA_SUPPLICANT,
    PICO_NETWORKS,
    PICO_NPU_RUNTIME,
    PICO_PROC,
    PICO_RKNPU_DEVICE,
    PICO_SELF_EXE,
    PICO_SELF_OOM,
    PICO_SELF_STATUS,
    PICO_RKNPU_VOLT,
    PICO_BOARD_FILES /* how many */
};

enum pico_board_use {
    PICO_USE_TEXT,   /* facts of the board, safe for everyone to read */
    PICO_USE_FOLDER, /* listed */
    PICO_USE_NODE,   /* a device node: asked whether it is there, opened by the runtime alone */
    PICO_USE_SELF,   /* of the calling process, never of a recorded board: its root is "" */
    PICO_USE_NEVER,  /* forbidden */
};

struct pico_board_entry {
    const char *path;
    enum pico_board_use use;
    const char *why; /* why it is safe, or what it does */
};

/* Indexed by enum pico_board_file. */
extern const struct pico_board_entry pico_board_files[PICO_BOARD_FILES];

/* ROOT and the file's path. False with errno EPERM for a forbidden file or one that is not in the
 * list, ENAMETOOLONG when it does not fit. `root` is "" on a real machine; tests and recorded
 * boards name the folder that holds proc, sys, dev and etc. */
bool pico_board_path(const char *root, enum pico_board_file file, char *path, size_t size);

/* Open for reading; NULL with errno, which is EPERM as above. */
FILE *pico_board_open(const char *root, enum pico_board_file file);

#endif
