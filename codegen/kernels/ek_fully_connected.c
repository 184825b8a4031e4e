#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Fully connected layer of int8 activations.
 *
 * input:  [inputs] int8.
 * rows:   how four rows are multiplied.
 * layer:  weights [(outputs + 3) / 4][words][4] (see ek_dense_s4, ek_dense_s8), rows of zeros behind the last;
 *         bias with the input's zero point folded in.
 * lanes:  [pairs] scratch.
 * output: [outputs] int8.
 */
void ek_fully_connected(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                        const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const ek_quantization_t *q = layer->quantization;
    const int32_t excess = rows->offset * ek_expand_s8(input, inputs, rows->pairs, lanes);
    const int32_t halves = 2 * q->output_zero_point + 1;
    const int clamped = q->clamp_min > -128 || q->clamp_max < 127;
    const uint32_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row += 4u) {
        const uint32_t count = outputs - row < 4u ? outputs - row : 4u;
        int32_t sums[4];
        rows->four(lanes, weights, sums);
        for (i = 0; i < count; i++) {
            const int32_t right = -layer->shift[row + i], sum = sums[i] - excess;
            if (right > 0 && right <= EK_QUICK_SHIFT && clamped == 0) {
                /* Each channel has but one result: what ek_scale would prepare is computed in passing. */
                const int32_t high = ek_high_product((sum + layer->bias[row + i]) * 2, layer->multiplier[row + i]);
                const int32_t rounding = (int32_t)((uint32_t)halves << (right - 1));
                *output++ = (int8_t)ek_saturate_s8((high + (high >> 31) + rounding) >> right);
            } else {
                const ek_scale_t scale = ek_scale(layer, row + i);
                *output++ = ek_result_s8(sum * 2, &scale, 0);
            }
        }
        weights += (size_t)4 * rows->words;
    }
}
