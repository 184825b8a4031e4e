#include "ek_mve.h"

/* Sums of products of four rows: [vectors][4][16]. */
static void multiply_four(const int8_t *input, const int8_t *weights, uint32_t vectors, int32_t sums[4])
{
#if EK_MVE
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (; vectors != 0u; vectors--) {
        const int8x16_t values = vldrbq_s8(input);
        a = vmladavaq_s8(a, values, vldrbq_s8(weights));
        b = vmladavaq_s8(b, values, vldrbq_s8(weights + 16));
        c = vmladavaq_s8(c, values, vldrbq_s8(weights + 32));
        d = vmladavaq_s8(d, values, vldrbq_s8(weights + 48));
        input += EK_VECTOR;
        weights += 4u * EK_VECTOR;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
#else
    uint32_t row, i;
    for (row = 0; row < 4u; row++) {
        sums[row] = 0;
        for (i = 0; i < EK_VECTOR * vectors; i++) {
            sums[row] += input[i] * weights[4u * (i - i % EK_VECTOR) + EK_VECTOR * row + i % EK_VECTOR];
        }
    }
#endif
}

/*
 * Fully connected layer of int8 activations and weights, for vectors.
 *
 * input:  [inputs] int8.
 * rows:   words: vectors of a row of weights.
 * layer:  weights [(outputs + 3) / 4][words][4][16] int8, zeros behind the inputs and the outputs; bias with the
 *         input's zero point folded in.
 * lanes:  [words][16] bytes of scratch; what lies behind the inputs stays undefined and meets zeros.
 * output: [outputs] int8.
 */
void ek_fully_connected_mve_s8(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                               const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const int8_t *weights = layer->weights;
    int8_t *values = (int8_t *)lanes;
    int32_t sums[4];
    uint32_t row;
    ek_copy_mve(input, inputs, values);
    for (row = 0; row < outputs; row += 4u) {
        multiply_four(values, weights, rows->words, sums);
        ek_write_four_mve(sums, layer, row, outputs - row < 4u ? outputs - row : 4u, output + row);
        weights += (size_t)4 * EK_VECTOR * rows->words;
    }
}
