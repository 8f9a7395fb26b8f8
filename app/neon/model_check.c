#include "model_check.h"

#include <stdbool.h>
#include <string.h>

/* Field numbers of TensorFlow Lite's schema.fbs (2.14.1): a table's fields in order. */
enum {
    MODEL_SUBGRAPHS = 2,
    MODEL_BUFFERS = 4,
    SUBGRAPH_TENSORS = 0,
    SUBGRAPH_INPUTS = 1,
    SUBGRAPH_OUTPUTS = 2,
    SUBGRAPH_OPERATORS = 3,
    BUFFER_DATA = 0,
    BUFFER_OFFSET = 1,
    BUFFER_SIZE = 2,
};

/* The bytes, and whether an offset ever led outside of them. */
struct bytes {
    const uint8_t *data;
    size_t size;
    bool broken;
};

static uint32_t u32(struct bytes *bytes, size_t at) {
    if (bytes->size < 4 || at > bytes->size - 4) {
        bytes->broken = true;
        return 0;
    }
    const uint8_t *b = bytes->data + at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static uint64_t u64(struct bytes *bytes, size_t at) {
    return u32(bytes, at) | (uint64_t)u32(bytes, at + 4) << 32;
}

static uint16_t u16(struct bytes *bytes, size_t at) {
    if (bytes->size < 2 || at > bytes->size - 2) {
        bytes->broken = true;
        return 0;
    }
    return (uint16_t)(bytes->data[at] | bytes->data[at + 1] << 8);
}

/* Where a field of a table lies, 0 when the table does not have it (FlatBuffers internals: a
 * table starts with a signed offset back to its vtable, which lists the fields' positions). */
static size_t field(struct bytes *bytes, size_t table, int number) {
    int64_t vtable = (int64_t)table - (int32_t)u32(bytes, table);

    if (vtable < 0 || (uint64_t)vtable >= bytes->size) {
        bytes->broken = true;
        return 0;
    }
    size_t entry = 4 + 2 * (size_t)number;
    if (entry + 2 > u16(bytes, (size_t)vtable))
        return 0;
    uint16_t position = u16(bytes, (size_t)vtable + entry);
    return position == 0 ? 0 : table + position;
}

/* Follow the offset stored at `at`. */
static size_t follow(struct bytes *bytes, size_t at) {
    size_t target = at + u32(bytes, at);

    if (target >= bytes->size) {
        bytes->broken = true;
        return 0;
    }
    return target;
}

/* A vector's length and where its elements begin; 0 when the field is absent. */
static uint32_t vector(struct bytes *bytes, size_t table, int number, size_t element,
                       size_t *start) {
    size_t at = field(bytes, table, number);

    *start = 0;
    if (at == 0)
        return 0;
    size_t head = follow(bytes, at);
    uint32_t length = u32(bytes, head);
    if (bytes->broken || (uint64_t)length * element > bytes->size - head - 4) {
        bytes->broken = true;
        return 0;
    }
    *start = head + 4;
    return length;
}

static uint64_t u64_field(struct bytes *bytes, size_t table, int number) {
    size_t at = field(bytes, table, number);

    return at == 0 ? 0 : u64(bytes, at);
}

static int outside(const char *path, uint32_t number, uint64_t size, struct pico_error *error) {
    pico_fail(error, PICO_BAD_INPUT,
              "%s keeps the %llu bytes of weight buffer %u outside the flatbuffer, which "
              "TensorFlow Lite 2.14.1 cannot run",
              path, (unsigned long long)size, number);
    return pico_hint(error, "ai-edge-quantizer writes such files above 256 kB: convert the model "
                            "with `inv convert-models`, which puts the weights back inside");
}

int pico_model_check(const char *path, const uint8_t *data, size_t size,
                     struct pico_model_facts *facts, struct pico_error *error) {
    struct bytes bytes = {data, size, false};
    size_t start, ignored;

    memset(facts, 0, sizeof *facts);
    if (size < 8 || memcmp(data + 4, "TFL3", 4) != 0) {
        pico_fail(error, PICO_BAD_INPUT, "%s is not a TensorFlow Lite model (no TFL3 at byte 4)",
                  path);
        if (size >= 4 && memcmp(data, "RKNN", 4) == 0)
            pico_hint(error, "this is an RKNN model: run it with npu-runner");
        return error->status;
    }
    size_t model = follow(&bytes, 0);
    uint32_t subgraphs = vector(&bytes, model, MODEL_SUBGRAPHS, 4, &start);
    if (!bytes.broken && subgraphs > 0) {
        size_t graph = follow(&bytes, start);
        vector(&bytes, graph, SUBGRAPH_TENSORS, 4, &ignored);
        facts->inputs = (int)vector(&bytes, graph, SUBGRAPH_INPUTS, 4, &ignored);
        facts->outputs = (int)vector(&bytes, graph, SUBGRAPH_OUTPUTS, 4, &ignored);
        facts->operators = (int)vector(&bytes, graph, SUBGRAPH_OPERATORS, 4, &ignored);
    }
    uint32_t buffers = bytes.broken ? 0 : vector(&bytes, model, MODEL_BUFFERS, 4, &start);
    for (uint32_t i = 0; i < buffers && !bytes.broken; i++) {
        size_t buffer = follow(&bytes, start + (size_t)i * 4);
        vector(&bytes, buffer, BUFFER_DATA, 1, &ignored);
        uint64_t offset = bytes.broken ? 0 : u64_field(&bytes, buffer, BUFFER_OFFSET);
        uint64_t length = bytes.broken ? 0 : u64_field(&bytes, buffer, BUFFER_SIZE);
        /* The schema: "only valid if > 1"; writers put 1 as a placeholder. */
        if (!bytes.broken && (offset > 1 || length > 1))
            return outside(path, i, length, error);
    }
    if (bytes.broken) {
        pico_fail(error, PICO_BAD_INPUT,
                  "%s is truncated or damaged: its structure points outside its %zu bytes", path,
                  size);
        return pico_hint(error, "copy it again and compare its SHA-256 with the model card's");
    }
    if (subgraphs == 0 || facts->operators == 0)
        return pico_fail(error, PICO_BAD_INPUT, "%s holds no network", path);
    return PICO_OK;
}
