/* Each warning about the machine: its cause, and that it is absent without that. */
#include "check.h"

#include <math.h>

#include "bench.h"
#include "json.h"

static struct bench bench;
static struct bench_model model;

/* A board at rest: 1104 MHz, 40 degrees, nothing else running. */
static cJSON *quiet_state(void) {
    cJSON *state = cJSON_CreateObject();

    cJSON_AddStringToObject(state, "governor", "performance");
    cJSON_AddNumberToObject(state, "cpu_mhz_measured", 1104);
    cJSON_AddNumberToObject(state, "temperature_celsius", 40);
    cJSON_AddNumberToObject(state, "swap_used_kib", 0);
    cJSON_AddFalseToObject(state, "rkipc_runs");
    return state;
}

static int fresh(void **state) {
    (void)state;
    memset(&bench, 0, sizeof bench);
    memset(&model, 0, sizeof model);
    strcpy(bench.governor_before, "ondemand");
    strcpy(bench.governor_used, "performance");
    bench.before = quiet_state();
    bench.after = quiet_state();
    bench.models = &model;
    bench.model_count = 1;
    strcpy(model.card.name, "m");
    model.card.image_count = 1;
    model.configs[0].title = "CPU float32";
    model.configs[0].pictures[0].correct = -1;
    return 0;
}

static int gone(void **state) {
    (void)state;
    cJSON_Delete(bench.before);
    cJSON_Delete(bench.after);
    for (int i = 0; i < PICO_STAGES; i++)
        pico_samples_free(&model.configs[0].pictures[0].stages[i]);
    return 0;
}

static void put(cJSON *state, const char *key, double value) {
    cJSON_ReplaceItemInObjectCaseSensitive(state, key, cJSON_CreateNumber(value));
}

static void put_text(cJSON *state, const char *key, const char *value) {
    cJSON_ReplaceItemInObjectCaseSensitive(state, key, cJSON_CreateString(value));
}

/* `count` inference times of 1 ms, each second one longer by the factor. */
static void inference_times(int count, double factor) {
    model.configs[0].rounds = 1;
    for (int i = 0; i < count; i++)
        pico_samples_add(&model.configs[0].pictures[0].stages[PICO_INFERENCE],
                         i % 2 == 0 ? 1000 : 1000 * factor);
}

