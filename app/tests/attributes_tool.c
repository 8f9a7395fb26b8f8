/* attributes-tool MODEL.rknn: all that an RKNN runtime answers about a model, as JSON.
 *
 * The tests link it with the simulator and with the vendor's library, and compare the two. Each
 * answer has the library's code; what the library leaves as it was is null. */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "rknn.h"

/* What every byte is before the library writes. */
enum { UNTOUCHED = 0xa5 };

/* No query of the mini runtime has a larger answer (rknn_input_range). */
union answer {
    rknn_input_output_num counts;
    rknn_tensor_attr attr;
    rknn_sdk_version version;
    rknn_mem_size memory;
    rknn_custom_string custom;
    unsigned char bytes[33040];
};

static void add_number(cJSON *json, const char *key, const void *field, size_t size, double value) {
    unsigned char untouched[8];

    memset(untouched, UNTOUCHED, sizeof untouched);
    if (memcmp(field, untouched, size) == 0)
        cJSON_AddNullToObject(json, key);
    else
        cJSON_AddNumberToObject(json, key, value);
}

#define ADD(json, info, field)                                                                     \
    add_number(json, #field, &(info)->field, sizeof(info)->field, (double)(info)->field)

static void add_attr(cJSON *json, const rknn_tensor_attr *attr) {
    cJSON *dims = cJSON_AddArrayToObject(json, "dims");

    for (uint32_t i = 0; i < attr->n_dims && i < RKNN_MAX_DIMS; i++)
        cJSON_AddItemToArray(dims, cJSON_CreateNumber(attr->dims[i]));
    cJSON_AddStringToObject(json, "name", attr->name);
    ADD(json, attr, index);
    ADD(json, attr, n_dims);
    ADD(json, attr, n_elems);
    ADD(json, attr, size);
    ADD(json, attr, size_with_stride);
    ADD(json, attr, w_stride);
    ADD(json, attr, h_stride);
    ADD(json, attr, fmt);
    ADD(json, attr, type);
    ADD(json, attr, qnt_type);
    ADD(json, attr, fl);
    ADD(json, attr, zp);
    ADD(json, attr, scale);
    ADD(json, attr, pass_through);
}

static void add_fields(cJSON *json, int command, const union answer *info) {
    switch (command) {
    case RKNN_QUERY_IN_OUT_NUM:
        ADD(json, &info->counts, n_input);
        ADD(json, &info->counts, n_output);
        return;
    case RKNN_QUERY_SDK_VERSION:
        cJSON_AddStringToObject(json, "api_version", info->version.api_version);
        cJSON_AddStringToObject(json, "drv_version", info->version.drv_version);
        return;
    case RKNN_QUERY_MEM_SIZE:
        ADD(json, &info->memory, total_weight_size);
        ADD(json, &info->memory, total_internal_size);
        ADD(json, &info->memory, total_dma_allocated_size);
        ADD(json, &info->memory, total_sram_size);
        ADD(json, &info->memory, free_sram_size);
        return;
    case RKNN_QUERY_CUSTOM_STRING:
        cJSON_AddStringToObject(json, "string", info->custom.string);
        return;
    case RKNN_QUERY_INPUT_ATTR:
    case RKNN_QUERY_OUTPUT_ATTR:
    case RKNN_QUERY_NATIVE_INPUT_ATTR:
    case RKNN_QUERY_NATIVE_OUTPUT_ATTR:
    case RKNN_QUERY_NATIVE_NHWC_INPUT_ATTR:
    case RKNN_QUERY_NATIVE_NHWC_OUTPUT_ATTR:
        add_attr(json, &info->attr);
        return;
    default: /* no program here uses it: the code is enough */
        return;
    }
}

static void ask(cJSON *answers, rknn_context context, const char *name, int command, uint32_t index,
                uint32_t size) {
    static union answer info;
    cJSON *json = cJSON_AddObjectToObject(answers, name);

    memset(&info, UNTOUCHED, sizeof info);
    info.attr.index = index;
    int code = rknn_query(context, (rknn_query_cmd)command, &info, size);
    cJSON_AddNumberToObject(json, "code", code);
    if (code == RKNN_SUCC)
        add_fields(json, command, &info);
}

int main(int argc, char **argv) {
    /* By number, as in rknn_abi.h; 18 is none of the mini runtime's. */
    static const struct {
        const char *name;
        uint32_t size;
    } commands[] = {
        {"IN_OUT_NUM", sizeof(rknn_input_output_num)},
        {"INPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"OUTPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"PERF_DETAIL", sizeof(union answer)},
        {"PERF_RUN", sizeof(union answer)},
        {"SDK_VERSION", sizeof(rknn_sdk_version)},
        {"MEM_SIZE", sizeof(rknn_mem_size)},
        {"CUSTOM_STRING", sizeof(rknn_custom_string)},
        {"NATIVE_INPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"NATIVE_OUTPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"NATIVE_NHWC_INPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"NATIVE_NHWC_OUTPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"DEVICE_MEM_INFO", sizeof(union answer)},
        {"INPUT_DYNAMIC_RANGE", sizeof(union answer)},
        {"CURRENT_INPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"CURRENT_OUTPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"CURRENT_NATIVE_INPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"CURRENT_NATIVE_OUTPUT_ATTR", sizeof(rknn_tensor_attr)},
        {"UNKNOWN", sizeof(rknn_tensor_attr)},
    };
    rknn_context context = 0;

    if (argc != 2) {
        fputs("usage: attributes-tool MODEL.rknn\n", stderr);
        return 2;
    }
    int code = rknn_init(&context, argv[1], 0, 0, NULL);
    if (code != RKNN_SUCC) {
        fprintf(stderr, "rknn_init: %d\n", code);
        return 1;
    }
    cJSON *answers = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        ask(answers, context, commands[i].name, (int)i, 0, commands[i].size);
    ask(answers, context, "second input", RKNN_QUERY_INPUT_ATTR, 1, sizeof(rknn_tensor_attr));
    ask(answers, context, "second output", RKNN_QUERY_OUTPUT_ATTR, 1, sizeof(rknn_tensor_attr));
    ask(answers, context, "old header", RKNN_QUERY_INPUT_ATTR, 0, 372);
    ask(answers, 0, "no context", RKNN_QUERY_INPUT_ATTR, 0, sizeof(rknn_tensor_attr));
    char *text = cJSON_Print(answers);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(answers);
    return rknn_destroy(context) == RKNN_SUCC ? 0 : 1;
}
