#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * One channel of a row of a depthwise convolution.
 *
 * lanes:   [taps->slots][taps->positions] pairs of rows.
 * weights: [taps->pairs][kernel_w] pairs.
 * window:  of the convolution.
 * first:   number of the window's first pair of rows, counted over all of the map.
 * rows:    [taps->pairs] scratch.
 * sums:    [output_width rounded up to a multiple of four] scratch.
 * output:  [output_width] results, window->outputs bytes apart.
 */
void ek_depthwise_channel_s8(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_taps_t *taps,
                             const ek_window_t *window, uint32_t first, const ek_pair_t **rows, int32_t *sums,
                             const ek_scale_t *scale, int8_t *output)
{
    const uint32_t step = 4u * window->stride_w;
    uint32_t slot = first % taps->slots, pair, position;
    for (pair = 0; pair < taps->pairs; pair++) {
        rows[pair] = lanes + (size_t)slot * taps->positions;
        slot += taps->slot_step;
        slot = slot >= taps->slots ? slot - taps->slots : slot;
    }
    for (position = 0; position < window->output_width; position += 4u) {
        taps->four(rows, weights, sums + position);
        EK_ROLLED
        for (pair = 0; pair < taps->pairs; pair++) {
            rows[pair] += step;
        }
    }
    ek_scale_row(sums, window->output_width, scale, window->outputs, output);
}
