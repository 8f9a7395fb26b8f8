/* Facts that kill who reads them, or never come. */
#include "check.h"

#include <signal.h>
#include <sys/stat.h>

#include "facts.h"

static cJSON *good(const char *root, const struct pico_fact *fact) {
    (void)root;
    return cJSON_CreateNumber(fact->factor);
}

static cJSON *absent(const char *root, const struct pico_fact *fact) {
    (void)root, (void)fact;
    return NULL;
}

/* As the kernel does after an oops: no handler of ours runs. */
static cJSON *deadly(const char *root, const struct pico_fact *fact) {
    (void)root, (void)fact;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return NULL;
}

static cJSON *endless(const char *root, const struct pico_fact *fact) {
    (void)root, (void)fact;
    while (pause() != 0)
        ;
    return NULL;
}

static cJSON *long_text(const char *root, const struct pico_fact *fact) {
    static char text[4000];

    (void)root, (void)fact;
    memset(text, 'x', sizeof text - 1);
    return cJSON_CreateString(text);
}

static cJSON *object;
static struct pico_notes notes;

static void add(const struct pico_fact *facts, int count, const char *want) {
    memset(&notes, 0, sizeof notes);
    object = cJSON_CreateObject();
    pico_facts_add(object, "", facts, count, &notes);
    char *text = cJSON_PrintUnformatted(object);
    assert_string_equal(text, want);
    cJSON_free(text);
    cJSON_Delete(object);
}

static void whole_ones(void **state) {
    const struct pico_fact facts[] = {{"a", good, PICO_UPTIME, NULL, 1},
                                      {"b", absent, PICO_UPTIME, NULL, 0},
                                      {"c", good, PICO_UPTIME, NULL, 3}};

    (void)state;
    add(facts, 3, "{\"a\":1,\"b\":null,\"c\":3}");
    assert_int_equal(notes.count, 0);
    add(facts, 0, "{}");
}

/* Each death costs one fact, wherever it stands, and is noted. */
static void deadly_ones(void **state) {
    const struct pico_fact facts[] = {
        {"a", deadly, PICO_RKNPU_FREQ, NULL, 0}, {"b", good, PICO_UPTIME, NULL, 2},
        {"c", deadly, PICO_RKNPU_LOAD, NULL, 0}, {"d", deadly, PICO_RKNPU_POWER, NULL, 0},
        {"e", good, PICO_UPTIME, NULL, 5},       {"f", deadly, PICO_RKNPU_VERSION, NULL, 0}};

    (void)state;
    add(facts, 6, "{\"a\":null,\"b\":2,\"c\":null,\"d\":null,\"e\":5,\"f\":null}");
    assert_int_equal(notes.count, 4);
    assert_string_equal(notes.text[0], "/proc/rknpu/freq could not be read: the process that read "
                                       "it was killed by signal 11");
}

static void one_that_never_comes(void **state) {
    const struct pico_fact facts[] = {{"a", good, PICO_UPTIME, NULL, 1},
                                      {"b", endless, PICO_RKNPU_POWER, NULL, 0},
                                      {"c", good, PICO_UPTIME, NULL, 3}};

    (void)state;
    add(facts, 3, "{\"a\":1,\"b\":null,\"c\":3}");
    assert_int_equal(notes.count, 1);
    assert_string_equal(notes.text[0], "/proc/rknpu/power could not be read: no answer");
}

static void long_ones(void **state) {
    const struct pico_fact facts[] = {{"a", long_text, PICO_UPTIME, NULL, 1},
                                      {"b", long_text, PICO_UPTIME, NULL, 1},
                                      {"c", long_text, PICO_UPTIME, NULL, 1}};

    (void)state;
    memset(&notes, 0, sizeof notes);
    object = cJSON_CreateObject();
    pico_facts_add(object, "", facts, 3, &notes);
    for (int i = 0; i < 3; i++)
        assert_int_equal(strlen(cJSON_GetArrayItem(object, i)->valuestring), 3999);
    assert_int_equal(notes.count, 0);
    cJSON_Delete(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_ones), cmocka_unit_test(deadly_ones),
                                       cmocka_unit_test(one_that_never_comes),
                                       cmocka_unit_test(long_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
