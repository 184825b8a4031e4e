#include "ek_kernels.h"

/* Sums of products of one tile with two channels at one point, modulo 2^32. */
static void multiply_tile(const ek_pair_t *lane, const ek_pair_t *weight, uint32_t depth, uint32_t tiles, ek_pair_t sums[2])
{
    uint32_t one = 0, other = 0, i;
    for (i = 0; i < depth; i++) {
        const int32_t first = ek_first(*lane), second = ek_second(*lane);
        one += (uint32_t)(first * ek_first(weight[0])) + (uint32_t)(second * ek_second(weight[0]));
        other += (uint32_t)(first * ek_first(weight[1])) + (uint32_t)(second * ek_second(weight[1]));
        lane += tiles;
        weight += 2;
    }
    sums[0] = one;
    sums[1] = other;
}

/*
 * Sums of products of two channels with some tiles at each point, for processors without the DSP extension.
 *
 * points:  of the lanes and weights.
 * lanes:   [points][depth + 2][tiles]: depth pairs of each tile, behind them the sums as [2][tiles], modulo 2^32.
 * weights: [points][depth][2] pairs.
 */
void ek_winograd_products(ek_pair_t *lanes, const ek_pair_t *weights, uint32_t points, uint32_t depth, uint32_t tiles)
{
    uint32_t point, tile;
    for (point = 0; point < points; point++) {
        ek_pair_t *sums = lanes + (size_t)depth * tiles;
        for (tile = 0; tile < tiles; tile++) {
            ek_pair_t both[2];
            multiply_tile(lanes + tile, weights, depth, tiles, both);
            sums[tile] = both[0];
            sums[tiles + tile] = both[1];
        }
        lanes += (size_t)(depth + 2u) * tiles;
        weights += (size_t)2 * depth;
    }
}
