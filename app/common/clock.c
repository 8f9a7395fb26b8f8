#include "clock.h"

#include <stdint.h>
#include <time.h>

double pico_now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

#if defined(__arm__)
#define ADD "add %0, %0, #1\n\t"
#elif defined(__x86_64__) || defined(__i386__)
#define ADD "add $1, %0\n\t"
#elif defined(__aarch64__)
#define ADD "add %w0, %w0, #1\n\t"
#endif

enum {
    ADDS_PER_LOOP = 64,
    /* 20,000 x 64 cycles: about 1.2 ms at 1.1 GHz, long against the clock's own resolution and
     * short against a scheduler tick. */
    LOOPS = 20000,
};

static void dependent_adds(void) {
#ifdef ADD
    uint32_t value = 0;

    for (int i = 0; i < LOOPS; i++) {
        __asm__ volatile(ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
                             ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
                                 ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
                                     ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
                         : "+r"(value)
                         :
                         : "cc");
    }
#endif
}

double pico_measure_cpu_mhz(int rounds) {
    double best = 0;

    for (int i = 0; i < rounds; i++) {
        double began = pico_now_us();
        dependent_adds();
        double took = pico_now_us() - began;
        double mhz = took > 0 ? (double)LOOPS * ADDS_PER_LOOP / took : 0;
        if (mhz > best)
            best = mhz;
    }
    return best;
}
