#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * One row of a depthwise convolution: each input channel has kernels of its own.
 *
 * rows:   [kernel_t] input rows, oldest first, each [padded width][channels] with the padding filled in with
 *         the input's zero point.
 * window: outputs is a multiple of channels.
 * taps:   positions: what the windows of output_width, rounded up to a multiple of four, cover.
 * layer:  weights as pairs of rows [outputs][taps->pairs][kernel_w], zeros below an odd last row; bias with the
 *         input's zero point folded in.
 * lanes:  [4][taps->pairs][taps->positions] scratch; what lies behind the row stays undefined and unused.
 * output: [output_width][outputs] int8.
 */
void ek_depthwise_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_taps_t *taps,
                            const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint32_t repeat = (uint32_t)window->outputs / window->channels;
    const uint32_t positions = (window->output_width - 1u) * window->stride_w + window->kernel_w;
    const uint32_t step = (uint32_t)taps->pairs * taps->positions;
    const ek_pair_t *weights = layer->weights;
    uint32_t first, row, channel, i, result = 0;
    for (first = 0; first < window->channels; first += 4u) {
        const uint32_t left = window->channels - first, count = left < 4u ? left : 4u;
        for (row = 0; row < window->kernel_t; row += 2u) {
            /* Below an odd last row the weights are zeros: any row will do. */
            const int8_t *lower = rows[row + 1u < window->kernel_t ? row + 1u : row] + first;
            ek_pair_rows(rows[row] + first, lower, window->channels, count, positions, step,
                         lanes + (size_t)row / 2u * taps->positions);
        }
        for (channel = 0; channel < count; channel++) {
            for (i = 0; i < repeat; i++) {
                const ek_scale_t scale = ek_scale(layer, result);
                ek_depthwise_channel_s8(lanes + (size_t)channel * step, weights, taps, window, &scale, output + result);
                weights += (size_t)taps->pairs * taps->kernel_w;
                result++;
            }
        }
    }
}
