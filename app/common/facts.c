#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { LINE_LIMIT = 4 << 20 }; /* a kernel log has some hundred KB */

/* In the child: every fact from `first` on as a line of JSON. */
static void read_facts(int out, const char *root, const struct pico_fact *facts, int count) {
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; i < count; i++) {
        cJSON *item = facts[i].read(root, &facts[i]);
        char *text = item == NULL ? NULL : cJSON_PrintUnformatted(item);
        /* The end of the line comes last: what has none was cut off, and is not taken. */
        if (dprintf(out, "%s\n", text == NULL ? "null" : text) < 0)
            break;
        cJSON_free(text);
        cJSON_Delete(item);
    }
    _exit(0);
}

/* What the child has written so far, up to a line's end. */
struct lines {
    char *text;
    size_t length, capacity;
    bool ended; /* the child closed its end: it is dead or dying */
};

static bool has_room(struct lines *lines) {
    if (lines->length < lines->capacity)
        return true;
    size_t capacity = lines->capacity == 0 ? 8192 : lines->capacity * 2;
    char *text = capacity > LINE_LIMIT ? NULL : realloc(lines->text, capacity);
    if (text == NULL)
        return false;
    lines->text = text;
    lines->capacity = capacity;
    return true;
}

/* Wait until a whole line is there; false when the child has ended or its time is over. */
static bool next_line(int in, struct lines *lines) {
    double deadline = pico_now_us() + PICO_FACT_PATIENCE_MS * 1e3;

    while (lines->length == 0 || memchr(lines->text, '\n', lines->length) == NULL) {
        struct pollfd file = {in, POLLIN, 0};
        double left = (deadline - pico_now_us()) / 1e3;
        if (left <= 0 || !has_room(lines))
            return false;
        if (poll(&file, 1, (int)left + 1) <= 0)
            continue;
        ssize_t count = read(in, lines->text + lines->length, lines->capacity - lines->length);
        if (count < 0 && errno == EINTR)
            continue;
        lines->ended = count <= 0;
        if (lines->ended)
            return false;
        lines->length += (size_t)count;
    }
    return true;
}

static void add_line(cJSON *object, const char *key, struct lines *lines) {
    char *end = memchr(lines->text, '\n', lines->length);
    size_t used = (size_t)(end - lines->text) + 1;

    *end = '\0';
    cJSON *item = cJSON_Parse(lines->text);
    cJSON_AddItemToObject(object, key, item != NULL ? item : cJSON_CreateNull());
    lines->length -= used;
    memmove(lines->text, lines->text + used, lines->length);
}

/* End a child, and say what became of it. One that hangs in the kernel cannot be killed: it is
 * left behind after a second. */
static void end_child(pid_t child, bool ending, char *how, size_t size) {
    int status = 0;
    pid_t ended = 0;

    if (!ending)
        kill(child, SIGKILL);
    for (int tries = 0; (ended = waitpid(child, &status, WNOHANG)) == 0 && tries < 100; tries++)
        usleep(10000);
    if (ending && ended == child && WIFSIGNALED(status))
        snprintf(how, size, "the process that read it was killed by signal %d", WTERMSIG(status));
    else
        snprintf(how, size, "no answer");
}

/* Add facts until one cannot be read, which is added as null with a note; returns how many. */
static int add_some(cJSON *object, const char *root, const struct pico_fact *facts, int count,
                    struct pico_notes *notes) {
    struct lines lines = {.length = 0};
    char how[80] = "could not start a process";
    int ends[2], done = 0;

    if (pipe2(ends, O_CLOEXEC) == 0) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0)
            read_facts(ends[1], root, facts, count);
        close(ends[1]);
        while (child > 0 && done < count && next_line(ends[0], &lines))
            add_line(object, facts[done++].key, &lines);
        close(ends[0]);
        free(lines.text);
        if (child > 0)
            end_child(child, lines.ended, how, sizeof how);
    }
    if (done < count) {
        pico_note(notes, "%s could not be read: %s", pico_board_files[facts[done].file].path, how);
        cJSON_AddNullToObject(object, facts[done++].key);
    }
    return done;
}

void pico_facts_add(cJSON *object, const char *root, const struct pico_fact *facts, int count,
                    struct pico_notes *notes) {
    for (int done = 0; done < count;)
        done += add_some(object, root, facts + done, count - done, notes);
}
