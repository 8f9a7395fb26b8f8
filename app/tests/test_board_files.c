#include "check.h"

#include <errno.h>
#include <sys/stat.h>

#include "board_files.h"

static void a_board_below_a_root(void **state) {
    char *folder = enter_folder(), line[32];

    (void)state;
    assert_int_equal(mkdir("proc", 0755), 0);
    write_text("proc/uptime", "12.5 3\n");
    FILE *file = pico_board_open(".", PICO_UPTIME);
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, "12.5 3\n");
    fclose(file);
    errno = 0;
    assert_null(pico_board_open(".", PICO_LOADAVG));
    assert_int_equal(errno, ENOENT);
    leave_folder(folder);
}

/* The file is there and readable, and is not opened. */
static void forbidden_and_unknown(void **state) {
    char *folder = enter_folder(), path[64];

    (void)state;
    assert_int_equal(mkdir("proc", 0755) | mkdir("proc/rknpu", 0755), 0);
    write_text("proc/rknpu/volt", "0\n");
    for (int i = 0; i < 3; i++) {
        const int files[] = {PICO_RKNPU_VOLT, PICO_BOARD_FILES, -1};
        errno = 0;
        assert_null(pico_board_open(".", (enum pico_board_file)files[i]));
        assert_int_equal(errno, EPERM);
        assert_false(pico_board_path(".", (enum pico_board_file)files[i], path, sizeof path));
    }
    errno = 0;
    assert_false(pico_board_path("", PICO_MEMINFO, path, 5));
    assert_int_equal(errno, ENAMETOOLONG);
    leave_folder(folder);
}

static void every_row_is_whole(void **state) {
    (void)state;
    for (int i = 0; i < PICO_BOARD_FILES; i++) {
        assert_non_null(pico_board_files[i].path);
        assert_true(pico_board_files[i].path[0] == '/' && pico_board_files[i].why[0] != '\0');
        for (int k = 0; k < i; k++)
            assert_string_not_equal(pico_board_files[i].path, pico_board_files[k].path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_board_below_a_root),
                                       cmocka_unit_test(forbidden_and_unknown),
                                       cmocka_unit_test(every_row_is_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
