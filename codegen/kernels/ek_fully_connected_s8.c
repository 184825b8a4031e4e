#include "ek_kernels.h"

/*
 * Fully connected layer with int8 weights.
 *
 * input:  [inputs] int8.
 * layer:  weights [outputs][inputs]; bias with the input's zero point folded in.
 * output: [outputs] int8.
 */
void ek_fully_connected_s8(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_layer_t *layer,
                           int8_t *output)
{
    const ek_quantization_t *q = layer->quantization;
    const int8_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row++) {
        int32_t value = layer->bias[row];
        for (i = 0; i < inputs; i++) {
            value += input[i] * weights[i];
        }
        weights += inputs;
        value = ek_requantize(value, layer->multiplier[row], layer->shift[row]) + q->output_zero_point;
        value = value < q->clamp_min ? q->clamp_min : value;
        output[row] = (int8_t)(value > q->clamp_max ? q->clamp_max : value);
    }
}
