#include "check.h"

#include <sys/stat.h>

#include "preflight.h"

static void what_is_missing(void **state) {
    const struct npu_machine machine = {"rknpu", "meminfo", "proc"};
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(npu_preflight(&machine, 1000, &error), PICO_BAD_INPUT);
    assert_says(error, "no rknpu");
    assert_true(strstr(error.hint, "insmod") != NULL);
    write_text("rknpu", "");
    assert_int_equal(npu_preflight(&machine, 1000, &error), PICO_OK); /* CMA is unknown */
    write_text("meminfo", "MemTotal: 34000 kB\nCmaTotal:  24576 kB\nCmaFree:  2000 kB\n");
    assert_int_equal(npu_preflight(&machine, 2000 * 1024, &error), PICO_OK);
    assert_int_equal(npu_preflight(&machine, 2000 * 1024 + 1, &error), PICO_BAD_INPUT);
    assert_says(error, "2000 of 24576 KiB are free");
    assert_true(strstr(error.hint, "--cma") != NULL);
    leave_folder(folder);
}

static void a_simulator_on_a_board(void **state) {
    const struct npu_machine machine = {"rknpu", "meminfo", "proc"};
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(npu_refuse_simulator(&machine, &error), PICO_OK);
    write_text("rknpu", "");
    assert_int_equal(npu_refuse_simulator(&machine, &error), PICO_BAD_INPUT);
    assert_says(error, "linked with the NPU simulator");
    leave_folder(folder);
}

static void facts(void **state) {
    const struct npu_machine machine = {"rknpu", "meminfo", "proc"};
    char *folder = enter_folder();
    cJSON *object = cJSON_CreateObject();

    (void)state;
    assert_int_equal(mkdir("proc", 0755), 0);
    write_text("proc/version", "RKNPU driver: v0.9.8\n");
    write_text("meminfo", "CmaFree: 123 kB\n");
    npu_machine_facts(&machine, object);
    char *text = cJSON_PrintUnformatted(object);
    assert_string_equal(text, "{\"version\":\"RKNPU driver: v0.9.8\",\"freq\":null,\"volt\":null,"
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
