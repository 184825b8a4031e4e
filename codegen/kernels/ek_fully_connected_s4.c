#include "ek_kernels.h"

/* The signed value of the low nibble of a byte. */
static int32_t low_nibble(int8_t byte)
{
    return (int32_t)(((uint32_t)byte & 0xFu) ^ 8u) - 8;
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
    const ek_quantization_t *q = layer->quantization;
    const int8_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row++) {
        int32_t value = layer->bias[row];
        for (i = 0; i + 1u < inputs; i += 2u) {
            const int8_t pair = *weights++;
            value += input[i] * low_nibble(pair) + input[i + 1u] * (pair >> 4);
        }
        if (i < inputs) {
            value += input[i] * low_nibble(*weights++);
        }
        value = ek_requantize(value, layer->multiplier[row], layer->shift[row]) + q->output_zero_point;
        value = value < q->clamp_min ? q->clamp_min : value;
        output[row] = (int8_t)(value > q->clamp_max ? q->clamp_max : value);
    }
}
