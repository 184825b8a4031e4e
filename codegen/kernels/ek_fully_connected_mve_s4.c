#include "ek_mve.h"

/* Sixteen times the weights of the low and of the high nibbles. */
#define EK_LOW(byte) ((int8_t)(uint8_t)(((byte) & 0x0Fu) << 4))
#define EK_HIGH(byte) ((int8_t)(uint8_t)((byte) & 0xF0u))

/* Sums of products of four rows: [vectors][4][16] bytes, each vector 32 weights. */
static void multiply_four(const int8_t *input, const uint8_t *weights, uint32_t vectors, int32_t sums[4])
{
#if EK_MVE
    const uint8x16_t mask = vdupq_n_u8(0xF0u);
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (; vectors != 0u; vectors--) {
        const int8x16_t low = vldrbq_s8(input), high = vldrbq_s8(input + EK_VECTOR);
        const uint8x16_t wa = vldrbq_u8(weights), wb = vldrbq_u8(weights + 16);
        const uint8x16_t wc = vldrbq_u8(weights + 32), wd = vldrbq_u8(weights + 48);
        a = vmladavaq_s8(a, low, vreinterpretq_s8_u8(vshlq_n_u8(wa, 4)));
        a = vmladavaq_s8(a, high, vreinterpretq_s8_u8(vandq_u8(wa, mask)));
        b = vmladavaq_s8(b, low, vreinterpretq_s8_u8(vshlq_n_u8(wb, 4)));
        b = vmladavaq_s8(b, high, vreinterpretq_s8_u8(vandq_u8(wb, mask)));
        c = vmladavaq_s8(c, low, vreinterpretq_s8_u8(vshlq_n_u8(wc, 4)));
        c = vmladavaq_s8(c, high, vreinterpretq_s8_u8(vandq_u8(wc, mask)));
        d = vmladavaq_s8(d, low, vreinterpretq_s8_u8(vshlq_n_u8(wd, 4)));
        d = vmladavaq_s8(d, high, vreinterpretq_s8_u8(vandq_u8(wd, mask)));
        input += 2u * EK_VECTOR;
        weights += 4u * EK_VECTOR;
    }
    sums[0] = a >> 4;
    sums[1] = b >> 4;
    sums[2] = c >> 4;
    sums[3] = d >> 4;
#else
    uint32_t row, vector, i;
    for (row = 0; row < 4u; row++) {
        int32_t sum = 0;
        for (vector = 0; vector < vectors; vector++) {
            const int8_t *low = input + 2u * EK_VECTOR * vector, *high = low + EK_VECTOR;
            const uint8_t *bytes = weights + EK_VECTOR * (4u * vector + row);
            for (i = 0; i < EK_VECTOR; i++) {
                sum += low[i] * EK_LOW(bytes[i]) + high[i] * EK_HIGH(bytes[i]);
            }
        }
        sums[row] = sum >> 4;
    }
#endif
}

/*
 * Fully connected layer of int8 activations and int4 weights, for vectors.
 *
 * input:  [inputs] int8, at most 2^17.
 * rows:   words: vectors of a row of weights.
 * layer:  weights [(outputs + 3) / 4][words][4][16] bytes, zeros behind the inputs and the outputs: of each 32 inputs,
 *         the low nibbles meet the first 16; bias with the input's zero point folded in.
 * lanes:  [words][32] bytes of scratch; what lies behind the inputs stays undefined and meets zeros.
 * output: [outputs] int8.
 */
void ek_fully_connected_mve_s4(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                               const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint8_t *weights = layer->weights;
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
