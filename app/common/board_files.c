#include "board_files.h"

#include <errno.h>
#include <limits.h>

#define CPUFREQ "/sys/devices/system/cpu/cpu0/cpufreq/"
#define KERNEL "of the kernel itself, the same on every Linux"
#define OWN "of the calling process"

const struct pico_board_entry pico_board_files[PICO_BOARD_FILES] = {
    [PICO_CMDLINE] = {"/proc/cmdline", PICO_USE_TEXT, KERNEL},
    [PICO_CPUINFO] = {"/proc/cpuinfo", PICO_USE_TEXT, KERNEL},
    [PICO_MEMINFO] = {"/proc/meminfo", PICO_USE_TEXT, KERNEL},
    [PICO_LOADAVG] = {"/proc/loadavg", PICO_USE_TEXT, KERNEL},
    [PICO_UPTIME] = {"/proc/uptime", PICO_USE_TEXT, KERNEL},
    [PICO_KERNEL_VERSION] = {"/proc/version", PICO_USE_TEXT, KERNEL},
    [PICO_MOUNTS] = {"/proc/mounts", PICO_USE_TEXT, KERNEL},
    [PICO_MODULES] = {"/proc/modules", PICO_USE_TEXT, KERNEL},
    [PICO_STAT] = {"/proc/stat", PICO_USE_TEXT, KERNEL},
    [PICO_PARTITIONS] = {"/proc/partitions", PICO_USE_TEXT, KERNEL},
    [PICO_TCP] = {"/proc/net/tcp", PICO_USE_TEXT, KERNEL},
    [PICO_TCP6] = {"/proc/net/tcp6", PICO_USE_TEXT, KERNEL},
    /* Read through klogctl(), which takes nothing out of it; of a recorded board, dmesg.txt. */
    [PICO_KERNEL_LOG] = {"/dev/kmsg", PICO_USE_NODE, "not opened"},
    [PICO_HOSTNAME] = {"/proc/sys/kernel/hostname", PICO_USE_TEXT, KERNEL},
    /* npu@ADDRESS/status and the names of cpu0-opp-table. */
    [PICO_DEVICE_TREE] = {"/proc/device-tree", PICO_USE_FOLDER, KERNEL},
    [PICO_DEVICE_TREE_MODEL] = {"/proc/device-tree/model", PICO_USE_TEXT, KERNEL},
    /* Several names, each ended by a zero byte. */
    [PICO_DEVICE_TREE_COMPATIBLE] = {"/proc/device-tree/compatible", PICO_USE_TEXT, KERNEL},
    [PICO_RKNPU_VERSION] = {"/proc/rknpu/version", PICO_USE_TEXT,
                            "a text that the driver contains"},
    [PICO_RKNPU_FREQ] =
        {"/proc/rknpu/freq", PICO_USE_TEXT,
         "by the driver's source: powers the NPU and asks its clock, which is always there"},
    [PICO_RKNPU_LOAD] = {"/proc/rknpu/load", PICO_USE_TEXT,
                         "a counter of the driver; a board answered 50 times in a row"},
    [PICO_RKNPU_POWER] = {"/proc/rknpu/power", PICO_USE_TEXT, "a counter of the driver"},
    /* npu-bench writes it, too (governor.c). */
    [PICO_GOVERNOR] = {CPUFREQ "scaling_governor", PICO_USE_TEXT, KERNEL},
    [PICO_CPU_FREQ] = {CPUFREQ "scaling_cur_freq", PICO_USE_TEXT, KERNEL},
    [PICO_CPU_ALLOWED] = {CPUFREQ "scaling_max_freq", PICO_USE_TEXT, KERNEL},
    [PICO_CPU_HIGHEST] = {CPUFREQ "cpuinfo_max_freq", PICO_USE_TEXT, KERNEL},
    [PICO_NPU_CLOCK] = {"/sys/kernel/debug/clk/aclk_npu_root/clk_rate", PICO_USE_TEXT,
                        "the clock framework's own copy of the rate"},
    [PICO_TEMPERATURE] = {"/sys/class/thermal/thermal_zone0/temp", PICO_USE_TEXT, KERNEL},
    [PICO_RELEASE] = {"/etc/pico-image-release", PICO_USE_TEXT, "an ordinary file of the image"},
    [PICO_DEPLOYED] = {"/etc/pico-deployed", PICO_USE_TEXT, "an ordinary file of the image"},
    /* Names and secrets, read so that npu-doctor can leave them out. */
    [PICO_PASSWD] = {"/etc/passwd", PICO_USE_TEXT, "an ordinary file of the image"},
    [PICO_WPA_SUPPLICANT] = {"/etc/wpa_supplicant.conf", PICO_USE_TEXT,
                             "an ordinary file of the image"},
    [PICO_NETWORKS] = {"/sys/class/net", PICO_USE_FOLDER, "of each its address"},
    [PICO_NPU_RUNTIME] = {"/etc/npu-runtime", PICO_USE_TEXT, "an ordinary file of the image"},
    [PICO_PROC] = {"/proc", PICO_USE_FOLDER, "process numbers, and of each its name in comm"},
    [PICO_RKNPU_DEVICE] = {"/dev/rknpu", PICO_USE_NODE,
                           "never its ioctl RKNPU_GET_VOLT, which does what volt below does"},
    [PICO_SELF_EXE] = {"/proc/self/exe", PICO_USE_SELF, OWN},
    [PICO_SELF_OOM] = {"/proc/self/oom_score_adj", PICO_USE_SELF, OWN},
    [PICO_SELF_STATUS] = {"/proc/self/status", PICO_USE_SELF, OWN},
    [PICO_RKNPU_VOLT] = {"/proc/rknpu/volt", PICO_USE_NEVER,
                         "rknpu_volt_show() asks the regulator vdd for its voltage; no device tree "
                         "of these boards has rknpu-supply, vdd is NULL, and the kernel kills who "
                         "reads"},
};

bool pico_board_path(const char *root, enum pico_board_file file, char *path, size_t size) {
    if ((unsigned)file >= PICO_BOARD_FILES || pico_board_files[file].use == PICO_USE_NEVER) {
        errno = EPERM;
        return false;
    }
    if (snprintf(path, size, "%s%s", root, pico_board_files[file].path) >= (int)size) {
        errno = ENAMETOOLONG;
        return false;
    }
    return true;
}

FILE *pico_board_open(const char *root, enum pico_board_file file) {
    char path[PATH_MAX];

    return pico_board_path(root, file, path, sizeof path) ? fopen(path, "re") : NULL;
}
