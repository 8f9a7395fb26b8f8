#include "check.h"

#include <math.h>

#include "json.h"

static void syntax_errors_name_the_line(void **state) {
    struct pico_error error;
    cJSON *json;
    char *folder = enter_folder();

    (void)state;
    write_text("bad.json", "{\n  \"a\": 1,\n  oops\n}\n");
    assert_int_equal(pico_json_read("bad.json", 1000, "test", &json, &error), PICO_BAD_INPUT);
    assert_says(error, "bad.json:3:");
    write_text("cut.json", "{\n\"a\": [1,\n");
    assert_int_equal(pico_json_read("cut.json", 1000, "test", &json, &error), PICO_BAD_INPUT);
    assert_null(json);
    assert_int_equal(pico_json_read("cut.json", 5, "test", &json, &error), PICO_BAD_INPUT);
    assert_says(error, "at most 5");
    leave_folder(folder);
}

static void members_by_path(void **state) {
    struct pico_error error;
    cJSON *json;
    const char *text = "{\"a\": {\"b\": {\"c\": 7}}, \"s\": \"word\", \"f\": 1.5}";
    char word[8], small[4];
    int number;

    (void)state;
    assert_int_equal(pico_json_parse("x", text, strlen(text), &json, &error), PICO_OK);
    assert_int_equal(pico_json_int(json, "x", "a.b.c", 0, 9, &number, &error), PICO_OK);
    assert_int_equal(number, 7);
    assert_null(pico_json_find(json, "a.x.c"));
    assert_int_equal(pico_json_int(json, "x", "a.b.c", 0, 6, &number, &error), PICO_BAD_INPUT);
    assert_says(error, "from 0 to 6");
    assert_int_equal(pico_json_int(json, "x", "f", 0, 9, &number, &error), PICO_BAD_INPUT);
    assert_int_equal(pico_json_string(json, "x", "s", word, sizeof word, &error), PICO_OK);
    assert_string_equal(word, "word");
    assert_int_equal(pico_json_string(json, "x", "s", small, sizeof small, &error), PICO_BAD_INPUT);
    assert_int_equal(pico_json_string(json, "x", "f", word, sizeof word, &error), PICO_BAD_INPUT);
    cJSON_Delete(json);
}

static void no_number_is_null(void **state) {
    double values[] = {1.23456, NAN};
    cJSON *stats = pico_json_stats(&(struct pico_samples){values, 2, 2});
    char *text = cJSON_PrintUnformatted(stats);

    (void)state;
    assert_non_null(text);
    assert_non_null(strstr(text, "\"failed\":1"));
    assert_non_null(strstr(text, "\"cv\":null"));
    assert_non_null(strstr(text, "\"samples\":[1.235,null]"));
    cJSON_free(text);
    cJSON_Delete(stats);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax_errors_name_the_line),
        cmocka_unit_test(members_by_path),
        cmocka_unit_test(no_number_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
