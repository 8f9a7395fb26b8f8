/* Everything around an inference, N times: from a picture in memory to the best five classes.
 *
 *   around-tool ours|plain PICTURE SCORES N [INPUT]
 *
 * "ours" is npu-runner's own path. "plain" is the same job done straightforwardly, in the manner
 * of the demos that people start from: decode the whole picture, resize it with floats pixel by
 * pixel, copy it into the input, convert the whole output from NC1HWC2 to a row, dequantise all
 * of it, softmax, sort. Both use the same JPEG library. PICTURE is a JPEG or 224x224 raw RGB;
 * SCORES are raw int8 of a classifier, which stand for what the NPU wrote. INPUT receives the
 * prepared input, so that a test can see what a network makes of it. benchmarks/ counts the
 * instructions; the difference between two N is free of loading. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "mapping.h"
#include "prepare.h"
#include "topk.h"

enum { SIDE = 224, GROUP = 16, PLANE = 4 * GROUP, BEST = 5 };

struct job {
    struct pico_mapping picture, scores;
    int classes;
    uint8_t *input; /* SIDE x SIDE x 3, as the NPU's buffer: 224 needs no padding */
    int8_t *native; /* NC1HWC2 */
    float scale;
    int zero_point;
    struct pico_top top[PICO_TOPK_MAX];
};

static int is_jpeg(const struct job *job) {
    return job->picture.size > 2 && job->picture.data[0] == 0xff;
}

/* -- ours ---------------------------------------------------------------------------------- */

static int ours(struct job *job, int runs, struct pico_error *error) {
    struct pico_card card = {.rule = PICO_RESIZE_CENTER_CROP, .fraction = 0.875};
    struct pico_input_view input = {.data = job->input,
                                    .type = PICO_UINT8,
                                    .width = SIDE,
                                    .height = SIDE,
                                    .channels = 3,
                                    .row_bytes = SIDE * 3,
                                    .raw_pixels = true};
    struct pico_output_view output = {.data = job->native,
                                      .type = PICO_INT8,
                                      .classes = job->classes,
                                      .group = GROUP,
                                      .group_stride = PLANE,
                                      .scale = job->scale,
                                      .zero_point = job->zero_point};
    struct pico_picture picture;
    struct pico_preparation preparation;
    struct pico_prepare_times times;

    int status = pico_picture_open(&picture, "picture", job->picture.data, job->picture.size, SIDE,
                                   SIDE, error);
    if (status != PICO_OK)
        return status;
    status = pico_preparation_init(&preparation, &picture, &card, &input, false, error);
    for (int i = 0; status == PICO_OK && i < runs; i++) {
        status = pico_prepare(&preparation, &input, &times, error);
        pico_topk(&output, BEST, true, job->top);
    }
    pico_preparation_free(&preparation);
    pico_picture_close(&picture);
    return status;
}

/* -- plain --------------------------------------------------------------------------------- */

static uint8_t *decode_all(const struct job *job, int *width, int *height) {
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;

    decoder.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&decoder);
    jpeg_mem_src(&decoder, job->picture.data, job->picture.size);
    jpeg_read_header(&decoder, TRUE);
    jpeg_start_decompress(&decoder);
    *width = (int)decoder.output_width;
    *height = (int)decoder.output_height;
    uint8_t *pixels = malloc((size_t)*width * (size_t)*height * 3);
    while (decoder.output_scanline < decoder.output_height) {
        JSAMPROW row = pixels + (size_t)decoder.output_scanline * (size_t)*width * 3;
        jpeg_read_scanlines(&decoder, &row, 1);
    }
    jpeg_finish_decompress(&decoder);
    jpeg_destroy_decompress(&decoder);
    return pixels;
}

