#include "ek_kernels.h"

/*
 * Sums of products of one or two channels with some tiles at each point, for processors without the DSP extension.
 *
 * points:   of the lanes and weights.
 * lanes:    [points][depth + 2][tiles]: depth pairs of each tile, behind them the sums as [2][tiles], modulo 2^32.
 * weights:  [points][depth][2] pairs.
 * channels: 1 or 2; the second channel's sums stay as they are where it is 1.
 */
void ek_winograd_products(ek_pair_t *lanes, const ek_pair_t *weights, uint32_t points, uint32_t depth, uint32_t tiles,
                          uint32_t channels)
{
    uint32_t point, channel, tile, i;
    for (point = 0; point < points; point++) {
        ek_pair_t *sums = lanes + (size_t)depth * tiles;
        for (channel = 0; channel < channels; channel++) {
            for (tile = 0; tile < tiles; tile++) {
                uint32_t sum = 0;
                for (i = 0; i < depth; i++) {
                    const ek_pair_t lane = lanes[i * tiles + tile], weight = weights[2u * i + channel];
                    sum += (uint32_t)(ek_first(lane) * ek_first(weight));
                    sum += (uint32_t)(ek_second(lane) * ek_second(weight));
                }
                *sums++ = sum;
            }
        }
        lanes += (size_t)(depth + 2u) * tiles;
        weights += (size_t)2 * depth;
    }
}
