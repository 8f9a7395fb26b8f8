#include "check.h"

#include "child.h"

static void a_program_that_ends(void **state) {
    char *words[] = {(char *)(uintptr_t)"/bin/sh", (char *)(uintptr_t)"-c",
                     (char *)(uintptr_t)"echo out; echo 'x: error: bad' >&2; exit 3", NULL};
    struct child_output output;
    struct pico_error error;

    (void)state;
    assert_int_equal(child_run(words, 600, &output, &error), PICO_OK);
    assert_int_equal(output.status, 3);
    assert_false(output.late);
    assert_string_equal(output.text, "out\n");
    assert_string_equal(output.complaint, "x: error: bad");
    child_output_free(&output);
}

/* One that hangs, and ignores the request to end. */
static void a_program_that_hangs(void **state) {
    char *words[] = {(char *)(uintptr_t)"/bin/sh", (char *)(uintptr_t)"-c",
                     (char *)(uintptr_t)"trap '' TERM; while :; do :; done", NULL};
    struct child_output output;
    struct pico_error error;

    (void)state;
    assert_int_equal(child_run(words, 1, &output, &error), PICO_OK);
    assert_true(output.late);
    assert_int_equal(output.status, 128 + 9);
    child_output_free(&output);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_ends),
        cmocka_unit_test(a_program_that_hangs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
