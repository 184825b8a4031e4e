#include "ek_kernels.h"

/* The signed value of the low nibble of a byte. */
static int32_t low_nibble(int8_t byte)
{
    return (int32_t)((uint32_t)byte << 28) >> 28;
}

/* Add the inner products of int8 inputs with two rows of int4 weights, two to a byte. */
static void add_products(const int8_t *input, const int8_t *w0, const int8_t *w1, uint32_t inputs, int32_t sums[2])
{
    const int8_t *end = input + (inputs & ~(uint32_t)1);
    int32_t sum0 = sums[0], sum1 = sums[1];
    while (input != end) {
        const int32_t a = *input++, b = *input++;
        const int8_t pair0 = *w0++, pair1 = *w1++;
        sum0 += a * low_nibble(pair0) + b * (pair0 >> 4);
        sum1 += a * low_nibble(pair1) + b * (pair1 >> 4);
    }
    if ((inputs & 1u) != 0u) {
        sum0 += *input * low_nibble(*w0);
        sum1 += *input * low_nibble(*w1);
    }
    sums[0] = sum0;
    sums[1] = sum1;
}

/*
 * Fully connected layer with int4 weights.
 *
 * input:  [inputs] int8.
 * layer:  weights [outputs][(inputs + 1) / 2] bytes, two weights to a byte, the first in the low nibble, each
 *         row starting at a byte; bias with the input's zero point folded in.
 * output: [outputs] int8.
 * Two rows at a time, so that each input is loaded once for both; a last odd row is its own partner.
 */
void ek_fully_connected_s4(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_layer_t *layer,
                           int8_t *output)
{
    const size_t row_bytes = (inputs + 1u) / 2u;
    uint32_t row;
    for (row = 0; row < outputs; row += 2u) {
        const uint32_t next = row + 1u < outputs ? row + 1u : row;
        int32_t sums[2] = {layer->bias[row], layer->bias[next]};
        add_products(input, layer->weights + row * row_bytes, layer->weights + next * row_bytes, inputs, sums);
        output[row] = ek_output_s8(sums[0], layer, row);
        output[next] = ek_output_s8(sums[1], layer, next);
    }
}
