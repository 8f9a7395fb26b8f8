#include "check.h"

#include "labels.h"

static void lines_of_every_style(void **state) {
    struct pico_labels labels;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    write_text("labels.txt", "tench\r\ngreat white shark, white shark\nhahn \xc3\xa4\n\n\n");
    assert_int_equal(pico_labels_read(&labels, "labels.txt", &error), PICO_OK);
    assert_int_equal(labels.count, 3);
    assert_string_equal(pico_labels_name(&labels, 0), "tench");
    assert_string_equal(pico_labels_name(&labels, 1), "great white shark, white shark");
    assert_string_equal(pico_labels_name(&labels, 3), "");
    assert_string_equal(pico_labels_name(&labels, -1), "");
    pico_labels_free(&labels);
    leave_folder(folder);
}

static void bad_files(void **state) {
    struct pico_labels labels;
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(pico_labels_read(&labels, "absent.txt", &error), PICO_BAD_INPUT);
    assert_says(error, "absent.txt");
    write_text("gap.txt", "a\nb\n\nc\n");
    assert_int_equal(pico_labels_read(&labels, "gap.txt", &error), PICO_BAD_INPUT);
    assert_says(error, "gap.txt:3:");
    write_bytes("binary.txt", "a\n\0b\n", 5);
    assert_int_equal(pico_labels_read(&labels, "binary.txt", &error), PICO_BAD_INPUT);
    assert_says(error, "binary.txt:2:");
    write_text("empty.txt", "");
    assert_int_equal(pico_labels_read(&labels, "empty.txt", &error), PICO_BAD_INPUT);
    assert_int_equal(pico_labels_read(&labels, ".", &error), PICO_BAD_INPUT);
    assert_null(labels.text);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_every_style),
        cmocka_unit_test(bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
