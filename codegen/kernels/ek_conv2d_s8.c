#include "ek_kernels.h"
#include "ek_scale.h"

/* Lay out one value of each position's window: the first of a pair, or with the second added to it. */
static void lay_out(const int8_t *value, const int8_t *other, uint32_t step, uint32_t width, ek_pair_t *lanes)
{
    uint32_t position;
    if (other == NULL) {
        for (position = 0; position < width; position++) {
            *lanes++ = ek_pair(*value, 0);
            value += step;
        }
        return;
    }
    for (position = 0; position < width; position++) {
        *lanes++ = ek_pair(*value, *other);
        value += step;
        other += step;
    }
}

/* Outputs of one channel of any scale from twice its sums. */
EK_RARE static void write_channel(const int32_t *sums, const ek_scale_t *scale, uint32_t width, uint32_t step, int8_t *output)
{
    uint32_t position;
    for (position = 0; position < width; position++) {
        *output = ek_result_s8(*sums++, scale, scale->quick);
        output += step;
    }
}

/*
 * One row of a two-dimensional convolution.
 *
 * rows:    [kernel_t] input rows, oldest first, each [padded width][channels] with the padding filled in with
 *          the input's zero point.
 * columns: positions of the row; depth: half of the kernel_t * kernel_w * channels values, rounded up.
 * layer:   twice the weights, as pairs [(outputs + 1) / 2][depth][2]; bias with the zero point folded in.
 * lanes:   [depth + 2][columns] scratch, and [columns][outputs] int8 where there are more than output_width; what
 *          lies behind the row's width stays undefined and unused.
 * output:  [output_width][outputs] int8.
 */
void ek_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                  const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint32_t span = (uint32_t)window->kernel_w * window->channels, values = span * window->kernel_t;
    const uint32_t step = (uint32_t)window->stride_w * window->channels, width = window->output_width;
    const uint32_t outputs = window->outputs;
    const ek_pair_t *weights = layer->weights;
    int32_t *sums = (int32_t *)(lanes + (size_t)columns->depth * columns->count);
    /* Where some columns are padding, generated code writes their results too: behind those that count. */
    int8_t *row_of_all = columns->count == width ? output : (int8_t *)(sums + (size_t)2 * columns->count);
    uint32_t value, row = 0, place = 0, channel;
    for (value = 0; value < values; value += 2u) {
        const int8_t *first = rows[row] + place, *second = NULL;
        place++;
        row += place == span ? 1u : 0u;
        place = place == span ? 0u : place;
        if (row < window->kernel_t) {
            second = rows[row] + place;
            place++;
            row += place == span ? 1u : 0u;
            place = place == span ? 0u : place;
        }
        lay_out(first, second, step, width, lanes + (size_t)(value / 2u) * columns->count);
    }
    for (channel = 0; channel < outputs; channel += 2u) {
        const uint32_t pair = channel + 1u < outputs ? 2u : 1u;
        const ek_scale_t scales[2] = {ek_scale(layer, channel), ek_scale(layer, channel + pair - 1u)};
        if (columns->row != NULL && scales[0].quick != 0 && scales[1].quick != 0) {
            columns->row(lanes, weights, scales, row_of_all + channel, pair);
        } else {
            ek_products(lanes, weights, columns->depth, columns->count, width, sums);
            write_channel(sums, &scales[0], width, outputs, row_of_all + channel);
            if (pair == 2u) {
                write_channel(sums + width, &scales[1], width, outputs, row_of_all + channel + 1);
            }
        }
        weights += (size_t)2 * columns->depth;
    }
    if (row_of_all != output) {
        memcpy(output, row_of_all, (size_t)width * outputs);
    }
}
