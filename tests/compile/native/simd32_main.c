/* Compare two implementations of the SIMD32 intrinsics on random numbers. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint32_t (*operation)(uint32_t, uint32_t, uint32_t);
extern const operation native[], polyfill[];

static uint32_t number(void) {
    static const uint32_t edges[] = {0, 1, 0x7f7f7f7f, 0x80808080, 0x80000000, 0x7fffffff};

    if (rand() % 8 == 0)
        return edges[rand() % 6];
    return (uint32_t)rand() << 17 ^ (uint32_t)rand();
}

int main(void) {
    int compared = 0;

    for (int i = 0; native[i]; i++) {
        for (int round = 0; round < 5000; round++, compared++) {
            uint32_t a = number(), b = number(), c = number();
            uint32_t expected = native[i](a, b, c), got = polyfill[i](a, b, c);

            if (expected != got) {
                printf("operation %d(%08x, %08x, %08x): %08x, not %08x\n", i, a, b, c, got,
                       expected);
                return 1;
            }
        }
    }
    printf("compared %d\n", compared);
    return 0;
}
