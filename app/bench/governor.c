/* Full speed while measuring, and the former governor restored whatever happens.
 *
 * A signal handler cannot do that: kill -9, the OOM killer and a second Ctrl-C run none. A child
 * therefore waits for the other end of a pipe to close, which the kernel does for every process
 * that ends, and then restores. In the ordinary case we close our end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "system.h"

static bool set_governor(const char *root, const char *name) {
    char path[PATH_MAX];
    size_t length = strlen(name);

    if (!pico_board_path(root, PICO_GOVERNOR, path, sizeof path))
        return false;
    int handle = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (handle < 0)
        return false;
    bool written = write(handle, name, length) == (ssize_t)length;
    return close(handle) == 0 && written;
}

static void wait_and_restore(int pipe_end, const char *root, const char *name) {
    char nothing;

    /* Out of the reach of signals to the terminal's or the connection's processes. */
    setsid();
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int handle = open(pico_board_files[PICO_SELF_OOM].path, O_WRONLY | O_CLOEXEC);
    if (handle >= 0) {
        (void)!write(handle, "-1000", 5);
        close(handle);
    }
    while (read(pipe_end, &nothing, 1) < 0 && errno == EINTR)
        ;
    _exit(set_governor(root, name) ? 0 : 1);
}

/* False without memory for a child: the governor is then restored only at an ordinary end. */
static bool start_guard(struct bench *bench) {
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    fflush(NULL);
    bench->guard = fork();
    if (bench->guard == 0) {
        close(ends[1]);
        wait_and_restore(ends[0], bench->options.root, bench->governor_before);
    }
    close(ends[0]);
    bench->guard_pipe = ends[1];
    if (bench->guard < 0)
        close(ends[1]);
    return bench->guard > 0;
}

void bench_governor_raise(struct bench *bench) {
    const char *root = bench->options.root;

    if (!pico_read_line(root, PICO_GOVERNOR, bench->governor_before, sizeof bench->governor_before))
        return; /* a fixed clock */
    strcpy(bench->governor_used, bench->governor_before);
    if (bench->options.keep_governor || strcmp(bench->governor_before, "performance") == 0)
        return;
    bool guarded = start_guard(bench);
    if (set_governor(root, "performance")) {
        strcpy(bench->governor_used, "performance");
        return;
    }
    pico_note(&bench->warnings, "the CPU governor stays \"%s\": it cannot be set to performance",
              bench->governor_before);
    if (guarded)
        bench_governor_restore(bench);
}

void bench_governor_restore(struct bench *bench) {
    bool restored;
    int status;

    if (bench->guard > 0) {
        close(bench->guard_pipe);
        while (waitpid(bench->guard, &status, 0) < 0 && errno == EINTR)
            ;
        restored = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        bench->guard = 0;
    } else {
        restored = strcmp(bench->governor_used, bench->governor_before) == 0 ||
                   set_governor(bench->options.root, bench->governor_before);
    }
    if (!restored && strcmp(bench->governor_used, bench->governor_before) != 0)
        pico_note(&bench->warnings, "the CPU governor could not be set back to \"%s\"",
                  bench->governor_before);
}
