#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Pairs of the values of two rows, for up to four channels: what depthwise convolutions multiply.
 *
 * upper, lower: int8 of the first position, from the first of the channels on; four bytes can be read.
 * upper_step, lower_step: bytes from one position to the next; 0 for a row of one value.
 * count:        channels that are paired, 1 to 4.
 * positions:    of a row.
 * step:         pairs from one channel's to the next's.
 * lanes:        [count][step] result, of which [positions] are written.
 */
void ek_pair_rows(const int8_t *upper, uint32_t upper_step, const int8_t *lower, uint32_t lower_step,
                  uint32_t count, uint32_t positions, uint32_t step, ek_pair_t *lanes)
{
    ek_pair_t *const end = lanes + positions;
    if (count == 4u) {
        ek_pair_t *second = lanes + step, *third = second + step, *fourth = third + step;
        EK_ROLLED
        while (lanes != end) {
            const uint32_t above = ek_bytes(upper), below = ek_bytes(lower);
            const ek_pair_t even = ek_even_bytes(above), odd = ek_odd_bytes(above);
            const ek_pair_t even_below = ek_even_bytes(below), odd_below = ek_odd_bytes(below);
            *lanes++ = ek_low_halves(even, even_below);
            *second++ = ek_low_halves(odd, odd_below);
            *third++ = ek_high_halves(even, even_below);
            *fourth++ = ek_high_halves(odd, odd_below);
            upper += upper_step;
            lower += lower_step;
        }
        return;
    }
    while (lanes != end) {
        uint32_t channel;
        for (channel = 0; channel < count; channel++) {
            lanes[(size_t)channel * step] = ek_pair(upper[channel], lower[channel]);
        }
        lanes++;
        upper += upper_step;
        lower += lower_step;
    }
}
