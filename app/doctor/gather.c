/* The document: facts, texts, the newest result. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board_files.h"
#include "doctor.h"
#include "facts.h"
#include "json.h"
#include "system.h"
#include "version.h"

enum { TEXT_LIMIT = 256 << 10 };

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

static cJSON *text_of(const char *root, const struct pico_fact *fact) {
    FILE *stream = pico_board_open(root, fact->file);
    char *text = stream == NULL ? NULL : malloc(TEXT_LIMIT);
    cJSON *json = NULL;

    if (text != NULL) {
        text[fread(text, 1, TEXT_LIMIT - 1, stream)] = '\0';
        json = cJSON_CreateString(text);
    }
    free(text);
    if (stream != NULL)
        fclose(stream);
    return json;
}

static void add_head(cJSON *document, const struct doctor_options *options) {
    char text[40];

    cJSON_AddStringToObject(document, "schema", PICO_RESULT_SCHEMA);
    cJSON_AddStringToObject(document, "kind", "doctor");
    cJSON *program = cJSON_AddObjectToObject(document, "program");
    cJSON_AddStringToObject(program, "name", "npu-doctor");
    cJSON_AddStringToObject(program, "version", PICO_VERSION);
    pico_utc_text(text, sizeof text, false);
    cJSON_AddStringToObject(document, "gathered", text);
    /* The texts of a board that was recorded, not of the machine that the program ran on. */
    cJSON_AddBoolToObject(document, "recorded", options->root[0] != '\0');
}

cJSON *doctor_gather(const struct doctor_options *options) {
    static const struct pico_fact npu[] = {
        {"version", pico_fact_line, PICO_RKNPU_VERSION, NULL, 0},
        {"freq", pico_fact_line, PICO_RKNPU_FREQ, NULL, 0},
        {"load", pico_fact_line, PICO_RKNPU_LOAD, NULL, 0},
        {"power", pico_fact_line, PICO_RKNPU_POWER, NULL, 0},
    };
    static const struct pico_fact facts[] = {
        {"soc", doctor_soc, PICO_DEVICE_TREE, NULL, 0},
        {"device", doctor_device, PICO_RKNPU_DEVICE, NULL, 0},
        {"clocks", doctor_clocks, PICO_CPU_FREQ, NULL, 0},
        {"services", doctor_services, PICO_PROC, NULL, 0},
    };
    static const struct pico_fact texts[] = {
        {"kernel_log", doctor_kernel_log, PICO_KERNEL_LOG, NULL, 0},
        {"cmdline", text_of, PICO_CMDLINE, NULL, 0},
        {"meminfo", text_of, PICO_MEMINFO, NULL, 0},
        {"mounts", text_of, PICO_MOUNTS, NULL, 0},
        {"modules", text_of, PICO_MODULES, NULL, 0},
        {"partitions", text_of, PICO_PARTITIONS, NULL, 0},
        {"npu_runtime", text_of, PICO_NPU_RUNTIME, NULL, 0}, /* what npu-runner --probe chose */
    };
    const char *root = options->root;
    struct pico_notes notes = {.count = 0};
    cJSON *document = cJSON_CreateObject();
    char why[160];

    if (document == NULL)
        return NULL;
    add_head(document, options);
    cJSON *read = cJSON_AddObjectToObject(document, "facts");
    cJSON_AddItemToObject(read, "system", pico_system_facts(root, &notes));
    cJSON_AddItemToObject(read, "state", pico_system_state(root, PICO_AFTER, &notes));
    pico_facts_add(read, root, facts, COUNT(facts), &notes);
    pico_facts_add(cJSON_AddObjectToObject(read, "npu"), root, npu, COUNT(npu), &notes);
    cJSON_AddItemToObject(read, "programs", doctor_programs(root));
    cJSON_AddItemToObject(read, "models", doctor_models(root));
    cJSON_AddItemToObject(document, "result", doctor_newest_result(options->bench));
    cJSON *whole = cJSON_AddObjectToObject(document, "texts");
    pico_facts_add(whole, root, texts, COUNT(texts), &notes);
    cJSON_AddItemToObject(document, "not_read", pico_json_notes(&notes));
    /* To the runners a recorded board counts as emulated: their times are not its own. */
    const cJSON *line = pico_json_find(document, "texts.cmdline");
    bool emulated = root[0] == '\0' ? pico_is_emulated(root, why, sizeof why)
                                    : cJSON_IsString(line) &&
                                          strstr(line->valuestring, "pico.emulated=1") != NULL;
    cJSON_AddBoolToObject(document, "emulated", emulated);
    return document;
}
