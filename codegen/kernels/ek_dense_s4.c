#include "ek_kernels.h"

/*
 * Sums of products of four rows of int4 weights, for processors without the DSP extension.
 *
 * lanes:   [words] pairs of inputs (see ek_expand_s8).
 * weights: [words] a pair of 16 bits each: four rows' weights for one input, from the low nibble on; 8 is added to
 *          those of the first three rows, the last is signed.
 * sums:    [4] result: for the first three rows 8 times the sum of the inputs too much.
 */
EK_RARE void ek_dense_s4(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4])
{
    uint32_t word;
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
    for (word = 0; word < words; word++) {
        const int32_t first = ek_first(lanes[word]), second = ek_second(lanes[word]);
        const uint32_t four = weights[word];
        sums[0] += first * (int32_t)(four & 15u) + second * (int32_t)(four >> 16 & 15u);
        sums[1] += first * (int32_t)(four >> 4 & 15u) + second * (int32_t)(four >> 20 & 15u);
        sums[2] += first * (int32_t)(four >> 8 & 15u) + second * (int32_t)(four >> 24 & 15u);
        sums[3] += first * (ek_first(four) >> 12) + second * (ek_second(four) >> 12);
    }
}