static void resize_with_floats(const uint8_t *pixels, int width, int height, uint8_t *out) {
    float side = 0.875f * (float)(width < height ? width : height);
    float left = ((float)width - side) / 2, top = ((float)height - side) / 2;

    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            float sx = left + ((float)x + 0.5f) * side / SIDE - 0.5f;
            float sy = top + ((float)y + 0.5f) * side / SIDE - 0.5f;
            int x0 = (int)sx, y0 = (int)sy;
            float fx = sx - (float)x0, fy = sy - (float)y0;
            const uint8_t *a = pixels + ((size_t)y0 * (size_t)width + (size_t)x0) * 3;
            const uint8_t *b = a + (size_t)width * 3;
            for (int c = 0; c < 3; c++) {
                float upper = (float)a[c] * (1 - fx) + (float)a[c + 3] * fx;
                float lower = (float)b[c] * (1 - fx) + (float)b[c + 3] * fx;
                out[(y * SIDE + x) * 3 + c] = (uint8_t)(upper * (1 - fy) + lower * fy + 0.5f);
            }
        }
    }
}

static int by_score(const void *a, const void *b) {
    float x = ((const struct pico_top *)a)->probability,
          y = ((const struct pico_top *)b)->probability;

    return (x < y) - (x > y);
}

static void plain_post(struct job *job) {
    float *scores = malloc((size_t)job->classes * sizeof *scores), sum = 0, best = -1e30f;
    struct pico_top *all = malloc((size_t)job->classes * sizeof *all);

    for (int c = 0; c < job->classes; c++) {
        int code = job->native[c / GROUP * PLANE + c % GROUP];
        scores[c] = (float)(code - job->zero_point) * job->scale;
        best = scores[c] > best ? scores[c] : best;
    }
    for (int c = 0; c < job->classes; c++) {
        all[c].class_index = c;
        all[c].score = scores[c];
        all[c].probability = expf(scores[c] - best);
        sum += all[c].probability;
    }
    for (int c = 0; c < job->classes; c++)
        all[c].probability /= sum;
    qsort(all, (size_t)job->classes, sizeof *all, by_score);
    memcpy(job->top, all, BEST * sizeof *all);
    free(scores);
    free(all);
}

static void plain(struct job *job, int runs) {
    for (int i = 0; i < runs; i++) {
        int width = SIDE, height = SIDE;
        if (is_jpeg(job)) {
            uint8_t *pixels = decode_all(job, &width, &height);
            uint8_t *resized = malloc(SIDE * SIDE * 3);
            resize_with_floats(pixels, width, height, resized);
            memcpy(job->input, resized, SIDE * SIDE * 3);
            free(pixels);
            free(resized);
        } else {
            memcpy(job->input, job->picture.data, SIDE * SIDE * 3);
        }
        plain_post(job);
    }
}

/* ------------------------------------------------------------------------------------------ */

static int load(struct job *job, const char *picture, const char *scores,
                struct pico_error *error) {
    int status = pico_map_file(&job->picture, picture, "prepare it", error);

    if (status == PICO_OK)
        status = pico_map_file(&job->scores, scores, "find the best classes", error);
    if (status != PICO_OK)
        return status;
    job->classes = (int)job->scores.size;
    job->scale = 0.0676f;
    job->zero_point = -55;
    size_t size = (size_t)(job->classes + GROUP - 1) / GROUP * PLANE;
    job->native = calloc(size, 1);
    job->input = calloc(SIDE * SIDE, 3);
    for (int c = 0; c < job->classes; c++)
        job->native[c / GROUP * PLANE + c % GROUP] = (int8_t)job->scores.data[c];
    return PICO_OK;
}

int main(int argc, char **argv) {
    struct pico_error error;
    struct job job;

    memset(&job, 0, sizeof job);
    if (argc < 5)
        return 2;
    int status = load(&job, argv[2], argv[3], &error);
    if (status == PICO_OK && strcmp(argv[1], "ours") == 0)
        status = ours(&job, atoi(argv[4]), &error);
    else if (status == PICO_OK)
        plain(&job, atoi(argv[4]));
    if (status != PICO_OK) {
        pico_error_print("around-tool", &error);
        return status;
    }
    for (int i = 0; i < BEST; i++)
        printf("%d %.4f\n", job.top[i].class_index, (double)job.top[i].probability);
    if (argc > 5) {
        FILE *file = fopen(argv[5], "wb");
        if (file == NULL || fwrite(job.input, SIDE * 3, SIDE, file) != SIDE || fclose(file) != 0)
            return 1;
    }
    free(job.native);
    free(job.input);
    pico_unmap_file(&job.picture);
    pico_unmap_file(&job.scores);
    return 0;
}
