#include "ek_kernels.h"

/* The signed value of the low nibble of a byte. */
static int32_t low_nibble(int8_t byte)
{
    return (int32_t)((uint32_t)byte << 28) >> 28;
}

/* The inner product of int8 inputs with int4 weights, two to a byte. */
static int32_t inner_product(const int8_t *input, const int8_t *weights, uint32_t inputs)
{
    const int8_t *end = input + (inputs & ~(uint32_t)1);
    int32_t sum = 0;
    while (input != end) {
        const int8_t pair = *weights++;
        sum += *input++ * low_nibble(pair);
        sum += *input++ * (pair >> 4);
    }
    return (inputs & 1u) != 0u ? sum + *input * low_nibble(*weights) : sum;
}

/*
 * Fully connected layer with int4 weights.
 *
 * input:  [inputs] int8.
 * layer:  weights [outputs][(inputs + 1) / 2] bytes, two weights to a byte, the first in the low nibble, each
 *         row starting at a byte; bias with the input's zero point folded in.
 * output: [outputs] int8.
 */
void ek_fully_connected_s4(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_layer_t *layer,
                           int8_t *output)
{
    const size_t row_bytes = (inputs + 1u) / 2u;
    uint32_t row;
    for (row = 0; row < outputs; row++) {
        const int32_t sum = inner_product(input, layer->weights + row * row_bytes, inputs);
        output[row] = ek_output_s8(layer->bias[row] + sum, layer, row);
    }
}
