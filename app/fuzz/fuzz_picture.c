/* Pictures through the path of the runners: recognise, check, decode, resize, twice.
 *
 * The first four bytes choose the input; the rest is the file. Mutated PNG chunks get a right CRC,
 * or libpng's check of it would be all that is ever fuzzed. */
#include <zlib.h>

#include "fuzz.h"
#include "prepare.h"

enum {
    CHOICE = 4,
    PNG_HEAD = CHOICE + 8,
    /* A file of 100 bytes may announce 65535 x 65535 pixels: valid to decode, but slow. */
    MOST_PIXELS = 1 << 20,
};

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static uint32_t big_endian(const uint8_t *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, max);
    if (seed % 8 == 0 || size < PNG_HEAD || memcmp(data + CHOICE, "\x89PNG", 4) != 0)
        return size;
    for (size_t at = PNG_HEAD; at + 12 <= size;) {
        uint32_t length = big_endian(data + at);
        if (length > size - at - 12)
            break;
        uint32_t sum = (uint32_t)crc32(0, data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += 12 + (size_t)length;
    }
    return size;
}

static int prepare(struct pico_picture *picture, const uint8_t *choice, struct pico_error *error) {
    struct pico_card card = {
        .rule = choice[0] & 1 ? PICO_RESIZE_STRETCH : PICO_RESIZE_CENTER_CROP,
        .fraction = choice[0] & 1 ? 1 : 0.01 * (1 + choice[1] % 100),
        .bgr = (choice[0] & 2) != 0,
        .mean = {127, 127, 127},
        .std = {128, 128, 128},
    };
    struct pico_input_view input = {
        .type = choice[0] & 4   ? PICO_FLOAT32
                : choice[0] & 8 ? PICO_INT8
                                : PICO_UINT8,
        .width = 1 + choice[2] % 64,
        .height = 1 + choice[3] % 64,
        .channels = 3,
        .scale = 1 / 128.0f,
        .raw_pixels = (choice[0] & 12) == 0,
    };
    struct pico_preparation preparation;
    struct pico_prepare_times times;

    /* Exactly as large as promised, so that a byte too many is seen. */
    size_t pixel = input.type == PICO_FLOAT32 ? 12 : 3;
    input.row_bytes = (size_t)input.width * pixel;
    size_t bytes = input.row_bytes * (size_t)input.height;
    uint8_t *data = malloc(bytes), *first = malloc(bytes);
    input.data = data;
    int status =
        pico_preparation_init(&preparation, picture, &card, &input, (choice[0] & 16) != 0, error);
    if (status == PICO_OK) {
        for (int pass = 0; pass < 2 && status == PICO_OK; pass++) {
            memset(data, pass == 0 ? 0x00 : 0xff, bytes);
            status = pico_prepare(&preparation, &input, &times, error);
            if (pass == 0)
                memcpy(first, data, bytes);
            else if (status == PICO_OK && memcmp(first, data, bytes) != 0)
                abort(); /* a byte not written, or two decodings that differ */
        }
        pico_preparation_free(&preparation);
    }
    free(first);
    free(data);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct pico_error error = {0};
    struct pico_picture picture;

    if (size <= CHOICE)
        return 0;
    /* On the heap, as long as it is: beyond a mapped file is a bus error, too. */
    uint8_t *file = malloc(size - CHOICE);
    memcpy(file, data + CHOICE, size - CHOICE);
    int raw = data[0] & 32 ? 8 : 0;
    int status = pico_picture_open(&picture, "fuzz", file, size - CHOICE, raw, raw, &error);
    fuzz_check(status, &error);
    if (status == PICO_OK &&
        (double)picture.stored_width * picture.stored_height <= (double)MOST_PIXELS) {
        status = pico_picture_check(&picture, &error);
        fuzz_check(status, &error);
        fuzz_check(prepare(&picture, data, &error), &error);
    }
    if (picture.state != NULL)
        pico_picture_close(&picture);
    free(file);
    return 0;
}