static void says_only(const char *text) {
    bench_judge(&bench);
    assert_int_equal(bench.warnings.count, text == NULL ? 0 : 1);
    if (text != NULL && strstr(bench.warnings.text[0], text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", bench.warnings.text[0], text);
    assert_int_equal(bench.failures.count, 0);
}

static cJSON *verification(const char *verdict, bool simulated) {
    cJSON *object = cJSON_CreateObject();

    cJSON_AddStringToObject(object, "verdict", verdict);
    cJSON_AddStringToObject(object, "line", "the line");
    cJSON_AddBoolToObject(object, "simulated", simulated);
    return object;
}

static void answers_of_the_npu(void **state) {
    struct bench_config *config = &model.configs[2];

    (void)state;
    config->title = "NPU int8";
    config->verification = verification("within-tolerance", false);
    says_only(NULL);
    cJSON_Delete(config->verification);
    config->verification = verification("wrong", true);
    says_only("m NPU int8 (simulated): its answers are not the PC's: the line");
    cJSON_Delete(config->verification);
    config->verification = verification("wrong", false);
    memset(&bench.warnings, 0, sizeof bench.warnings);
    bench_judge(&bench);
    assert_int_equal(bench.failures.count, 1);
    assert_string_equal(bench.failures.text[0],
                        "m NPU int8: its answers are not the PC's: the line");
    cJSON_Delete(config->verification);
    config->verification = NULL;
    strcpy(config->verification_failure, "it was killed");
    bench_judge(&bench);
    assert_int_equal(bench.failures.count, 2);
    assert_non_null(strstr(bench.failures.text[1], "could not be compared with the PC's: it was"));
    assert_int_equal(bench.warnings.count, 0);
}

static void a_quiet_board(void **state) {
    (void)state;
    inference_times(100, 1.04); /* a CV of 2.0 % */
    says_only(NULL);
}

/* Where there is no governor there is one clock. */
static void a_fixed_clock(void **state) {
    (void)state;
    bench.governor_before[0] = bench.governor_used[0] = '\0';
    cJSON_ReplaceItemInObjectCaseSensitive(bench.after, "governor", cJSON_CreateNull());
    says_only(NULL);
}

static void the_governor(void **state) {
    (void)state;
    strcpy(bench.governor_used, "ondemand");
    put_text(bench.after, "governor", "ondemand");
    says_only("governor is \"ondemand\"");
}

static void the_governor_under_way(void **state) {
    (void)state;
    put_text(bench.after, "governor", "powersave");
    says_only("governor became \"powersave\"");
}

static void the_clock(void **state) {
    (void)state;
    put(bench.after, "cpu_mhz_measured", 1104 * 0.96);
    says_only(NULL);
    put(bench.after, "cpu_mhz_measured", 1104 * 0.94);
    says_only("the CPU clock changed: 1104 MHz before, 1038 MHz after");
}

static void a_faster_clock(void **state) {
    (void)state;
    put(bench.after, "cpu_mhz_measured", 1104 * 1.06);
    says_only("the CPU clock changed");
}

static void an_emulated_clock(void **state) {
    (void)state;
    bench.emulated = true;
    put(bench.after, "cpu_mhz_measured", 300);
    says_only(NULL);
}

static void variation(void **state) {
    (void)state;
    inference_times(100, 1.06); /* a CV of 2.9 % */
    says_only("m CPU float32 on : inference times vary by 2.9% (CV)");
}

static void few_samples(void **state) {
    (void)state;
    inference_times(99, 1);
    says_only("fewer than 100 runs: p99");
}

static void rkipc(void **state) {
    (void)state;
    cJSON_ReplaceItemInObjectCaseSensitive(bench.before, "rkipc_runs", cJSON_CreateTrue());
    says_only("rkipc runs");
}

static void rkipc_started_under_way(void **state) {
    (void)state;
    cJSON_ReplaceItemInObjectCaseSensitive(bench.after, "rkipc_runs", cJSON_CreateTrue());
    says_only("rkipc runs");
}

static void swap(void **state) {
    (void)state;
    put(bench.after, "swap_used_kib", 4);
    says_only("swap is in use");
}

static void temperature(void **state) {
    (void)state;
    put(bench.after, "temperature_celsius", 85);
    says_only(NULL);
    put(bench.after, "temperature_celsius", 86);
    says_only("86 degrees");
}

static void temperature_at_the_start(void **state) {
    (void)state;
    put(bench.before, "temperature_celsius", 91);
    says_only("91 degrees");
}

static void facts_that_are_not_known(void **state) {
    static const char *const keys[] = {"temperature_celsius", "swap_used_kib", "cpu_mhz_measured"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        cJSON_ReplaceItemInObjectCaseSensitive(bench.before, keys[i], cJSON_CreateNull());
        cJSON_ReplaceItemInObjectCaseSensitive(bench.after, keys[i], cJSON_CreateNull());
    }
    says_only(NULL);
}

static void a_broken_clock(void **state) {
    (void)state;
    inference_times(100, 1);
    pico_samples_add(&model.configs[0].pictures[0].stages[PICO_INFERENCE], NAN);
    bench_judge(&bench);
    assert_int_equal(bench.failures.count, 1);
    assert_non_null(strstr(bench.failures.text[0], "1 times are not valid numbers"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, gone)
    const struct CMUnitTest tests[] = {
        TEST(answers_of_the_npu),
        TEST(a_quiet_board),
        TEST(a_fixed_clock),
        TEST(the_governor),
        TEST(the_governor_under_way),
        TEST(the_clock),
        TEST(a_faster_clock),
        TEST(an_emulated_clock),
        TEST(variation),
        TEST(few_samples),
        TEST(rkipc),
        TEST(rkipc_started_under_way),
        TEST(swap),
        TEST(temperature),
        TEST(temperature_at_the_start),
        TEST(facts_that_are_not_known),
        TEST(a_broken_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
