#include "ek_kernels.h"

/*
 * Sums of products of four rows of int4 weights, for processors without the DSP extension.
 *
 * lanes:   [4 * words] pairs of inputs (see ek_expand_s8).
 * weights: [words][4] eight weights each, 8 added; their inputs, from the low nibble on, are
 *          0, 1, 4, 5, 2, 3, 6, 7.
 * sums:    [4] result: 8 times the sum of the inputs too much.
 */
void ek_dense_s4(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4])
{
    uint32_t row, word, pair;
    for (row = 0; row < 4u; row++) {
        int32_t sum = 0;
        for (word = 0; word < words; word++) {
            const uint32_t nibbles = weights[4u * word + row];
            for (pair = 0; pair < 4u; pair++) {
                const ek_pair_t weight = (nibbles >> (4u * pair)) & 0x000F000Fu, lane = lanes[4u * word + pair];
                sum += ek_first(lane) * ek_first(weight) + ek_second(lane) * ek_second(weight);
            }
        }
        sums[row] = sum;
    }
}
