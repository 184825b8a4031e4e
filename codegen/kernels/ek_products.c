#include "ek_kernels.h"

/*
 * Sums of products of two channels with the columns of a row.
 *
 * lanes:   [depth][count] pairs.
 * weights: [depth][2] pairs.
 * width:   columns that have results.
 * sums:    [2][width] result.
 */
EK_RARE void ek_products(const ek_pair_t *lanes, const ek_pair_t *weights, uint32_t depth, uint32_t count, uint32_t width,
                 int32_t *sums)
{
    uint32_t column, i;
    for (column = 0; column < width; column++) {
        const ek_pair_t *lane = lanes + column, *weight = weights;
        int32_t one = 0, other = 0;
        for (i = 0; i < depth; i++) {
            const int32_t first = ek_first(*lane), second = ek_second(*lane);
            one += first * ek_first(weight[0]) + second * ek_second(weight[0]);
            other += first * ek_first(weight[1]) + second * ek_second(weight[1]);
            lane += count;
            weight += 2;
        }
        sums[column] = one;
        sums[width + column] = other;
    }
}
