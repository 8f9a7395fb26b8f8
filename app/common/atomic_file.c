#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot_write(const char *path, int reason, struct pico_error *error) {
    pico_fail(error, PICO_BAD_INPUT, "could not write %s: %s", path, strerror(reason));
    if (reason == ENOSPC || reason == EDQUOT)
        pico_hint(error, "free some space and run it again; earlier results are untouched");
    return error->status;
}

static int write_all(int handle, const char *text, size_t length) {
    while (length > 0) {
        ssize_t written = write(handle, text, length);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return errno;
        }
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

static void sync_folder_of(const char *path) {
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else if (slash == path)
        snprintf(folder, sizeof folder, "/");
    else
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    int handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle >= 0) {
        /* Some file systems refuse fsync on a folder; the data itself is already down. */
        (void)fsync(handle);
        close(handle);
    }
}

static int write_temporary(const char *path, const char *text, size_t length, char *temporary,
                           size_t size, struct pico_error *error) {
    const char *slash = strrchr(path, '/');
    int folder_length = slash == NULL ? 0 : (int)(slash - path) + 1;
    int needed = snprintf(temporary, size, "%.*s.%s.XXXXXX", folder_length, path,
                          slash == NULL ? path : slash + 1);

    if (needed < 0 || (size_t)needed >= size)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", path);
    int handle = mkstemp(temporary);
    if (handle < 0)
        return cannot_write(path, errno, error);
    int reason = write_all(handle, text, length);
    if (reason == 0 && (fchmod(handle, 0644) != 0 || fsync(handle) != 0))
        reason = errno;
    if (close(handle) != 0 && reason == 0)
        reason = errno;
    if (reason != 0) {
        unlink(temporary);
        return cannot_write(path, reason, error);
    }
    return PICO_OK;
}

int pico_write_file(const char *path, const char *text, size_t length, struct pico_error *error) {
    char temporary[PATH_MAX];
    struct stat facts;
    int direct = strcmp(path, "-") == 0 ? STDOUT_FILENO : -1;

    if (direct < 0 && stat(path, &facts) == 0 && !S_ISREG(facts.st_mode)) {
        direct = open(path, O_WRONLY | O_CLOEXEC);
        if (direct < 0)
            return cannot_write(path, errno, error);
    }
    if (direct >= 0) {
        int reason = write_all(direct, text, length);
        if (direct != STDOUT_FILENO && close(direct) != 0 && reason == 0)
            reason = errno;
        return reason == 0 ? PICO_OK
                           : cannot_write(direct == STDOUT_FILENO ? "to standard output" : path,
                                          reason, error);
    }
    int status = write_temporary(path, text, length, temporary, sizeof temporary, error);
    if (status != PICO_OK)
        return status;
    if (rename(temporary, path) != 0) {
        status = cannot_write(path, errno, error);
        unlink(temporary);
        return status;
    }
    sync_folder_of(path);
    return PICO_OK;
}

int pico_make_folder(const char *folder, struct pico_error *error) {
    char part[PATH_MAX];
    struct stat facts;

    if (snprintf(part, sizeof part, "%s", folder) >= (int)sizeof part)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s is too long", folder);
    for (char *end = part + 1;; end++) {
        if (*end != '/' && *end != '\0')
            continue;
        char kept = *end;
        *end = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return cannot_write(part, errno, error);
        if (kept == '\0')
            break;
        *end = kept;
    }
    if (stat(folder, &facts) != 0 || !S_ISDIR(facts.st_mode))
        return cannot_write(folder, ENOTDIR, error);
    return PICO_OK;
}

int pico_write_numbered(const char *folder, const char *name, const char *text, size_t length,
                        char *path, size_t path_size, struct pico_error *error) {
    char temporary[PATH_MAX], wanted[PATH_MAX];
    int status = pico_make_folder(folder, error);

    if (status != PICO_OK)
        return status;
    if (snprintf(wanted, sizeof wanted, "%s/%s", folder, name) >= (int)sizeof wanted)
        return pico_fail(error, PICO_BAD_INPUT, "the name %s/%s is too long", folder, name);
    status = write_temporary(wanted, text, length, temporary, sizeof temporary, error);
    if (status != PICO_OK)
        return status;
    for (int number = 1; number < 1000; number++) {
        if (snprintf(path, path_size, "%s/%s-%03d.json", folder, name, number) >= (int)path_size) {
            unlink(temporary);
            return pico_fail(error, PICO_BAD_INPUT, "the name %s/%s is too long", folder, name);
        }
        if (link(temporary, path) == 0) {
            unlink(temporary);
            sync_folder_of(path);
            return PICO_OK;
        }
        if (errno == EEXIST)
            continue;
        if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
            /* FAT has no hard links: ask, then rename. Only one npu-bench runs at a time. */
            if (access(path, F_OK) == 0)
                continue;
            if (rename(temporary, path) == 0) {
                sync_folder_of(path);
                return PICO_OK;
            }
        }
        status = cannot_write(path, errno, error);
        unlink(temporary);
        return status;
    }
    unlink(temporary);
    return pico_fail(error, PICO_BAD_INPUT, "%s holds 999 results named %s already", folder, name);
}
