/* npu-doctor: see doctor.h. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "doctor.h"
#include "json.h"
#include "mask.h"
#include "options.h"
#include "system.h"

enum { OPT_OUTPUT = PICO_OPT_OWN, OPT_BENCH };

static const struct option long_options[] = {
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"bench", required_argument, NULL, OPT_BENCH},
    {"root", required_argument, NULL, PICO_OPT_ROOT},
    {"version", no_argument, NULL, PICO_OPT_VERSION},
    {"help", no_argument, NULL, PICO_OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void print_help(const void *user) {
    (void)user;
    printf(
        "usage: npu-doctor [options]\n"
        "\n"
        "Look at the board: what is wrong, and what helps. Write the facts, the kernel log and\n"
        "the newest result of npu-bench into one file that can be posted: addresses, serial\n"
        "numbers, names, keys and passwords are left out.\n"
        "\n"
        "  --output FILE|-    the file; - is stdout, with nothing else on it (a new file in the\n"
        "                     folder of results)\n"
        "  --bench DIR        folder of results (/userdata/bench)\n" PICO_HELP_ROOT
        "  --version, --help\n"
        "\n"
        "Exit: 0 nothing is wrong, 1 problems were found, 2 bad input.\n");
}

static int set_option(void *user, int option, const char *value, struct pico_error *error) {
    struct doctor_options *options = user;

    (void)error;
    if (option == OPT_OUTPUT)
        options->output = value;
    else
        options->bench = value;
    return PICO_OK;
}

/* Whole texts as lines: a file that people read. */
static void split_texts(cJSON *texts) {
    for (cJSON *item = texts->child, *next; item != NULL; item = next) {
        next = item->next;
        if (!cJSON_IsString(item))
            continue;
        cJSON *lines = cJSON_CreateArray();
        char *text = item->valuestring, *line = strsep(&text, "\n");
        for (; line != NULL; line = strsep(&text, "\n")) {
            if (line[0] != '\0' || text != NULL)
                cJSON_AddItemToArray(lines, cJSON_CreateString(line));
        }
        cJSON_ReplaceItemInObjectCaseSensitive(texts, item->string, lines);
    }
}

/* A driver may print any bytes; JSON is UTF-8. What is not becomes "?". */
static void make_utf8(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at != '\0';) {
        int more = *at < 0x80                  ? 0
                   : *at >= 0xc2 && *at < 0xe0 ? 1
                   : *at >= 0xe0 && *at < 0xf0 ? 2
                   : *at >= 0xf0 && *at < 0xf5 ? 3
                                               : -1;
        bool whole = more >= 0;
        for (int i = 1; whole && i <= more; i++)
            whole = (at[i] & 0xc0) == 0x80;
        /* Not overlong, no half of a character, at most U+10FFFF. */
        whole = whole && !(*at == 0xe0 && at[1] < 0xa0) && !(*at == 0xed && at[1] > 0x9f) &&
                !(*at == 0xf0 && at[1] < 0x90) && !(*at == 0xf4 && at[1] > 0x8f);
        if (!whole)
            *at = '?';
        at += whole ? more + 1 : 1;
    }
}

/* The document as it is posted; NULL without memory. */
static char *masked(const char *root, cJSON *document) {
    struct doctor_mask *mask = doctor_mask_new();
    char *text = NULL;

    if (mask == NULL)
        return NULL;
    doctor_learn_names(root, mask);
    if (doctor_mask_json(mask, document)) {
        split_texts(cJSON_GetObjectItemCaseSensitive(document, "texts"));
        text = cJSON_Print(document);
    }
    doctor_mask_free(mask);
    if (text != NULL)
        make_utf8(text);
    return text;
}

static void print_findings(const cJSON *document, FILE *stream) {
    const cJSON *finding;

    cJSON_ArrayForEach(finding, pico_json_find(document, "findings")) {
        const cJSON *remedy = pico_json_find(finding, "remedy");
        fprintf(stream, "%-8s %s: %s\n", pico_json_find(finding, "level")->valuestring,
                pico_json_find(finding, "name")->valuestring,
                pico_json_find(finding, "text")->valuestring);
        if (cJSON_IsString(remedy))
            fprintf(stream, "         -> %s\n", remedy->valuestring);
    }
}

static int examine(const struct doctor_options *options, struct pico_error *error) {
    bool json_only = options->output != NULL && strcmp(options->output, "-") == 0;
    FILE *stream = json_only ? stderr : stdout;
    char path[PATH_MAX] = "", name[40] = "doctor-";
    cJSON *document = doctor_gather(options);
    int problems = document == NULL ? 0 : doctor_judge(document);
    char *text = document == NULL ? NULL : masked(options->root, document);

    if (text == NULL) {
        cJSON_Delete(document);
        return pico_fail(error, PICO_FAILED, "not enough memory for the facts of this board");
    }
    print_findings(document, stream);
    size_t length = strlen(text);
    int status;
    text[length++] = '\n';
    if (options->output != NULL) {
        snprintf(path, sizeof path, "%s", options->output);
        status = pico_write_file(options->output, text, length, error);
    } else {
        pico_utc_text(name + strlen(name), sizeof name - strlen(name), true);
        status = pico_write_numbered(options->bench, name, text, length, path, sizeof path, error);
    }
    if (status != PICO_OK)
        pico_hint(error, "--output names another file");
    cJSON_free(text);
    cJSON_Delete(document);
    if (status != PICO_OK)
        return status;
    /* invoke collect reads this line, the last one. */
    fprintf(stream, "npu-doctor: %d problem%s; %s can be posted\n", problems,
            problems == 1 ? "" : "s", json_only ? "what stands on stdout" : path);
    if (fflush(stream) != 0 || ferror(stream))
        return pico_fail(error, PICO_BAD_INPUT, "could not write the findings");
    return problems == 0 ? PICO_OK : PICO_FAILED;
}

int main(int argc, char **argv) {
    struct doctor_options options = {.root = ""};
    struct pico_effort no_effort = {0};
    struct pico_error error = {0};
    char bench[PATH_MAX];
    const struct pico_option_reader reader = {
        .program = "npu-doctor",
        .table = long_options,
        .effort = &no_effort,
        .root = &options.root,
        .user = &options,
        .set = set_option,
        .print_help = print_help,
    };
    int status = pico_options_read(&reader, argc, argv, &error);

    if (status == -1)
        return fflush(stdout) == 0 ? PICO_OK : PICO_BAD_INPUT;
    if (status == PICO_OK && options.bench == NULL) {
        options.bench = bench;
        if (snprintf(bench, sizeof bench, "%s/userdata/bench", options.root) >= (int)sizeof bench)
            status = pico_fail(&error, PICO_BAD_INPUT, "the name %s is too long", options.root);
    }
    if (status == PICO_OK)
        status = examine(&options, &error);
    if (error.message[0] != '\0')
        pico_error_print("npu-doctor", &error);
    return status;
}
