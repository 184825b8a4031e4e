#include "ek_kernels.h"

/*
 * One row of a two-dimensional convolution.
 *
 * rows:   [kernel_t] input rows, oldest first, each [padded width][channels] with the padding filled in with
 *         the input's zero point.
 * layer:  weights [outputs][kernel_t][kernel_w][channels]; bias with the zero point folded in.
 * output: [output_width][outputs] int8.
 */
void ek_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer, int8_t *output)
{
    const ek_quantization_t *q = layer->quantization;
    const uint32_t span = (uint32_t)window->kernel_w * window->channels;
    const uint32_t step = (uint32_t)window->stride_w * window->channels;
    uint32_t position, channel, row, i;
    for (position = 0; position < window->output_width; position++) {
        const int8_t *weights = layer->weights;
        for (channel = 0; channel < window->outputs; channel++) {
            int32_t value = layer->bias[channel];
            for (row = 0; row < window->kernel_t; row++) {
                const int8_t *input = rows[row] + (size_t)position * step;
                for (i = 0; i < span; i++) {
                    value += input[i] * weights[i];
                }
                weights += span;
            }
            value = ek_requantize(value, layer->multiplier[channel], layer->shift[channel])
                    + q->output_zero_point;
            value = value < q->clamp_min ? q->clamp_min : value;
            *output++ = (int8_t)(value > q->clamp_max ? q->clamp_max : value);
        }
    }
}
