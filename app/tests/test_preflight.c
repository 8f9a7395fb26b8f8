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
    assert_int_equal(npu_preflight(".", &error), PICO_BAD_INPUT);
    assert_says(error, "driver is not loaded: there is no /dev/rknpu");
    assert_true(strstr(error.hint, "insmod") != NULL);
    write_text("proc/rknpu/version", "RKNPU driver: v0.9.2\n");
    assert_int_equal(npu_preflight(".", &error), PICO_BAD_INPUT);
    assert_says(error, "no /dev/rknpu, although");
    write_text("dev/rknpu", "");
    assert_int_equal(npu_preflight(".", &error), PICO_OK); /* the chip is not known */
    leave_folder(folder);
}

static void chips(void **state) {
    static const struct {
        const char *names;
        size_t size;
        const char *says; /* NULL: good */
    } boards[] = {
#define NAMES(text) text, sizeof text
        {NAMES("rockchip,rv1103g-38x38-ipc-v10\0rockchip,rv1103"), NULL},
        {NAMES("rockchip,rv1106g-evb2-v11\0rockchip,rv1106"), NULL},
        {NAMES("rockchip,rv1106"), NULL},
        {NAMES("somebody,board\0rockchip,rv1106"), NULL},
        {NAMES("rockchip,rv1103b-evb\0rockchip,rv1103b"), "is rockchip,rv1103b-evb: the NPU of"},
        {NAMES("somebody,board\0rockchip,rv1106b"), "the b variants"},
        {NAMES("radxa,rock-5b\0rockchip,rk3588"), "radxa,rock-5b, not an RV1103 or RV1106"},
        {"", 0, NULL},
    };
    char *folder = enter_board();

    (void)state;
    write_text("dev/rknpu", "");
    assert_int_equal(mkdir("proc/device-tree", 0755), 0);
    for (size_t i = 0; i < sizeof boards / sizeof boards[0]; i++) {
        struct pico_error error;
        write_bytes("proc/device-tree/compatible", boards[i].names, boards[i].size);
        assert_int_equal(npu_preflight(".", &error), boards[i].says ? PICO_BAD_INPUT : PICO_OK);
        if (boards[i].says != NULL)
            assert_says(error, boards[i].says);
    }
    leave_folder(folder);
}

/* A failure of the runtime as it stands before it is explained. */
static struct pico_error failed(void) {
    struct pico_error error;

    pico_fail(&error, PICO_FAILED, "the runtime cannot open m");
    pico_hint(&error, "see above");
    return error;
}

static const uint64_t MIB = 1 << 20;

static void memory_explains(void **state) {
    static const struct {
        const char *meminfo;
        struct npu_demand demand;
        int status;
        const char *says, *hint;
    } cases[] = {
        /* A Mini with 1 MB; with the vendor's kernel, MemTotal is without CMA. */
        {"MemTotal: 57140 kB\nCmaTotal: 1024 kB\nCmaAllocated: 12 kB\nCmaReleased: 1012 kB\n"
         "CmaFree: 0 kB\n",
         {6 << 20, 0, true},
         PICO_BAD_INPUT,
         "; it needs about 6.0 MiB of contiguous memory (CMA), of 1.0 MiB 1.0 are free",
         "enlarge it: invoke repack --cma 7M"},
        /* The same, and a model that no size will do for. */
        {"MemTotal: 57140 kB\nCmaTotal: 1024 kB\nCmaReleased: 1012 kB\nCmaFree: 0 kB\n",
         {60 << 20, 0, true},
         PICO_BAD_INPUT,
         "needs about 60.0 MiB",
         "does not fit this board: of its 56 MiB the system needs about 10, so that CMA can have "
         "at most 46 MiB"},
        /* Enough of it, but others hold 20 of 24 MiB. */
        {"MemTotal: 33588 kB\nCmaTotal: 24576 kB\nCmaReleased: 4096 kB\nCmaFree: 0 kB\n",
         {6 << 20, 0, false},
         PICO_BAD_INPUT,
         "it needs 6.0 MiB of contiguous memory (CMA), of 24.0 MiB 4.0 are free",
         "enlarge it: invoke repack --cma 26M"},
        /* There is no room for both, but for the model alone. */
        {"MemTotal: 33588 kB\nCmaTotal: 24576 kB\nCmaReleased: 4096 kB\nCmaFree: 0 kB\n",
         {30 << 20, 0, false},
         PICO_BAD_INPUT,
         "it needs 30.0 MiB",
         "end what holds 20.0 MiB of it, and enlarge it: invoke repack --cma 30M"},
        {"MemTotal: 13588 kB\nCmaTotal: 24576 kB\nCmaReleased: 4096 kB\nCmaFree: 0 kB\n",
         {20 << 20, 0, false},
         PICO_BAD_INPUT,
         "it needs 20.0 MiB",
         "end what holds 20.0 MiB of it"},
        /* What we hold ourselves is not in the way: 6 of 8 MiB are ours. */
        {"MemTotal: 49000 kB\nCmaTotal: 8192 kB\nCmaReleased: 2048 kB\nCmaFree: 0 kB\n",
         {7 << 20, 6 << 20, false},
         PICO_FAILED,
         "of 8.0 MiB 2.0 are free",
         "see above"},
        {"MemTotal: 49000 kB\nCmaTotal: 8192 kB\nCmaReleased: 2048 kB\nCmaFree: 0 kB\n",
         {9 << 20, 6 << 20, false},
         PICO_BAD_INPUT,
         "it needs 9.0 MiB",
         "invoke repack --cma 9M"},
        /* Another kernel: CmaFree counts, and CMA is part of MemTotal. */
        {"MemTotal: 58000 kB\nCmaTotal: 16384 kB\nCmaFree: 3072 kB\n",
         {6 << 20, 0, false},
         PICO_BAD_INPUT,
         "of 16.0 MiB 3.0 are free",
         "invoke repack --cma 19M"},
        /* 0 alone tells nothing: the board has enough, as far as is known. */
        {"MemTotal: 58000 kB\nCmaTotal: 16384 kB\nCmaFree: 0 kB\n",
         {6 << 20, 0, false},
         PICO_FAILED,
         "the board has 16.0 MiB",
         "see above"},
        {"MemTotal: 58000 kB\n", {6 << 20, 0, true}, PICO_FAILED, "does not tell", "see above"},
    };
    char *folder = enter_board();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pico_error error = failed();
        write_text("proc/meminfo", cases[i].meminfo);
        assert_int_equal(npu_explain(".", &cases[i].demand, &error), cases[i].status);
        assert_int_equal(error.status, cases[i].status);
        assert_says(error, "the runtime cannot open m; it needs ");
        assert_says(error, cases[i].says);
        if (strstr(error.hint, cases[i].hint) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", error.hint, cases[i].hint);
    }
    leave_folder(folder);
}

