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
    const int8_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row++) {
        int32_t value = layer->bias[row];
        for (i = 0; i < inputs; i++) {
            value += input[i] * weights[i];
        }
        weights += inputs;
        output[row] = ek_output_s8(value, layer, row);
    }
}
