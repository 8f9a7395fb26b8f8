/* Every SIMD32 intrinsic that XNNPACK uses, as one table of functions.
 *
 * Compiled twice: as GCC itself, with arm_acle.h (-DTABLE=native), and as if GCC were 9, where
 * XNNPACK's patched intrinsics-polyfill.h has to bring them (-DTABLE=polyfill -DPOLYFILL).
 */

#include <stdint.h>

#ifdef POLYFILL
#include "xnnpack/intrinsics-polyfill.h"
#else
#include <arm_acle.h>
#endif

typedef uint32_t (*operation)(uint32_t, uint32_t, uint32_t);

#define UNARY(name)                                                                                \
    static uint32_t do_##name(uint32_t a, uint32_t b, uint32_t c) {                                \
        (void)b, (void)c;                                                                          \
        return (uint32_t)__##name(a);                                                              \
    }
#define BINARY(name)                                                                               \
    static uint32_t do_##name(uint32_t a, uint32_t b, uint32_t c) {                                \
        (void)c;                                                                                   \
        return (uint32_t)__##name(a, b);                                                           \
    }
#define TERNARY(name)                                                                              \
    static uint32_t do_##name(uint32_t a, uint32_t b, uint32_t c) {                                \
        return (uint32_t)__##name(a, b, c);                                                        \
    }
#define SELECT(name, subtract)                                                                     \
    static uint32_t do_##name(uint32_t a, uint32_t b, uint32_t c) {                                \
        uint32_t difference = (uint32_t)__##subtract(a, b);                                        \
        return __sel(a, c) ^ difference;                                                           \
    }
#define SATURATE(name, function, bits)                                                             \
    static uint32_t do_##name(uint32_t a, uint32_t b, uint32_t c) {                                \
        (void)b, (void)c;                                                                          \
        return (uint32_t)__##function((int32_t)a, bits);                                           \
    }

UNARY(sxtb16)
UNARY(uxtb16)
BINARY(sxtab16)
BINARY(uxtab16)
BINARY(qsub)
SELECT(sel_ssub8, ssub8)
SELECT(sel_usub8, usub8)
SELECT(sel_ssub16, ssub16)
SELECT(sel_usub16, usub16)
TERNARY(smlad)
TERNARY(smlabb)
TERNARY(smlatt)
TERNARY(smlawb)
TERNARY(smlawt)
SATURATE(ssat8, ssat, 8)
SATURATE(usat8, usat, 8)

const operation TABLE[] = {
    do_sxtb16,    do_uxtb16,     do_sxtab16,    do_uxtab16, do_qsub,   do_sel_ssub8,
    do_sel_usub8, do_sel_ssub16, do_sel_usub16, do_smlad,   do_smlabb, do_smlatt,
    do_smlawb,    do_smlawt,     do_ssat8,      do_usat8,   0,
};
