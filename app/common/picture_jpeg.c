/* JPEG through libjpeg-turbo: scaled decoding, only the rows and columns that are needed. */
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h uses FILE */
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "picture_decoder.h"

enum {
    /* A progressive file may hold thousands of tiny scans that each cost a pass over the picture
     * (libjpeg-turbo's own djpeg has -maxscans for this). Real encoders write about ten. */
    MAX_SCANS = 100,
    COEFFICIENT_BLOCK_BYTES = 64 * 2,
};

struct jpeg {
    struct jpeg_error_mgr errors; /* must be first: libjpeg hands a pointer to it back */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct decoder;
    jmp_buf escape;
    char reason[JMSG_LENGTH_MAX];
    int cropped; /* columns on the left that libjpeg does not decode */
    uint8_t *strip;
    size_t strip_size;
    JSAMPROW rows[PICO_STRIP_ROWS];
};

static void on_error(j_common_ptr info) {
    struct jpeg *jpeg = (struct jpeg *)(void *)info->err;

    info->err->format_message(info, jpeg->reason);
    longjmp(jpeg->escape, 1);
}

/* libjpeg calls damaged data a warning, fills up with grey and goes on. A benchmark that
 * classifies grey would report a wrong class instead of a bad file. */
static void on_message(j_common_ptr info, int level) {
    if (level >= 0)
        return;
    switch (info->err->msg_code) {
    case JWRN_ADOBE_XFORM: /* odd but harmless */
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
        return;
    default:
        on_error(info);
    }
}

static void on_progress(j_common_ptr info) {
    struct jpeg *jpeg = (struct jpeg *)(void *)info->err;

    if (jpeg->decoder.input_scan_number > MAX_SCANS) {
        snprintf(jpeg->reason, sizeof jpeg->reason, "more than %d scans", MAX_SCANS);
        longjmp(jpeg->escape, 1);
    }
}

static int damaged(const struct pico_picture *picture, struct pico_error *error) {
    const struct jpeg *jpeg = picture->state;

    return pico_fail(error, PICO_BAD_INPUT, "%s is a damaged JPEG: %s", picture->path,
                     jpeg->reason);
}

static int check_memory(struct pico_picture *picture, struct jpeg *jpeg, struct pico_error *error) {
    double blocks = 0;

    if (!jpeg_has_multiple_scans(&jpeg->decoder))
        return PICO_OK;
    for (int i = 0; i < jpeg->decoder.num_components; i++) {
        const jpeg_component_info *part = &jpeg->decoder.comp_info[i];
        blocks += (double)part->width_in_blocks * part->height_in_blocks;
    }
    if (blocks * COEFFICIENT_BLOCK_BYTES > PICO_PICTURE_MEMORY_LIMIT) {
        return pico_picture_too_large(picture, blocks * COEFFICIENT_BLOCK_BYTES, "progressive",
                                      error);
    }
    return PICO_OK;
}

static int is_cmyk(const struct jpeg *jpeg) {
    return jpeg->decoder.jpeg_color_space == JCS_CMYK || jpeg->decoder.jpeg_color_space == JCS_YCCK;
}

static int start(struct pico_picture *picture, struct pico_error *error) {
    struct jpeg *jpeg = picture->state;

    if (setjmp(jpeg->escape) != 0)
        return damaged(picture, error);
    jpeg_abort_decompress(&jpeg->decoder);
    jpeg_mem_src(&jpeg->decoder, picture->data, picture->size);
    jpeg_read_header(&jpeg->decoder, TRUE);
    int status = check_memory(picture, jpeg, error);
    if (status != PICO_OK)
        return status;
    /* CMYK is decoded as stored and converted below; libjpeg converts the rest to RGB. */
    jpeg->decoder.out_color_space = is_cmyk(jpeg) ? JCS_CMYK : JCS_RGB;
    jpeg->decoder.scale_num = 1;
    jpeg->decoder.scale_denom = (unsigned)picture->scale;
    jpeg_start_decompress(&jpeg->decoder);
    jpeg->cropped = 0;
    if (picture->columns < picture->width) {
        /* One column more to each side: at the edge of a crop libjpeg-turbo's smooth upsampling
         * lacks the neighbour and gives another value there than in the whole picture. */
        JDIMENSION first = picture->first_column > 0 ? (JDIMENSION)picture->first_column - 1 : 0;
        JDIMENSION end = (JDIMENSION)(picture->first_column + picture->columns) + 1;
        if (end > jpeg->decoder.output_width)
            end = jpeg->decoder.output_width;
        JDIMENSION width = end - first;
        jpeg_crop_scanline(&jpeg->decoder, &first, &width);
        jpeg->cropped = (int)first;
    }
    size_t row_bytes =
        (size_t)jpeg->decoder.output_width * (size_t)jpeg->decoder.out_color_components;
    if (row_bytes * PICO_STRIP_ROWS > jpeg->strip_size) {
        uint8_t *strip = realloc(jpeg->strip, row_bytes * PICO_STRIP_ROWS);
        if (strip == NULL) {
            return pico_fail(error, PICO_FAILED, "not enough memory to decode %s (%d pixels wide)",
                             picture->path, picture->stored_width);
        }
        jpeg->strip = strip;
        jpeg->strip_size = row_bytes * PICO_STRIP_ROWS;
    }
    for (int i = 0; i < PICO_STRIP_ROWS; i++)
        jpeg->rows[i] = jpeg->strip + (size_t)i * row_bytes;
    picture->row_bytes = row_bytes;
    picture->next_row = 0;
    return PICO_OK;
}

