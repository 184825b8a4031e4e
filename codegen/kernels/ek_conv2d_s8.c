#include "ek_kernels.h"

/* Add the products of two input spans with two weight spans: sums[2 * input + weight]. */
static void add_products(const int8_t *x0, const int8_t *x1, const int8_t *w0, const int8_t *w1, uint32_t span,
                         int32_t sums[4])
{
    int32_t sum00 = sums[0], sum01 = sums[1], sum10 = sums[2], sum11 = sums[3];
    const int8_t *end = x0 + span;
    while (x0 != end) {
        const int32_t a = *x0++, b = *x1++, u = *w0++, v = *w1++;
        sum00 += a * u;
        sum01 += a * v;
        sum10 += b * u;
        sum11 += b * v;
    }
    sums[0] = sum00;
    sums[1] = sum01;
    sums[2] = sum10;
    sums[3] = sum11;
}

/*
 * One row of a two-dimensional convolution.
 *
 * rows:   [kernel_t] input rows, oldest first, each [padded width][channels] with the padding filled in with
 *         the input's zero point.
 * layer:  weights [outputs][kernel_t][kernel_w][channels]; bias with the zero point folded in.
 * output: [output_width][outputs] int8.
 * Two positions and two channels at a time, so that each load serves two products. Where their number is odd,
 * the last one is its own partner.
 */
void ek_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer, int8_t *output)
{
    const uint32_t span = (uint32_t)window->kernel_w * window->channels;
    const uint32_t step = (uint32_t)window->stride_w * window->channels;
    const uint32_t outputs = window->outputs, width = window->output_width;
    uint32_t p, c, row;
    for (c = 0; c < outputs; c += 2u) {
        const uint32_t c1 = c + 1u < outputs ? c + 1u : c;
        for (p = 0; p < width; p += 2u) {
            const uint32_t p1 = p + 1u < width ? p + 1u : p;
            const int8_t *w0 = layer->weights + (size_t)c * window->kernel_t * span;
            const int8_t *w1 = layer->weights + (size_t)c1 * window->kernel_t * span;
            int32_t sums[4] = {layer->bias[c], layer->bias[c1], layer->bias[c], layer->bias[c1]};
            for (row = 0; row < window->kernel_t; row++) {
                add_products(rows[row] + (size_t)p * step, rows[row] + (size_t)p1 * step, w0, w1, span, sums);
                w0 += span;
                w1 += span;
            }
            output[(size_t)p * outputs + c] = ek_output_s8(sums[0], layer, c);
            output[(size_t)p * outputs + c1] = ek_output_s8(sums[1], layer, c1);
            output[(size_t)p1 * outputs + c] = ek_output_s8(sums[2], layer, c);
            output[(size_t)p1 * outputs + c1] = ek_output_s8(sums[3], layer, c1);
        }
    }
}
