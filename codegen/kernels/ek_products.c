#include "ek_kernels.h"

/*
 * Sums of products of two channels with some columns, for processors without the DSP extension.
 *
 * lanes:   [points][depth][count] pairs, from the first column on.
 * weights: [points][depth][2] pairs.
 * some:    columns, 1..count.
 * sums:    [points][2][some] result, modulo 2^32: what lies behind a row's width may be anything.
 */
void ek_products(const ek_pair_t *lanes, const ek_pair_t *weights, uint32_t depth, uint32_t count, uint32_t some,
                 uint32_t points, int32_t *sums)
{
    uint32_t point, channel, column, i;
    for (point = 0; point < points; point++) {
        for (channel = 0; channel < 2u; channel++) {
            for (column = 0; column < some; column++) {
                const ek_pair_t *lane = lanes + column, *weight = weights + channel;
                uint32_t sum = 0;
                for (i = 0; i < depth; i++) {
                    sum += (uint32_t)(ek_first(*lane) * ek_first(*weight));
                    sum += (uint32_t)(ek_second(*lane) * ek_second(*weight));
                    lane += count;
                    weight += 2;
                }
                *sums++ = (int32_t)sum;
            }
        }
        lanes += (size_t)depth * count;
        weights += (size_t)2 * depth;
    }
}
