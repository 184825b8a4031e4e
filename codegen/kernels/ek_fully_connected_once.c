#include "ek_kernels.h"

/*
 * Fully connected layer of int8 activations whose results are rounded once, halves up, as LiteRT does.
 *
 * Arguments as of ek_fully_connected.
 */
void ek_fully_connected_once(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                             const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const ek_quantization_t *q = layer->quantization;
    const int32_t excess = rows->offset * ek_expand_s8(input, inputs, rows->pairs, lanes);
    const uint32_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row += 4u) {
        const uint32_t count = outputs - row < 4u ? outputs - row : 4u;
        int32_t sums[4];
        rows->sums(lanes, weights, rows->words, sums);
        for (i = 0; i < count; i++) {
            const int32_t sum = sums[i] - (i < 3u ? excess : 0) + layer->bias[row + i];
            const int32_t total = 31 - layer->shift[row + i];
            const int64_t product = (int64_t)sum * layer->multiplier[row + i];
            int32_t value = (int32_t)((product + ((int64_t)1 << (total - 1))) >> total) + q->output_zero_point;
            value = value < q->clamp_min ? q->clamp_min : value;
            *output++ = (int8_t)(value > q->clamp_max ? q->clamp_max : value);
        }
        weights += rows->words;
    }
}
