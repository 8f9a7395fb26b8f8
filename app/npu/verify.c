#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "layouts.h"
#include "stop.h"

/* What docs/models.md promises of an answer within tolerance. */
static const double least_cosine = 0.99;

const char *npu_verdict_name(enum npu_verdict verdict) {
    static const char *const names[] = {"exact", "within-tolerance", "wrong"};

    return names[verdict];
}

static int check_sizes(const struct npu_session *session, const struct golden *golden,
                       size_t outputs, struct pico_error *error) {
    const struct pico_input_view *input = &session->input;
    size_t inputs = (size_t)input->height * (size_t)input->width * (size_t)input->channels;

    if (golden->input_bytes == inputs && golden->output_bytes == outputs)
        return PICO_OK;
    return pico_fail(error, PICO_BAD_INPUT,
                     "%s has vectors of %zu bytes with answers of %zu; the model's input has %zu "
                     "bytes and its output %zu values",
                     golden->list, golden->input_bytes, golden->output_bytes, inputs, outputs);
}

/* Rows of the NPU's input are padded to 16 pixels, those of the file are not. */
static void write_input(const struct pico_input_view *input, const uint8_t *pixels) {
    size_t row = (size_t)input->width * (size_t)input->channels;

    for (int y = 0; y < input->height; y++)
        memcpy((uint8_t *)input->data + (size_t)y * input->row_bytes, pixels + (size_t)y * row,
               row);
}

static size_t find_best(const int8_t *values, size_t count) {
    size_t best = 0;

    for (size_t i = 1; i < count; i++) {
        if (values[i] > values[best])
            best = i;
    }
    return best;
}

static void compare(const int8_t *ours, const int8_t *theirs, size_t count, int zero_point,
                    int tolerance, struct npu_difference *difference) {
    int64_t dot = 0, aa = 0, bb = 0;

    for (size_t i = 0; i < count; i++) {
        int step = abs(ours[i] - theirs[i]), a = ours[i] - zero_point, b = theirs[i] - zero_point;
        difference->exact += step == 0;
        if (step > difference->largest_step)
            difference->largest_step = step;
        dot += a * b;
        aa += a * a;
        bb += b * b;
    }
    /* The scale of both is the same one: it divides out. */
    difference->cosine =
        aa > 0 && bb > 0 ? (double)dot / sqrt((double)aa * (double)bb) : (double)NAN;
    difference->top1_equal = find_best(ours, count) == find_best(theirs, count);
    if (difference->exact == count)
        difference->verdict = NPU_EXACT;
    else if (difference->largest_step <= tolerance && difference->cosine >= least_cosine)
        difference->verdict = NPU_WITHIN_TOLERANCE;
    else
        difference->verdict = NPU_WRONG;
}

static void add(struct npu_verification *result, const struct npu_difference *difference,
                size_t count) {
    result->exact += difference->exact;
    result->bytes += count;
    result->top1_equal += difference->top1_equal;
    if (difference->largest_step > result->largest_step)
        result->largest_step = difference->largest_step;
    if (isfinite(difference->cosine) && !(result->least_cosine <= difference->cosine))
        result->least_cosine = difference->cosine; /* also while that is NAN */
    if (difference->verdict > result->verdict)
        result->verdict = difference->verdict;
}

static int verify_one(struct npu_session *session, const struct golden *golden, int index,
                      size_t pixels, struct npu_difference *difference, struct pico_error *error) {
    struct pico_mapping input, output;
    size_t count = golden->output_bytes;
    int status = golden_open(golden, index, &input, &output, error);

    if (status != PICO_OK)
        return status;
    int8_t *ours = malloc(count);
    if (ours == NULL)
        status = pico_fail(error, PICO_FAILED, "not enough memory to compare answers");
    if (status == PICO_OK) {
        write_input(&session->input, input.data);
        status = npu_session_run(session, error);
    }
    if (status == PICO_OK)
        status = npu_decode_int8(&session->output_attr, session->output_mem->virt_addr,
                                 count / pixels, pixels, ours, error);
    if (status == PICO_OK) {
        difference->name = golden->vectors[index].name;
        compare(ours, (const int8_t *)output.data, count, session->output_attr.zp,
                golden->tolerance_steps, difference);
    }
    free(ours);
    golden_close(&input, &output);
    return status;
}

