#include "resample_loops.h"

void pico_resample_across_c(const struct pico_filter *filter, const uint8_t *row, int first_column,
                            uint8_t *out) {
    const uint16_t *weights = filter->weights;

    for (int i = 0; i < filter->outputs; i++, weights += filter->taps, out += PICO_PIXEL) {
        const uint8_t *pixel = row + (size_t)(filter->first[i] - first_column) * PICO_PIXEL;
        uint32_t red = 1u << (PICO_WEIGHT_BITS - 1), green = red, blue = red;
        for (int k = 0; k < filter->count[i]; k++, pixel += PICO_PIXEL) {
            red += (uint32_t)pixel[0] * weights[k];
            green += (uint32_t)pixel[1] * weights[k];
            blue += (uint32_t)pixel[2] * weights[k];
        }
        out[0] = (uint8_t)(red >> PICO_WEIGHT_BITS);
        out[1] = (uint8_t)(green >> PICO_WEIGHT_BITS);
        out[2] = (uint8_t)(blue >> PICO_WEIGHT_BITS);
    }
}

void pico_resample_down_c(const uint8_t *const *rows, const uint16_t *weights, int count,
                          size_t bytes, uint8_t *out) {
    for (size_t x = 0; x < bytes; x++) {
        uint32_t sum = 1u << (PICO_WEIGHT_BITS - 1);
        for (int k = 0; k < count; k++)
            sum += (uint32_t)rows[k][x] * weights[k];
        out[x] = (uint8_t)(sum >> PICO_WEIGHT_BITS);
    }
}

#ifdef __ARM_NEON

#include <arm_neon.h>
#include <string.h>

/* R, G, B in lanes 0 to 2 of the result; lane 3 is unused. */
static inline uint8x8_t round_pixel(uint32x4_t sum) {
    uint16x4_t rounded = vrshrn_n_u32(sum, PICO_WEIGHT_BITS);

    return vmovn_u16(vcombine_u16(rounded, rounded));
}

/* Four pixels and four weights: enough for a reduction below 2, which is what JPEG's own reduction
 * leaves. Reads 16 bytes. */
static inline uint32x4_t four_taps(const uint8_t *pixel, const uint16_t *weights) {
    uint8x16_t bytes = vld1q_u8(pixel);
    uint16x4_t weight = vld1_u16(weights);
    uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    uint32x4_t sum = vmull_lane_u16(vget_low_u16(low), weight, 0);

    sum = vmlal_lane_u16(sum, vget_low_u16(vextq_u16(low, low, 3)), weight, 1);
    sum = vmlal_lane_u16(sum, vget_low_u16(vextq_u16(low, high, 6)), weight, 2);
    return vmlal_lane_u16(sum, vget_low_u16(vextq_u16(high, high, 1)), weight, 3);
}

/* Any number of taps, two at a time: 8 bytes hold R0 G0 B0 R1 G1 B1 and two more that are
 * multiplied into the unused lane. No load leaves the row. */
static uint32x4_t many_taps(const uint8_t *pixel, const uint8_t *end, const uint16_t *weights,
                            int count) {
    uint32x4_t sum = vdupq_n_u32(0);
    int k = 0;

    for (; k + 1 < count && pixel + 8 <= end; k += 2, pixel += 2 * PICO_PIXEL) {
        uint16x8_t pair = vmovl_u8(vld1_u8(pixel));
        sum = vmlal_n_u16(sum, vget_low_u16(pair), weights[k]);
        sum = vmlal_n_u16(sum, vget_low_u16(vextq_u16(pair, pair, 3)), weights[k + 1]);
    }
    for (; k < count; k++, pixel += PICO_PIXEL) {
        uint32_t packed = (uint32_t)pixel[0] | (uint32_t)pixel[1] << 8 | (uint32_t)pixel[2] << 16;
        sum = vmlal_n_u16(sum, vget_low_u16(vmovl_u8(vcreate_u8(packed))), weights[k]);
    }
    return sum;
}

void pico_resample_across_neon(const struct pico_filter *filter, const uint8_t *row,
                               int first_column, int columns, uint8_t *out) {
    const uint16_t *weights = filter->weights;
    const uint8_t *end = row + (size_t)columns * PICO_PIXEL;
    const int *first = filter->first, *count = filter->count;
    int i = 0;

    row -= (size_t)first_column * PICO_PIXEL;
    /* Not for the last output: the fast loop stores four bytes, the fourth of which the next output
     * overwrites. */
    for (; i < filter->outputs - 1; i++, weights += filter->taps, out += PICO_PIXEL) {
        const uint8_t *pixel = row + (size_t)first[i] * PICO_PIXEL;
        if (count[i] > PICO_TAPS_MIN || pixel + 16 > end)
            break;
        vst1_lane_u32((uint32_t *)(void *)out,
                      vreinterpret_u32_u8(round_pixel(four_taps(pixel, weights))), 0);
    }
    for (; i < filter->outputs; i++, weights += filter->taps, out += PICO_PIXEL) {
        const uint8_t *pixel = row + (size_t)first[i] * PICO_PIXEL;
        uint8x8_t bytes = round_pixel(many_taps(pixel, end, weights, count[i]));
        vst1_lane_u8(out, bytes, 0);
        vst1_lane_u8(out + 1, bytes, 1);
        vst1_lane_u8(out + 2, bytes, 2);
    }
}

static uint8x16_t column16(const uint8_t *const *rows, const uint16_t *weights, int count,
                           size_t x) {
    uint32x4_t a = vdupq_n_u32(0), b = a, c = a, d = a;

    for (int k = 0; k < count; k++) {
        uint8x16_t bytes = vld1q_u8(rows[k] + x);
        uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
        a = vmlal_n_u16(a, vget_low_u16(low), weights[k]);
        b = vmlal_n_u16(b, vget_high_u16(low), weights[k]);
        c = vmlal_n_u16(c, vget_low_u16(high), weights[k]);
        d = vmlal_n_u16(d, vget_high_u16(high), weights[k]);
    }
    uint16x8_t low =
        vcombine_u16(vrshrn_n_u32(a, PICO_WEIGHT_BITS), vrshrn_n_u32(b, PICO_WEIGHT_BITS));
    uint16x8_t high =
        vcombine_u16(vrshrn_n_u32(c, PICO_WEIGHT_BITS), vrshrn_n_u32(d, PICO_WEIGHT_BITS));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
}

void pico_resample_down_neon(const uint8_t *const *rows, const uint16_t *weights, int count,
                             size_t bytes, uint8_t *out) {
    if (bytes < 16) {
        pico_resample_down_c(rows, weights, count, bytes, out);
        return;
    }
    if (count == 1) {
        memcpy(out, rows[0], bytes);
        return;
    }
    size_t x = 0;
    for (; x + 16 <= bytes; x += 16)
        vst1q_u8(out + x, column16(rows, weights, count, x));
    /* The last block overlaps the one before and writes the same bytes again. */
    if (x < bytes)
        vst1q_u8(out + bytes - 16, column16(rows, weights, count, bytes - 16));
}

#endif
