#include "check.h"

#include <dirent.h>
#include <sys/stat.h>

#include "atomic_file.h"

static int files_in(const char *folder) {
    DIR *stream = opendir(folder);
    int count = 0;

    assert_non_null(stream);
    for (struct dirent *entry; (entry = readdir(stream)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(stream);
    return count;
}

static void expect_content(const char *path, const char *text) {
    char read[64] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    size_t count = fread(read, 1, sizeof read - 1, file);
    fclose(file);
    read[count] = '\0';
    assert_string_equal(read, text);
}

static void replaces_whole(void **state) {
    struct pico_error error;
    struct stat facts;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(pico_write_file("a.json", "one\n", 4, &error), PICO_OK);
    assert_int_equal(pico_write_file("a.json", "two\n", 4, &error), PICO_OK);
    expect_content("a.json", "two\n");
    assert_int_equal(stat("a.json", &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0644);
    assert_int_equal(files_in("."), 1);
    leave_folder(folder);
}

static void tells_why_not(void **state) {
    struct pico_error error;
    char *folder = enter_folder();

    (void)state;
    assert_int_equal(pico_write_file("/dev/full", "x", 1, &error), PICO_BAD_INPUT);
    assert_says(error, "No space left");
    assert_true(strstr(error.hint, "free some space") != NULL);
    assert_int_equal(pico_write_file("absent/a.json", "x", 1, &error), PICO_BAD_INPUT);
    assert_says(error, "absent/a.json");
    assert_int_equal(pico_write_file("/dev/null", "x", 1, &error), PICO_OK);
    leave_folder(folder);
}

static void numbers_never_overwrite(void **state) {
    struct pico_error error;
    char path[128];
    char *folder = enter_folder();

    (void)state;
    for (int i = 1; i <= 3; i++) {
        char text[16], want[64];
        snprintf(text, sizeof text, "%d", i);
        snprintf(want, sizeof want, "made/here/run-%03d.json", i);
        assert_int_equal(
            pico_write_numbered("made/here", "run", text, 1, path, sizeof path, &error), PICO_OK);
        assert_string_equal(path, want);
    }
    expect_content("made/here/run-001.json", "1");
    expect_content("made/here/run-003.json", "3");
    assert_int_equal(files_in("made/here"), 3);
    write_text("file", "x");
    assert_int_equal(pico_write_numbered("file", "run", "x", 1, path, sizeof path, &error),
                     PICO_BAD_INPUT);
    assert_int_equal(pico_write_numbered("file/below", "run", "x", 1, path, sizeof path, &error),
                     PICO_BAD_INPUT);
    leave_folder(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_whole),
        cmocka_unit_test(tells_why_not),
        cmocka_unit_test(numbers_never_overwrite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
