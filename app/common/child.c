#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board_files.h"
#include "clock.h"
#include "stop.h"

enum {
    OUTPUT_LIMIT = 32 << 20,
    /* A runner ends between two inferences; one that hangs inside the NPU's runtime never does. */
    GRACE_S = 5,
};

static void run_in_child(char *const *arguments, pid_t parent, const int out[2], const int err[2]) {
    /* An ignored SIGPIPE would be inherited. */
    signal(SIGPIPE, SIG_DFL);
    /* When npu-bench is killed, its runner must not go on beside the next benchmark. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    /* RKNN_LOG_LEVEL makes the vendor's library submit each operator alone and print to stdout. */
    unsetenv("RKNN_LOG_LEVEL");
    /* Out of memory, the kernel must kill the runner first: it was seen to kill a login shell. */
    int handle = open(pico_board_files[PICO_SELF_OOM].path, O_WRONLY | O_CLOEXEC);
    if (handle >= 0) {
        (void)!write(handle, "1000", 4);
        close(handle);
    }
    if (dup2(out[1], STDOUT_FILENO) < 0 || dup2(err[1], STDERR_FILENO) < 0)
        _exit(127);
    execv(arguments[0], arguments);
    dprintf(STDERR_FILENO, "error: could not start %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static int add_output(struct child_output *output, size_t *capacity, const char *bytes,
                      size_t count) {
    if (output->length + count > OUTPUT_LIMIT)
        return -1;
    while (output->length + count + 1 > *capacity) {
        char *text = realloc(output->text, *capacity == 0 ? 65536 : *capacity * 2);
        if (text == NULL)
            return -1;
        output->text = text;
        *capacity = *capacity == 0 ? 65536 : *capacity * 2;
    }
    memcpy(output->text + output->length, bytes, count);
    output->length += count;
    output->text[output->length] = '\0';
    return 0;
}

/* Standard error by lines: copied to ours, and the line that explains a failure is kept. */
struct complaint {
    char line[400];
    size_t length;
    int found;
};

static void add_complaint(struct complaint *state, struct child_output *output, const char *bytes,
                          size_t count) {
    (void)!write(STDERR_FILENO, bytes, count);
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != '\n') {
            if (state->length < sizeof state->line - 1)
                state->line[state->length++] = bytes[i];
            continue;
        }
        state->line[state->length] = '\0';
        state->length = 0;
        int is_error = strstr(state->line, "error:") != NULL;
        if (is_error || !state->found)
            memcpy(output->complaint, state->line, sizeof output->complaint);
        state->found |= is_error;
    }
}

static int read_both(pid_t child, int out, int err, int limit_s, struct child_output *output) {
    double began = pico_now_us(), told = 0;
    struct pollfd files[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
    struct complaint complaint = {.length = 0};
    size_t capacity = 0;
    int status = 0;

    while (files[0].fd >= 0 || files[1].fd >= 0) {
        char bytes[4096];
        int ready = poll(files, 2, 500);
        double now = pico_now_us();
        if (pico_stop_requested() && told == 0) {
            kill(child, SIGTERM);
            told = now;
        }
        if (!output->late && ((limit_s > 0 && now - began > limit_s * 1e6) ||
                              (told > 0 && now - told > GRACE_S * 1e6))) {
            kill(child, SIGKILL);
            output->late = true;
        }
        if (ready <= 0)
            continue;
        for (int i = 0; i < 2; i++) {
            if (files[i].fd < 0 || files[i].revents == 0)
                continue;
            ssize_t count = read(files[i].fd, bytes, sizeof bytes);
            if (count < 0 && errno == EINTR)
                continue;
            if (count <= 0)
                files[i].fd = -1;
            else if (i == 1)
                add_complaint(&complaint, output, bytes, (size_t)count);
            else if (status == 0)
                status = add_output(output, &capacity, bytes, (size_t)count);
        }
    }
    return status;
}

int child_run(char *const *arguments, int limit_s, struct child_output *output,
              struct pico_error *error) {
    int out[2], err[2], ended = 0;

    memset(output, 0, sizeof *output);
    if (pipe2(out, O_CLOEXEC) != 0)
        return pico_fail(error, PICO_FAILED, "could not make a pipe: %s", strerror(errno));
    if (pipe2(err, O_CLOEXEC) != 0) {
        close(out[0]);
        close(out[1]);
        return pico_fail(error, PICO_FAILED, "could not make a pipe: %s", strerror(errno));
    }
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child == 0)
        run_in_child(arguments, parent, out, err);
    close(out[1]);
    close(err[1]);
    int status = PICO_OK;
    if (child < 0) {
        status =
            pico_fail(error, PICO_FAILED, "could not start %s: %s", arguments[0], strerror(errno));
    } else {
        if (read_both(child, out[0], err[0], limit_s, output) != 0) {
            status =
                pico_fail(error, PICO_FAILED, "%s printed more than memory can hold", arguments[0]);
        }
        while (waitpid(child, &ended, 0) < 0 && errno == EINTR)
            ;
        output->status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    }
    close(out[0]);
    close(err[0]);
    if (pico_stop_requested())
        status = pico_fail(error, PICO_INTERRUPTED, "interrupted");
    if (status != PICO_OK)
        child_output_free(output);
    return status;
}

void child_output_free(struct child_output *output) {
    free(output->text);
    output->text = NULL;
}
