/* Writes .rknn files with the public parts of the real ones, and their sidecars. */
#ifndef PICO_RKNN_MAKER_H
#define PICO_RKNN_MAKER_H

#include "check.h"

struct rknn_recipe {
    const char *platform; /* JSON: "[\"rv1103\"]" */
    const char *version;
    const char *input, *output; /* JSON arrays of dims */
    const char *output_type;
    int inputs; /* how many the graph names */
    uint64_t container;
};

static const struct rknn_recipe good_recipe = {
    "[\"rv1103\"]", "2.3.2", "[1, 3, 20, 28]", "[1, 10]", "int8", 1, 0x1004};

static inline size_t make_rknn(const struct rknn_recipe *recipe, uint8_t *bytes, size_t room) {
    char json[2048], graph[512] = "";
    const uint64_t body = 256;

    for (int i = 0; i < recipe->inputs; i++)
        strcat(graph, "{\"left\":\"input\",\"left_tensor_id\":0,\"right\":\"norm_tensor\","
                      "\"right_tensor_id\":0},");
    int length = snprintf(
        json, sizeof json,
        "{\"graph\":[%s{\"left\":\"output\",\"left_tensor_id\":0,\"right\":\"norm_tensor\","
        "\"right_tensor_id\":1}],\"norm_tensor\":["
        "{\"tensor_id\":0,\"url\":\"picture\",\"size\":%s,\"dtype\":{\"vx_type\":\"int8\"}},"
        "{\"tensor_id\":1,\"url\":\"scores\",\"size\":%s,\"dtype\":{\"vx_type\":\"%s\"}}],"
        "\"target_platform\":%s,\"version\":\"%s\"}",
        graph, recipe->input, recipe->output, recipe->output_type, recipe->platform,
        recipe->version);
    size_t size = 64 + (size_t)body + 8 + (size_t)length;
    uint64_t json_size = (uint64_t)length;

    assert_true(length > 0 && (size_t)length < sizeof json && size <= room);
    memset(bytes, 0x5a, size);
    memcpy(bytes, "RKNN\0\0\0\0", 8);
    memcpy(bytes + 8, &recipe->container, 8);
    memcpy(bytes + 16, &body, 8);
    memcpy(bytes + 100, "{\"pico_image\":\"test\"}", 22);
    memcpy(bytes + 64 + body, &json_size, 8);
    memcpy(bytes + 64 + body + 8, json, (size_t)length);
    return size;
}

/* model.rknn, its sidecar and a file where int8.tflite is looked for, in the present folder. */
static inline void write_rknn(const struct rknn_recipe *recipe) {
    uint8_t bytes[4096];
    size_t size = make_rknn(recipe, bytes, sizeof bytes);

    write_bytes("model.rknn", bytes, size);
    write_text("model.rknn.json", "{\"schema\":1,\"input\":{\"scale\":0.0078125,\"zero_point\":0,"
                                  "\"mean\":[127,127,127],\"std\":[128,128,128]},"
                                  "\"output\":{\"scale\":0.5,\"zero_point\":-3}}");
}

#endif
