#include "check.h"

#include <signal.h>
#include <sys/wait.h>

#include "stop.h"

static void first_signal_asks_second_ends(void **state) {
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        pico_stop_install();
        if (pico_stop_requested())
            _exit(1);
        raise(SIGINT);
        if (!pico_stop_requested())
            _exit(2);
        raise(SIGTERM);
        _exit(3); /* not reached */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), PICO_INTERRUPTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_signal_asks_second_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
