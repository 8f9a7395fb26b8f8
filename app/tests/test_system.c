#include "check.h"

#include <sys/stat.h>
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

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = pico_json_find(object, key);

    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

/* tests/boards/README.md says where the figures are from. */
static void recorded_boards(void **state) {
    static const struct {
        const char *root, *model;
        double memory_kib, total_kib, free_kib;
    } boards[] = {
        {BOARDS "pico-max-5.10.110", "Luckfox Pico Max", 186388, 67584, 67572},
        {BOARDS "pico-mini-5.10.160", "Luckfox Pico Mini", 34316, 24576, 24564},
    };

    (void)state;
    for (size_t i = 0; i < sizeof boards / sizeof boards[0]; i++) {
        const char *root = boards[i].root;
        struct pico_notes notes = {0};
        struct pico_cma cma;
        char why[160];
        cJSON *facts = pico_system_facts(root, &notes);
        cJSON *before = pico_system_state(root, PICO_BEFORE, &notes);
        cJSON *after = pico_system_state(root, PICO_AFTER, &notes);
        pico_read_cma(root, &cma);
        assert_int_equal(cma.total_kib, boards[i].total_kib);
        assert_int_equal(cma.free_kib, boards[i].free_kib);
        assert_true(cma.apart);
        assert_string_equal(pico_json_find(facts, "board")->valuestring, boards[i].model);
        assert_string_equal(pico_json_find(facts, "cpu.part")->valuestring, "0xc07");
        assert_close(number_of(facts, "memory_kib"), boards[i].memory_kib, 0);
        assert_close(number_of(facts, "cma_kib"), boards[i].total_kib, 0);
        assert_close(number_of(before, "cma_free_kib"), boards[i].free_kib, 0);
        assert_null(pico_json_find(before, "npu_mhz"));
        assert_close(number_of(after, "npu_mhz"), 420, 0);
        assert_string_equal(pico_json_find(after, "npu_load")->valuestring, "NPU load:  0%");
        assert_true(pico_is_emulated(root, why, sizeof why));
        assert_true(strstr(why, root) != NULL);
        assert_int_equal(notes.count, 0);
        cJSON_Delete(facts);
        cJSON_Delete(before);
        cJSON_Delete(after);
    }
}

/* What "free" is, line by line. */
static void contiguous_memory(void **state) {
    static const struct {
        const char *meminfo;
        struct pico_cma want;
    } cases[] = {
        {"CmaTotal: 100 kB\nCmaReleased: 60 kB\nCmaFree: 0 kB\n", {100, 60, true}},
        /* A Rockchip kernel that hands the pages out while nobody needs them. */
        {"CmaTotal: 100 kB\nCmaReleased: 60 kB\nCmaFree: 20 kB\n", {100, 60, false}},
        {"CmaTotal: 100 kB\nCmaReleased: 0 kB\nCmaFree: 0 kB\n", {100, 0, true}},
        {"CmaTotal: 100 kB\nCmaFree: 20 kB\n", {100, 20, false}},
        {"CmaTotal: 100 kB\nCmaFree: 0 kB\n", {100, -1, false}},
        {"MemTotal: 100 kB\n", {-1, -1, false}},
    };
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(mkdir("proc", 0755), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pico_cma cma;
        write_text("proc/meminfo", cases[i].meminfo);
        pico_read_cma(".", &cma);
        assert_int_equal(cma.total_kib, cases[i].want.total_kib);
        assert_int_equal(cma.free_kib, cases[i].want.free_kib);
        assert_int_equal(cma.apart, cases[i].want.apart);
    }
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_this_machine), cmocka_unit_test(clock_of_this_machine),
        cmocka_unit_test(our_own_name),          cmocka_unit_test(dates),
        cmocka_unit_test(recorded_boards),       cmocka_unit_test(contiguous_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