/* The same model on both: one board can be given what it needs, the other cannot. */
static void recorded_boards(void **state) {
    const struct npu_demand small = {6 * MIB, 0, true}, large = {70 * MIB, 0, true};
    struct pico_error error;

    (void)state;
    assert_int_equal(npu_preflight(BOARDS "pico-max-5.10.110", &error), PICO_OK);
    assert_int_equal(npu_preflight(BOARDS "pico-mini-5.10.160", &error), PICO_OK);
    error = failed();
    assert_int_equal(npu_explain(BOARDS "pico-mini-5.10.160", &small, &error), PICO_FAILED);
    assert_says(error, "of 24.0 MiB 24.0 are free");
    error = failed();
    assert_int_equal(npu_explain(BOARDS "pico-mini-5.10.160", &large, &error), PICO_BAD_INPUT);
    assert_true(strstr(error.hint, "does not fit this board: of its 57 MiB") != NULL);
    error = failed();
    assert_int_equal(npu_explain(BOARDS "pico-max-5.10.110", &large, &error), PICO_BAD_INPUT);
    assert_true(strstr(error.hint, "invoke repack --cma 71M") != NULL);
}

static void rkipc_explains(void **state) {
    const struct npu_demand demand = {20 * MIB, 0, true};
    char *folder = enter_board();

    (void)state;
    assert_int_equal(mkdir("proc/77", 0755), 0);
    write_text("proc/77/comm", "rkipc\n");
    write_text("proc/meminfo", "MemTotal: 33588 kB\nCmaTotal: 24576 kB\nCmaReleased: 4096 kB\n"
                               "CmaFree: 0 kB\n");
    struct pico_error error = failed();
    assert_int_equal(npu_explain(".", &demand, &error), PICO_BAD_INPUT);
    assert_true(strncmp(error.hint, "rkipc, the camera program, runs", 31) == 0);
    assert_true(strstr(error.hint, "repack --cma 40M") != NULL);
    leave_folder(folder);
}

static void an_old_driver(void **state) {
    const struct npu_demand demand = {MIB, 0, true};
    char *folder = enter_board();

    (void)state;
    write_text("proc/rknpu/version", "RKNPU driver: v0.1.9\n");
    struct pico_error error = failed();
    assert_int_equal(npu_explain(".", &demand, &error), PICO_BAD_INPUT);
    assert_says(error, "the NPU's driver is 0.1.9, the runtime needs 0.2.1 or newer");
    write_text("proc/rknpu/version", "RKNPU driver: v0.2.1\n");
    error = failed();
    assert_int_equal(npu_explain(".", &demand, &error), PICO_FAILED);
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
    struct pico_notes notes = {0};

    (void)state;
    write_text("proc/rknpu/version", "RKNPU driver: v0.9.8\n");
    write_text("proc/rknpu/volt", "0\n"); /* never read */
    write_text("proc/meminfo", "CmaFree: 123 kB\n");
    npu_machine_facts(".", object, &notes);
    assert_int_equal(notes.count, 0);
    char *text = cJSON_PrintUnformatted(object);
    assert_string_equal(text, "{\"cma_free_kib\":123,\"rkipc_runs\":false,"
                              "\"version\":\"RKNPU driver: v0.9.8\",\"freq\":null,"
                              "\"load\":null,\"power\":null}");
    cJSON_free(text);
    cJSON_Delete(object);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing),        cmocka_unit_test(chips),
        cmocka_unit_test(memory_explains),        cmocka_unit_test(recorded_boards),
        cmocka_unit_test(rkipc_explains),         cmocka_unit_test(an_old_driver),
        cmocka_unit_test(a_simulator_on_a_board), cmocka_unit_test(facts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
