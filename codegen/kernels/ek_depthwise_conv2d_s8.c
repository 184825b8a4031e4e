#include "ek_kernels.h"
#include "ek_scale.h"

/* Lay out row `row` of the padded map, paired with the one `gap` below it, in its slot. */
static void lay_out(const int8_t *input, const ek_map_t *map, const ek_window_t *window, const ek_taps_t *taps,
                    uint32_t row, uint32_t count, const int8_t *fill, ek_pair_t *lanes)
{
    const uint32_t step = window->channels, below = row + map->gap, end = (uint32_t)map->height + map->top;
    const int inside = row >= map->top && row < end, lower_inside = below >= map->top && below < end;
    const int8_t *upper = inside ? input + (size_t)(row - map->top) * map->row_bytes : fill;
    const int8_t *lower = lower_inside ? input + (size_t)(below - map->top) * map->row_bytes : fill;
    ek_pair_rows(upper, inside ? step : 0u, lower, lower_inside ? step : 0u, count, taps->width,
                 (uint32_t)taps->slots * taps->positions,
                 lanes + (size_t)(row / taps->row_step % taps->slots) * taps->positions + taps->left);
}

/* All rows of one output of each of up to four channels. */
static void write_channels(const int8_t *input, const ek_map_t *map, const ek_window_t *window,
                           const ek_taps_t *taps, const ek_layer_t *layer, uint32_t first, uint32_t count,
                           ek_pair_t *lanes, const ek_pair_t **rows, int8_t *output)
{
    const uint32_t span = ((uint32_t)taps->pairs - 1u) * 2u * map->gap, size = (uint32_t)taps->slots * taps->positions;
    const uint32_t repeat = (uint32_t)window->outputs / window->channels;
    const uint32_t weights_step = (uint32_t)taps->pairs * window->kernel_w * repeat;
    const ek_pair_t *weights = (const ek_pair_t *)layer->weights + (size_t)first * taps->pairs * window->kernel_w;
    const int8_t zero = (int8_t)layer->quantization->input_zero_point, fill[4] = {zero, zero, zero, zero};
    int32_t *const sums = (int32_t *)(lanes + (size_t)4 * size);
    ek_scale_t scales[4];
    uint32_t row, next = 0, channel, i;
    for (i = 0; i < count * size; i++) {
        lanes[i] = ek_pair(zero, zero);
    }
    for (channel = 0; channel < count; channel++) {
        scales[channel] = ek_scale(layer, first + channel * repeat);
    }
    for (row = 0; row < taps->rows; row++) {
        const uint32_t top = row * map->stride;
        for (next = next < top ? top : next; next <= top + span; next += taps->row_step) {
            lay_out(input, map, window, taps, next, count, fill, lanes);
        }
        for (channel = 0; channel < count; channel++) {
            ek_depthwise_channel_s8(lanes + (size_t)channel * size, weights + (size_t)channel * weights_step, taps,
                                    window, top / taps->row_step, rows, sums, &scales[channel],
                                    output + (size_t)channel * repeat);
        }
        output += (size_t)window->output_width * window->outputs;
    }
}

/*
 * A depthwise convolution of a whole map: each input channel has kernels of its own.
 *
 * input:  [height][width][channels] int8; padding holds the input's zero point.
 * map:    rows and their padding; line_bytes and left_bytes do not count.
 * window: outputs is a multiple of channels.
 * layer:  weights as pairs of rows [outputs][taps->pairs][kernel_w], zeros below an odd last row; bias with the
 *         input's zero point folded in.
 * lanes:  [4][taps->slots][taps->positions] and [output_width rounded up to a multiple of four] scratch.
 * rows:   [taps->pairs] scratch.
 * output: [rows][output_width][outputs] int8. It may lie where the input lies if there is one output a channel,
 *         rows of the result are no longer, and no more rows of padding lie above than a window's pairs span.
 */
void ek_depthwise_conv2d_s8(const int8_t *input, const ek_map_t *map, const ek_window_t *window,
                            const ek_taps_t *taps, const ek_layer_t *layer, ek_pair_t *lanes,
                            const ek_pair_t **rows, int8_t *output)
{
    const uint32_t repeat = (uint32_t)window->outputs / window->channels;
    uint32_t first, i;
    for (first = 0; first < window->channels; first += 4u) {
        const uint32_t left = window->channels - first, count = left < 4u ? left : 4u;
        for (i = 0; i < repeat; i++) {
            const uint32_t result = first * repeat + i;
            write_channels(input + first, map, window, taps, layer, result, count, lanes, rows, output + result);
        }
    }
}
