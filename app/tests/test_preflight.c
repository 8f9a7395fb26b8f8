#include "check.h"

#include <sys/stat.h>

#include "preflight.h"

/* An empty board in the present folder, whose root is ".". */
static char *enter_board(void) {
    char *folder = enter_folder();

    assert_int_equal(mkdir("dev", 0755) | mkdir("proc", 0755) | mkdir("proc/rknpu", 0755), 0);
    return folder;
}

static void what_is_missing(void **state) {
    struct pico_error error;
    char *folder = enter_board();

    (void)state;
    assert_int_equal(npu_preflight(".", 1000, &error), PICO_BAD_INPUT);
    assert_says(error, "no /dev/rknpu");
    assert_true(strstr(error.hint, "insmod") != NULL);
    write_text("dev/rknpu", "");
    assert_int_equal(npu_preflight(".", 1000, &error), PICO_OK); /* CMA is unknown */
    write_text("proc/meminfo", "MemTotal: 34000 kB\nCmaTotal:  24576 kB\nCmaFree:  2000 kB\n");
    assert_int_equal(npu_preflight(".", 2000 * 1024, &error), PICO_OK);
    assert_int_equal(npu_preflight(".", 2000 * 1024 + 1, &error), PICO_BAD_INPUT);
    assert_says(error, "2000 of 24576 KiB are free");
    assert_true(strstr(error.hint, "--cma") != NULL);
    leave_folder(folder);
}

static void a_simulator_on_a_board(void **state) {
    struct pico_error error;
    char *folder = enter_board();

    (void)state;
    assert_int_equal(npu_refuse_simulator(".", &error), PICO_OK);
    write_text("dev/rknpu", "");
    assert_int_equal(npu_refuse_simulator(".", &error), PICO_BAD_INPUT);
    assert_says(error, "linked with the NPU simulator");
    leave_folder(folder);
}

static void facts(void **state) {
    char *folder = enter_board();
    cJSON *object = cJSON_CreateObject();

    (void)state;
    write_text("proc/rknpu/version", "RKNPU driver: v0.9.8\n");
    write_text("proc/meminfo", "CmaFree: 123 kB\n");
    npu_machine_facts(".", object);
    char *text = cJSON_PrintUnformatted(object);
    assert_string_equal(text, "{\"version\":\"RKNPU driver: v0.9.8\",\"freq\":null,"
                              "\"load\":null,\"power\":null,\"cma_free_kib\":123,"
                              "\"rkipc_runs\":false}");
    cJSON_free(text);
    cJSON_Delete(object);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_missing),
                                       cmocka_unit_test(a_simulator_on_a_board),
                                       cmocka_unit_test(facts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