int npu_verify(struct npu_session *session, const struct golden *golden, int limit,
               struct npu_verification *result, struct pico_error *error) {
    const struct rknn_file_tensor *tensor = &session->file.output;
    size_t channels = tensor->dim_count > 1 ? (size_t)tensor->dims[1] : 0, pixels = 1;

    memset(result, 0, sizeof *result);
    result->least_cosine = (double)NAN;
    result->listed = golden->count;
    for (int i = 2; i < tensor->dim_count; i++)
        pixels *= (size_t)tensor->dims[i];
    int status = check_sizes(session, golden, channels * pixels, error);
    for (int i = 0; status == PICO_OK && i < golden->count && (limit == 0 || i < limit); i++) {
        if (pico_stop_requested())
            return pico_fail(error, PICO_INTERRUPTED, "interrupted");
        status = verify_one(session, golden, i, pixels, &result->vectors[i], error);
        if (status == PICO_OK) {
            add(result, &result->vectors[i], golden->output_bytes);
            result->run++;
        }
    }
    return status;
}

void npu_verification_line(const struct npu_verification *result, const struct golden *golden,
                           char *line, size_t size) {
    if (result->verdict == NPU_EXACT)
        snprintf(line, size, "exact, %d of %d vectors", result->run, result->listed);
    else
        snprintf(line, size,
                 "%s, largest step %d of %d allowed, %.2f%% of the bytes exact, %d of %d vectors",
                 result->verdict == NPU_WRONG ? "WRONG" : "within tolerance", result->largest_step,
                 golden->tolerance_steps, 100.0 * (double)result->exact / (double)result->bytes,
                 result->run, result->listed);
}

cJSON *npu_verification_json(const struct npu_verification *result, const struct golden *golden) {
    cJSON *object = cJSON_CreateObject();
    char line[160];

    cJSON_AddStringToObject(object, "verdict", npu_verdict_name(result->verdict));
    npu_verification_line(result, golden, line, sizeof line);
    cJSON_AddStringToObject(object, "line", line);
    cJSON_AddStringToObject(object, "model_sha256", golden->model_sha256);
    cJSON_AddStringToObject(object, "toolkit", golden->toolkit);
    cJSON_AddNumberToObject(object, "tolerance_steps", golden->tolerance_steps);
    cJSON_AddNumberToObject(object, "run", result->run);
    cJSON_AddNumberToObject(object, "listed", result->listed);
    cJSON_AddNumberToObject(object, "exact_bytes", (double)result->exact);
    cJSON_AddNumberToObject(object, "bytes", (double)result->bytes);
    cJSON_AddNumberToObject(object, "largest_step", result->largest_step);
    pico_json_add_number(object, "least_cosine", result->least_cosine);
    cJSON_AddNumberToObject(object, "top1_equal", result->top1_equal);
    cJSON *vectors = cJSON_AddArrayToObject(object, "vectors");
    for (int i = 0; i < result->run; i++) {
        const struct npu_difference *difference = &result->vectors[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", difference->name);
        cJSON_AddNumberToObject(item, "exact_bytes", (double)difference->exact);
        cJSON_AddNumberToObject(item, "bytes", (double)golden->output_bytes);
        cJSON_AddNumberToObject(item, "largest_step", difference->largest_step);
        pico_json_add_number(item, "cosine", difference->cosine);
        cJSON_AddBoolToObject(item, "top1_equal", difference->top1_equal);
        cJSON_AddItemToArray(vectors, item);
    }
    return object;
}

void npu_verification_print(const struct npu_verification *result, const struct golden *golden) {
    char line[160];

    printf("golden     %s, answers of rknn-toolkit2 %s, tolerance %d steps\n", golden->folder,
           golden->toolkit, golden->tolerance_steps);
    printf("%-32s %12s %9s %9s %s\n", "vector", "exact bytes", "step", "cosine", " top-1");
    for (int i = 0; i < result->run; i++) {
        const struct npu_difference *difference = &result->vectors[i];
        printf("%-32s %12zu %9d %9.6f  %s\n", difference->name, difference->exact,
               difference->largest_step, difference->cosine,
               difference->top1_equal ? "equal" : "DIFFERS");
    }
    npu_verification_line(result, golden, line, sizeof line);
    printf("verdict    %s\n", line);
}
