/* For the tests: pictures through the runner's own decoding and resizing, into raw RGB files.
 *
 *   picture-tool FOLDER WIDTH HEIGHT center-crop|stretch FRACTION exact|scaled PICTURE...
 *
 * Writes FOLDER/<n>.rgb for the n-th picture and prints "ok WIDTH HEIGHT SCALE" or "no STATUS
 * MESSAGE" for each. Every picture is prepared twice; the second must be the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapping.h"
#include "prepare.h"

struct job {
    struct pico_card card;
    struct pico_input_view input;
    const char *folder;
    bool exact;
};

static int prepare(const struct job *job, struct pico_picture *picture, struct pico_error *error) {
    struct pico_preparation preparation;
    struct pico_prepare_times times;
    size_t size = job->input.row_bytes * (size_t)job->input.height;

    int status = pico_picture_check(picture, error);
    if (status == PICO_OK)
        status = pico_preparation_init(&preparation, picture, &job->card, &job->input, job->exact,
                                       error);
    if (status != PICO_OK)
        return status;
    uint8_t *first = malloc(size);
    for (int pass = 0; pass < 2 && status == PICO_OK; pass++) {
        memset(job->input.data, 0xaa, size);
        status = pico_prepare(&preparation, &job->input, &times, error);
        if (pass == 0)
            memcpy(first, job->input.data, size);
        else if (status == PICO_OK && memcmp(first, job->input.data, size) != 0)
            status = pico_fail(error, PICO_FAILED, "the second preparation differs");
    }
    free(first);
    pico_preparation_free(&preparation);
    return status;
}

static void one(const struct job *job, const char *path, int number) {
    struct pico_mapping file;
    struct pico_picture picture;
    struct pico_error error;
    char name[512];

    int status = pico_map_file(&file, path, "test", &error);
    if (status == PICO_OK) {
        status = pico_picture_open(&picture, path, file.data, file.size, job->input.width,
                                   job->input.height, &error);
        if (status == PICO_OK) {
            status = prepare(job, &picture, &error);
            if (status == PICO_OK) {
                snprintf(name, sizeof name, "%s/%d.rgb", job->folder, number);
                FILE *out = fopen(name, "wb");
                if (out == NULL)
                    exit(1);
                fwrite(job->input.data, job->input.row_bytes, (size_t)job->input.height, out);
                fclose(out);
                printf("ok %d %d %d\n", picture.stored_width, picture.stored_height, picture.scale);
            }
            pico_picture_close(&picture);
        }
        pico_unmap_file(&file);
    }
    if (status != PICO_OK)
        printf("no %d %s\n", status, error.message);
}

int main(int argc, char **argv) {
    struct job job;

    if (argc < 8)
        return 2;
    memset(&job, 0, sizeof job);
    job.folder = argv[1];
    job.input.width = atoi(argv[2]);
    job.input.height = atoi(argv[3]);
    job.card.rule = strcmp(argv[4], "stretch") == 0 ? PICO_RESIZE_STRETCH : PICO_RESIZE_CENTER_CROP;
    job.card.fraction = atof(argv[5]);
    job.exact = strcmp(argv[6], "exact") == 0;
    job.input.channels = 3;
    job.input.type = PICO_UINT8;
    job.input.raw_pixels = true;
    job.input.row_bytes = (size_t)job.input.width * 3;
    job.input.data = malloc(job.input.row_bytes * (size_t)job.input.height);
    for (int i = 7; i < argc; i++)
        one(&job, argv[i], i - 7);
    free(job.input.data);
    return 0;
}
