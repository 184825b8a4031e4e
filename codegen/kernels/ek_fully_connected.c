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
    const int32_t excess = rows->offset * ek_expand_s8(input, inputs, rows->pairs, lanes);
    const uint32_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row += 4u) {
        const uint32_t count = outputs - row < 4u ? outputs - row : 4u;
        int32_t sums[4];
        rows->four(lanes, weights, sums);
        for (i = 0; i < count; i++) {
            const ek_scale_t scale = ek_scale(layer, row + i);
            *output++ = ek_result_s8((sums[i] - excess) * 2, &scale, scale.quick);
        }
        weights += (size_t)4 * rows->words;
    }
}
