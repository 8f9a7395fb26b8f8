/*
 * Makes a card's partitions from the kernel command line alone.
 *
 * The boards' kernel has CONFIG_CMDLINE_PARTITION; Debian's armmp kernel is built without it, so
 * in the emulator this program reads the same string
 *     blkdevparts=mmcblk0:32K(env),512K@32K(idblock),...;DEVICE2:...
 * and adds each partition with the BLKPG ioctl. Syntax and clipping are those of the kernel
 * (block/partitions/cmdline.c, Documentation/block/cmdline-partition.rst).
 *
 *     blkdevparts DEVICE                 add the partitions of /dev/DEVICE, from /proc/cmdline
 *     blkdevparts --print BYTES DEVICE   read a command line from stdin, print what would be added
 *
 * Exit status: 0 done, 1 the device refused, 2 there is no usable string for DEVICE.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    SECTOR = 512,
    SMALLEST = 4096, /* the kernel refuses partitions below PAGE_SIZE */
    MOST = 32,
    NAME_SIZE = 32,    /* BDEVNAME_SIZE */
    LINE_SIZE = 16384, /* COMMAND_LINE_SIZE is 1024 on ARM */
};

struct part {
    int64_t start;
    int64_t length;
    char name[NAME_SIZE];
};

static const char KEY[] = "blkdevparts=";

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...) {
    va_list list;

    fputs("blkdevparts: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

/* A number as the kernel's memparse() reads it: decimal, 0x or 0 octal, suffix K, M, G or T. */
static bool read_size(const char **at, int64_t *value) {
    char *end;
    unsigned shift = 0;

    if (**at < '0' || **at > '9') {
        return false;
    }
    errno = 0;
    uintmax_t number = strtoumax(*at, &end, 0);
    switch (*end) {
    case 'T':
    case 't':
        shift = 40;
        break;
    case 'G':
    case 'g':
        shift = 30;
        break;
    case 'M':
    case 'm':
        shift = 20;
        break;
    case 'K':
    case 'k':
        shift = 10;
        break;
    default:
        break;
    }
    if (errno != 0 || number > (uintmax_t)(INT64_MAX >> shift)) {
        return false;
    }
    *value = (int64_t)(number << shift);
    *at = end + (shift != 0 ? 1 : 0);
    return true;
}

/*
 * Reads SIZE[@OFFSET](NAME)[ro][lk],... into parts and clips them to the disk as the kernel does:
 * a partition that begins beyond its end is left out with all that follow.
 * Returns their number, or -1 with a message.
 */
static int read_parts(const char *text, const char *end, int64_t disk, struct part *parts) {
    const char *at = text;
    int64_t cursor = 0;
    int count = 0;

    while (at < end) {
        int64_t size = -1;
        int64_t start = cursor;

        if (*at == '-') {
            at++;
        } else if (!read_size(&at, &size) || size < SMALLEST) {
            complain("bad or too small size at '%.*s'", (int)(end - at), at);
            return -1;
        }
        if (*at == '@') {
            at++;
            if (!read_size(&at, &start)) {
                complain("bad offset at '%.*s'", (int)(end - at), at);
                return -1;
            }
        }
        const char *close = *at == '(' ? memchr(at, ')', (size_t)(end - at)) : NULL;
        if (close == NULL) {
            complain("a (name) is missing at '%.*s'", (int)(end - at), at);
            return -1;
        }
        if (start >= disk) {
            break;
        }
        if (count == MOST) {
            complain("more than %d partitions", MOST);
            return -1;
        }
        struct part *part = &parts[count];
        snprintf(part->name, sizeof part->name, "%.*s", (int)(close - at - 1), at + 1);
        part->start = start;
        part->length = size < 0 || size > disk - start ? disk - start : size;
        if (part->start % SECTOR != 0 || part->length % SECTOR != 0) {
            complain("%s does not lie on whole sectors of %d bytes", part->name, SECTOR);
            return -1;
        }
        cursor = part->start + part->length;
        count++;
        at = close + 1;
        while (at < end && (strncmp(at, "ro", 2) == 0 || strncmp(at, "lk", 2) == 0)) {
            at += 2;
        }
        if (at < end) {
            if (*at != ',') {
                complain("a comma is missing at '%.*s'", (int)(end - at), at);
                return -1;
            }
            at++;
        }
    }
    return count;
}

/* The part of `line` that describes `device`: between "device:" and ';' or the word's end. */
static bool find_device(const char *line, const char *device, const char **begin,
                        const char **end) {
    const char *word = line;

    while ((word = strstr(word, KEY)) != NULL) {
        bool whole = word == line || word[-1] == ' ';
        word += sizeof KEY - 1;
        if (!whole) {
            continue;
        }
        const char *stop = word + strcspn(word, " \t\n");
        const char *item = word;
        while (item < stop) {
            size_t length = strcspn(item, ";");
            const char *next = item + length < stop ? item + length : stop;
            size_t name = strlen(device);
            if ((size_t)(next - item) > name && strncmp(item, device, name) == 0 &&
                item[name] == ':') {
                *begin = item + name + 1;
                *end = next;
                return true;
            }
            item = next < stop ? next + 1 : stop;
        }
    }
    return false;
}

static bool read_line(FILE *stream, char *line, size_t size) {
    size_t length = fread(line, 1, size - 1, stream);

    line[length] = '\0';
    return length > 0 && ferror(stream) == 0;
}

static int add(int disk, const char *device, int number, const struct part *part) {
    struct blkpg_partition partition = {
        .start = part->start, .length = part->length, .pno = number};
    struct blkpg_ioctl_arg argument = {
        .op = BLKPG_ADD_PARTITION, .datalen = sizeof partition, .data = &partition};

    memcpy(partition.volname, part->name, sizeof part->name);
    /* EBUSY: it is there already, made by the kernel or an earlier call. */
    if (ioctl(disk, BLKPG, &argument) != 0 && errno != EBUSY) {
        complain("could not add %s as partition %d of /dev/%s: %s", part->name, number, device,
                 strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    static char line[LINE_SIZE];
    struct part parts[MOST];
    int64_t size = 0;
    bool print = argc == 4 && strcmp(argv[1], "--print") == 0;
    const char *begin;
    const char *end;
    int disk = -1;

    if (argc != 2 && !print) {
        complain("usage: blkdevparts DEVICE | blkdevparts --print BYTES DEVICE < COMMAND-LINE");
        return 2;
    }
    const char *device = argv[argc - 1];
    FILE *stream = print ? stdin : fopen("/proc/cmdline", "re");
    if (stream == NULL || !read_line(stream, line, sizeof line)) {
        complain("could not read the kernel command line");
        return 2;
    }
    if (print) {
        const char *text = argv[2];
        if (!read_size(&text, &size) || *text != '\0') {
            complain("bad disk size '%s'", argv[2]);
            return 2;
        }
    } else {
        char path[64];
        uint64_t bytes = 0;
        snprintf(path, sizeof path, "/dev/%s", device);
        disk = open(path, O_RDONLY | O_CLOEXEC);
        if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) != 0) {
            complain("could not open %s: %s", path, strerror(errno));
            return 1;
        }
        size = (int64_t)bytes;
    }
    if (!find_device(line, device, &begin, &end)) {
        complain("the kernel command line has no %s%s:...", KEY, device);
        return 2;
    }
    int count = read_parts(begin, end, size, parts);
    if (count <= 0) {
        if (count == 0) {
            complain("no partition of %s fits its %" PRId64 " bytes", device, size);
        }
        return 2;
    }
    int status = 0;
    for (int index = 0; index < count; index++) {
        const struct part *part = &parts[index];
        if (print) {
            printf("%d %" PRId64 " %" PRId64 " %s\n", index + 1, part->start, part->length,
                   part->name);
        } else {
            status |= add(disk, device, index + 1, part);
        }
    }
    return status;
}
