#include "ek_kernels.h"
#include "ek_scale.h"

/* Lay out pairs of the values that each position reads of one row: [(span + 1) / 2][count]. */
static void lay_out(const int8_t *row, uint32_t span, uint32_t step, uint32_t width, uint32_t count,
                    ek_pair_t *lanes)
{
    uint32_t position, i;
    for (position = 0; position < width; position++) {
        const int8_t *value = row + (size_t)position * step;
        ek_pair_t *pair = lanes + position;
        for (i = 0; i + 1u < span; i += 2u) {
            *pair = ek_pair(value[i], value[i + 1u]);
            pair += count;
        }
        if (i < span) {
            *pair = ek_pair(value[i], 0);
        }
    }
}

/* Products of two channels with a whole row, one block of three or four positions after another. */
static void multiply_row(const ek_columns_t *columns, const ek_pair_t *lanes, const ek_pair_t *weights, int32_t *sums)
{
    uint32_t position = 0;
    for (; position < columns->fours; position += 4u) {
        columns->four(lanes + position, weights, 1u, sums);
        sums += 2 * 4;
    }
    for (; position < columns->count; position += 3u) {
        columns->three(lanes + position, weights, 1u, sums);
        sums += 2 * 3;
    }
}

EK_INLINE int32_t twice(int32_t value)
{
    return (int32_t)((uint32_t)value * 2u);
}

/* One of the two channels, `step` bytes from one result to the next. */
EK_INLINE void write_row(const int32_t *sums, uint32_t second, const ek_scale_t *scale, uint32_t fours,
                         uint32_t width, uint32_t step, int8_t *output, int quick)
{
    const int32_t *sum;
    uint32_t position;
    for (position = 0; position + 4u <= fours; position += 4u) {
        output[0] = ek_result_s8(twice(sums[4u * second]), scale, quick);
        output[step] = ek_result_s8(twice(sums[4u * second + 1u]), scale, quick);
        output[2u * step] = ek_result_s8(twice(sums[4u * second + 2u]), scale, quick);
        output[3u * step] = ek_result_s8(twice(sums[4u * second + 3u]), scale, quick);
        output += (size_t)4 * step;
        sums += 8;
    }
    sum = sums + 3u * second;
    for (; position + 3u <= width; position += 3u) {
        output[0] = ek_result_s8(twice(sum[0]), scale, quick);
        output[step] = ek_result_s8(twice(sum[1]), scale, quick);
        output[2u * step] = ek_result_s8(twice(sum[2]), scale, quick);
        output += (size_t)3 * step;
        sum += 6;
    }
    for (; position < width; position++) {
        *output = ek_result_s8(twice(*sum++), scale, quick);
        output += step;
    }
}

static void write_channel(const int32_t *sums, uint32_t second, const ek_layer_t *layer, uint32_t channel,
                          uint32_t fours, const ek_window_t *window, int8_t *output)
{
    const ek_scale_t scale = ek_scale(layer, channel);
    if (scale.quick != 0) {
        write_row(sums, second, &scale, fours, window->output_width, window->outputs, output + channel, 1);
    } else {
        write_row(sums, second, &scale, fours, window->output_width, window->outputs, output + channel, 0);
    }
}

/*
 * One row of a two-dimensional convolution.
 *
 * rows:    [kernel_t] input rows, oldest first, each [padded width][channels] with the padding filled in with
 *          the input's zero point.
 * columns: positions of the row; depth: kernel_t times the pairs of kernel_w * channels values.
 * layer:   weights as pairs [(outputs + 1) / 2][depth][2]; bias with the zero point folded in.
 * lanes:   [depth + 2][columns] scratch; what lies behind the row's width stays undefined and unused.
 * output:  [output_width][outputs] int8.
 */
void ek_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                  const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint32_t span = (uint32_t)window->kernel_w * window->channels, row_pairs = (span + 1u) / 2u;
    const uint32_t step = (uint32_t)window->stride_w * window->channels;
    const ek_pair_t *weights = layer->weights;
    int32_t *sums = (int32_t *)(lanes + (size_t)columns->depth * columns->count);
    uint32_t row, channel;
    for (row = 0; row < window->kernel_t; row++) {
        ek_pair_t *first = lanes + (size_t)row * row_pairs * columns->count;
        lay_out(rows[row], span, step, window->output_width, columns->count, first);
    }
    for (channel = 0; channel < window->outputs; channel += 2u) {
        multiply_row(columns, lanes, weights, sums);
        write_channel(sums, 0u, layer, channel, columns->fours, window, output);
        if (channel + 1u < window->outputs) {
            write_channel(sums, 1u, layer, channel + 1u, columns->fours, window, output);
        }
        weights += (size_t)2 * columns->depth;
    }
}
