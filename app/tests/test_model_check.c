/* Damaged .tflite files; real models are in tests/app/test_neon_runner.py. */
#include "check.h"

#include "model_check.h"

/* A model as the schema lays it out: root, one subgraph with one input, output and operator, two
 * buffers. Offsets are relative to where they are stored. */
static size_t make_model(uint8_t *bytes, uint64_t offset, uint64_t length) {
    uint32_t words[64] = {0};
    int n = 0;

    words[n++] = 7 * 4;                /* 0: root -> table at word 7 */
    memcpy(&words[n++], "TFL3", 4);    /* 1 */
    words[n++] = 14 | 12 << 16;        /* 2: vtable of Model: 14 bytes, 5 fields */
    words[n++] = 0;                    /* 3: version, operator codes: absent */
    words[n++] = 4 | 0 << 16;          /* 4: subgraphs at +4, description absent */
    words[n++] = 8;                    /* 5: buffers at +8 */
    words[n++] = 0;                    /* 6 */
    words[n++] = (7 - 2) * 4;          /* 7: Model, vtable 5 words back */
    words[n++] = (10 - 8) * 4;         /* 8: -> subgraphs */
    words[n++] = (24 - 9) * 4;         /* 9: -> buffers */
    words[n++] = 1;                    /* 10: one subgraph */
    words[n++] = (15 - 11) * 4;        /* 11: -> it */
    words[n++] = 12 | 16 << 16;        /* 12: vtable of SubGraph, 4 fields */
    words[n++] = 0 | 4 << 16;          /* 13: no tensors, inputs at +4 */
    words[n++] = 8 | 12 << 16;         /* 14: outputs +8, operators +12 */
    words[n++] = (15 - 12) * 4;        /* 15: SubGraph */
    words[n++] = (19 - 16) * 4;        /* 16: -> inputs */
    words[n++] = (19 - 17) * 4;        /* 17: -> outputs (the same vector) */
    words[n++] = (21 - 18) * 4;        /* 18: -> operators */
    words[n++] = 1;                    /* 19 */
    words[n++] = 0;                    /* 20 */
    words[n++] = 1;                    /* 21 */
    words[n++] = 4;                    /* 22: never followed */
    words[n++] = 0;                    /* 23 */
    words[n++] = 2;                    /* 24: two buffers */
    words[n++] = (30 - 25) * 4;        /* 25 */
    words[n++] = (30 - 26) * 4;        /* 26: the same twice */
    words[n++] = 10 | 20 << 16;        /* 27: vtable of Buffer, 3 fields */
    words[n++] = 0 | 4 << 16;          /* 28: data absent, offset at +4 */
    words[n++] = 12;                   /* 29: size at +12 */
    words[n++] = (30 - 27) * 4;        /* 30: Buffer */
    memcpy(&words[n], &offset, 8);     /* 31 */
    memcpy(&words[n + 2], &length, 8); /* 33 */
    n += 4;
    memcpy(bytes, words, (size_t)n * 4);
    return (size_t)n * 4;
}

static void a_model(void **state) {
    uint8_t bytes[256];
    struct pico_model_facts facts;
    struct pico_error error;
    size_t size = make_model(bytes, 0, 0);

    (void)state;
    assert_int_equal(pico_model_check("m", bytes, size, &facts, &error), PICO_OK);
    assert_int_equal(facts.inputs, 1);
    assert_int_equal(facts.outputs, 1);
    assert_int_equal(facts.operators, 1);
}

static void weights_outside(void **state) {
    uint8_t bytes[256];
    struct pico_model_facts facts;
    struct pico_error error;
    size_t size = make_model(bytes, 4096, 1234);

    (void)state;
    assert_int_equal(pico_model_check("m", bytes, size, &facts, &error), PICO_BAD_INPUT);
    assert_says(error, "1234 bytes of weight buffer 0 outside the flatbuffer");
    size = make_model(bytes, 1, 1); /* the writers' placeholder */
    assert_int_equal(pico_model_check("m", bytes, size, &facts, &error), PICO_OK);
}

static void not_a_model(void **state) {
    struct pico_model_facts facts;
    struct pico_error error;

    (void)state;
    assert_int_equal(pico_model_check("m", (const uint8_t *)"", 0, &facts, &error), PICO_BAD_INPUT);
    assert_int_equal(pico_model_check("m", (const uint8_t *)"RKNN\0\0\0\0", 8, &facts, &error),
                     PICO_BAD_INPUT);
    assert_true(strstr(error.hint, "npu-runner") != NULL);
}

/* Every prefix and every changed byte: an answer, no crash. Each copy lies in memory of exactly
 * its size so that the address sanitizer sees one byte too many. */
static void damaged(void **state) {
    uint8_t bytes[256];
    struct pico_model_facts facts;
    struct pico_error error;
    size_t size = make_model(bytes, 0, 0);

    (void)state;
    for (size_t length = 0; length < size; length++) {
        uint8_t *copy = malloc(length + (length == 0));
        memcpy(copy, bytes, length);
        int status = pico_model_check("m", copy, length, &facts, &error);
        if (length < 120) /* the last table's absent fields may be cut off unseen */
            assert_int_equal(status, PICO_BAD_INPUT);
        free(copy);
    }
    for (size_t at = 0; at < size; at++) {
        for (int value = 0; value < 256; value += value < 16 || value > 239 ? 1 : 16) {
            uint8_t *copy = malloc(size);
            memcpy(copy, bytes, size);
            copy[at] = (uint8_t)value;
            int status = pico_model_check("m", copy, size, &facts, &error);
            assert_true(status == PICO_OK || status == PICO_BAD_INPUT);
            free(copy);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model),
        cmocka_unit_test(weights_outside),
        cmocka_unit_test(not_a_model),
        cmocka_unit_test(damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
