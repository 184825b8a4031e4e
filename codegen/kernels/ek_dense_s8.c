#include "ek_kernels.h"

/*
 * Sums of products of four rows of int8 weights, for processors without the DSP extension.
 *
 * lanes:   [words / 2] pairs of inputs (see ek_expand_s8).
 * weights: [words / 4][4] four weights each, of inputs one after another.
 * sums:    [4] result.
 */
EK_RARE void ek_dense_s8(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4])
{
    uint32_t row, word;
    for (row = 0; row < 4u; row++) {
        int32_t sum = 0;
        for (word = 0; word < words / 4u; word++) {
            const ek_pair_t even = ek_even_bytes(weights[4u * word + row]);
            const ek_pair_t odd = ek_odd_bytes(weights[4u * word + row]);
            sum += ek_first(lanes[2u * word]) * ek_first(even) + ek_second(lanes[2u * word]) * ek_second(even);
            sum += ek_first(lanes[2u * word + 1u]) * ek_first(odd) + ek_second(lanes[2u * word + 1u]) * ek_second(odd);
        }
        sums[row] = sum;
    }
}
