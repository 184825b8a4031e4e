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
    uint32_t channel, column, i;
    for (channel = 0; channel < 2u; channel++) {
        for (column = 0; column < width; column++) {
            const ek_pair_t *lane = lanes + column, *weight = weights + channel;
            int32_t sum = 0;
            for (i = 0; i < depth; i++) {
                sum += ek_first(*lane) * ek_first(*weight);
                sum += ek_second(*lane) * ek_second(*weight);
                lane += count;
                weight += 2;
            }
            *sums++ = sum;
        }
    }
}
