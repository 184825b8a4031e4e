#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Pairs of the values of two rows, for up to four channels: what depthwise convolutions multiply.
 *
 * upper:     [positions][channels] int8, from the first of the channels on.
 * lower:     the same of the row below.
 * count:     channels that are paired, 1 to 4.
 * positions: of a row.
 * step:      pairs from one channel's to the next's.
 * lanes:     [count][step] result, of which [positions] are written.
 */
void ek_pair_rows(const int8_t *upper, const int8_t *lower, uint32_t channels, uint32_t count, uint32_t positions,
                  uint32_t step, ek_pair_t *lanes)
{
    const int8_t *const end = upper + (size_t)positions * channels;
    if (count == 4u) {
        ek_pair_t *second = lanes + step, *third = second + step, *fourth = third + step;
        EK_ROLLED
        for (; upper != end; upper += channels) {
            const uint32_t above = ek_bytes(upper), below = ek_bytes(lower);
            const ek_pair_t even = ek_even_bytes(above), odd = ek_odd_bytes(above);
            const ek_pair_t even_below = ek_even_bytes(below), odd_below = ek_odd_bytes(below);
            *lanes++ = ek_low_halves(even, even_below);
            *second++ = ek_low_halves(odd, odd_below);
            *third++ = ek_high_halves(even, even_below);
            *fourth++ = ek_high_halves(odd, odd_below);
            lower += channels;
        }
        return;
    }
    for (; upper != end; upper += channels) {
        uint32_t channel;
        for (channel = 0; channel < count; channel++) {
            lanes[(size_t)channel * step] = ek_pair(upper[channel], lower[channel]);
        }
        lanes++;
        lower += channels;
    }
}
