#include "check.h"

#include <time.h>

#include "clock.h"
#include "json.h"
#include "system.h"

static void facts_of_this_machine(void **state) {
    struct pico_notes notes = {0};
    cJSON *facts = pico_system_facts("", &notes), *now = pico_system_state("", PICO_AFTER, &notes);

    (void)state;
    assert_true(cJSON_IsString(pico_json_find(facts, "kernel.release")));
    assert_true(cJSON_IsNumber(pico_json_find(facts, "memory_kib")));
    assert_true(cJSON_IsBool(pico_json_find(facts, "emulated")));
    assert_true(pico_json_find(now, "available_kib")->valuedouble > 1000);
    assert_true(cJSON_IsFalse(pico_json_find(now, "rkipc_runs")));
    /* Absent files are null, not invented. */
    assert_true(cJSON_IsNull(pico_json_find(facts, "npu_driver")));
    cJSON_Delete(facts);
    assert_int_equal(notes.count, 0);
    cJSON_Delete(now);
}

static void clock_of_this_machine(void **state) {
    double mhz = pico_measure_cpu_mhz(20), before = pico_now_us();

    (void)state;
    /* The host's own additions are dependent too: 0.2 to 8 GHz is any machine of today. */
    assert_true(mhz > 200 && mhz < 8000);
    for (int i = 0; i < 1000; i++) {
        double now = pico_now_us();
        assert_true(now >= before);
        before = now;
    }
}

/* Against the C library's calendar. */
static void dates(void **state) {
    char text[40], want[40];
    time_t now;

    (void)state;
    do {
        now = time(NULL);
        pico_utc_text(text, sizeof text, false);
    } while (now != time(NULL));
    strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    assert_string_equal(text, want);
    pico_utc_text(text, sizeof text, true);
    assert_int_equal(strlen(text), 16);
    assert_true(pico_clock_is_set());
}

static void our_own_name(void **state) {
    char name[64];

    (void)state;
    FILE *file = fopen("/proc/self/comm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%63[^\n]", name), 1);
    fclose(file);
    assert_true(pico_process_runs("", name));
    assert_false(pico_process_runs("", "no-such-program"));
    assert_int_equal(pico_memory_kib("", PICO_MEMINFO, "NoSuchKey"), -1);
    assert_false(pico_read_line("/no/such/root", PICO_MEMINFO, name, sizeof name));
    assert_string_equal(name, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_this_machine),
        cmocka_unit_test(clock_of_this_machine),
        cmocka_unit_test(our_own_name),
        cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
