#include "ek_kernels.h"
#include "ek_scale.h"

/* Products at all six points: two channels of three or four tiles. */
#define EK_MOST_SUMS (6 * 2 * 4)

/*
 * One row of a convolution with three columns and step 1, by Winograd's F(4, 3) along mel: half of the
 * multiplications, and exact, because the weights are 24 times those of the paper (Lavin and Gray,
 * arXiv 1509.09308).
 *
 * rows:   [kernel_t] input rows, oldest first, each [4 * tiles + 2][channels], padding filled in.
 * layer:  weights as pairs [(outputs + 1) / 2][6][kernel_t][pairs][2] (see ek_winograd_input); bias with the
 *         zero point folded in.
 * lanes:  [6][kernel_t][pairs][tiles] scratch.
 * output: [output_width][outputs] int8.
 */
void ek_conv2d_winograd_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                           const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint32_t tiles = columns->count, depth = columns->depth, row_pairs = depth / window->kernel_t;
    const uint32_t outputs = window->outputs, width = window->output_width;
    const ek_pair_t *weights = layer->weights;
    int32_t sums[EK_MOST_SUMS];
    uint32_t row, channel;
    for (row = 0; row < window->kernel_t; row++) {
        ek_winograd_input(rows[row], window->channels, tiles, depth * tiles, lanes + (size_t)row * row_pairs * tiles);
    }
    for (channel = 0; channel < outputs; channel += 2u) {
        const uint32_t other = channel + 1u < outputs ? channel + 1u : channel;
        const ek_scale_t scales[2] = {ek_scale(layer, channel), ek_scale(layer, other)};
        uint32_t tile = 0;
        while (tile < tiles) {
            const uint32_t some = tile < columns->fours ? 4u : 3u;
            const uint32_t left = width - 4u * tile, count = left < 4u * some ? left : 4u * some;
            int8_t *result = output + (size_t)4 * tile * outputs + channel;
            (some == 4u ? columns->four : columns->three)(lanes + tile, weights, 6u, sums);
            ek_winograd_output(sums, some, &scales[0], count, outputs, result);
            if (other != channel) {
                ek_winograd_output(sums + some, some, &scales[1], count, outputs, result + 1);
            }
            tile += some;
        }
        weights += (size_t)2 * 6 * depth;
    }
}