static int skip(struct pico_picture *picture, int rows, struct pico_error *error) {
    struct jpeg *jpeg = picture->state;

    if (setjmp(jpeg->escape) != 0)
        return damaged(picture, error);
    if (rows > 0)
        jpeg_skip_scanlines(&jpeg->decoder, (JDIMENSION)rows);
    picture->next_row += rows;
    return PICO_OK;
}

/* In place: three bytes for every four. Adobe's files store inverted inks, others do not. */
static void cmyk_to_rgb(const struct jpeg *jpeg, int rows) {
    size_t width = jpeg->decoder.output_width;
    unsigned flip = jpeg->decoder.saw_Adobe_marker ? 0 : 255;

    for (int y = 0; y < rows; y++) {
        const uint8_t *in = jpeg->rows[y];
        uint8_t *out = jpeg->rows[y];
        for (size_t x = 0; x < width; x++, in += 4, out += 3) {
            unsigned black = in[3] ^ flip;
            uint8_t red = (uint8_t)(((in[0] ^ flip) * black + 127) / 255);
            uint8_t green = (uint8_t)(((in[1] ^ flip) * black + 127) / 255);
            uint8_t blue = (uint8_t)(((in[2] ^ flip) * black + 127) / 255);
            out[0] = red;
            out[1] = green;
            out[2] = blue;
        }
    }
}

static int read_rows(struct pico_picture *picture, const uint8_t **rows, int *count,
                     struct pico_error *error) {
    struct jpeg *jpeg = picture->state;

    if (setjmp(jpeg->escape) != 0)
        return damaged(picture, error);
    *count = 0;
    do {
        *count += (int)jpeg_read_scanlines(&jpeg->decoder, jpeg->rows + *count,
                                           (JDIMENSION)(PICO_STRIP_ROWS - *count));
    } while (*count < PICO_STRIP_ROWS &&
             jpeg->decoder.output_scanline < jpeg->decoder.output_height);
    if (is_cmyk(jpeg))
        cmyk_to_rgb(jpeg, *count);
    *rows = jpeg->strip + (size_t)(picture->first_column - jpeg->cropped) * 3;
    picture->next_row += *count;
    return PICO_OK;
}

static int finish(struct pico_picture *picture, struct pico_error *error) {
    struct jpeg *jpeg = picture->state;

    if (setjmp(jpeg->escape) != 0)
        return damaged(picture, error);
    jpeg_finish_decompress(&jpeg->decoder);
    return PICO_OK;
}

static void close_jpeg(struct pico_picture *picture) {
    struct jpeg *jpeg = picture->state;

    jpeg_destroy_decompress(&jpeg->decoder);
    free(jpeg->strip);
    free(jpeg);
}

int pico_jpeg_open(struct pico_picture *picture, struct pico_error *error) {
    static const struct pico_picture_kind kind = {"JPEG",    start,  skip,
                                                  read_rows, finish, close_jpeg};
    struct jpeg *jpeg = calloc(1, sizeof *jpeg);

    if (jpeg == NULL)
        return pico_fail(error, PICO_FAILED, "not enough memory to open %s", picture->path);
    picture->kind = &kind;
    picture->state = jpeg;
    jpeg->decoder.err = jpeg_std_error(&jpeg->errors);
    jpeg->errors.error_exit = on_error;
    jpeg->errors.emit_message = on_message;
    jpeg_create_decompress(&jpeg->decoder);
    jpeg->progress.progress_monitor = on_progress;
    jpeg->decoder.progress = &jpeg->progress;
    if (setjmp(jpeg->escape) != 0)
        return damaged(picture, error);
    jpeg_mem_src(&jpeg->decoder, picture->data, picture->size);
    jpeg_read_header(&jpeg->decoder, TRUE);
    picture->width = picture->stored_width = (int)jpeg->decoder.image_width;
    picture->height = picture->stored_height = (int)jpeg->decoder.image_height;
    return check_memory(picture, jpeg, error);
}
