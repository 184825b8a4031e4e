#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Fully connected layer with int16 activations and int8 weights, all zero points 0.
 *
 * input:  [2 * pairs] int16.
 * layer:  weights as pairs [outputs][pairs]; quantization is not used.
 * output: [outputs] int16, saturated.
 */
void ek_fully_connected_s16(const int16_t *input, uint32_t pairs, uint32_t outputs, const ek_layer_t *layer,
                            int16_t *output)
{
    const ek_pair_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row++) {
        int64_t value = layer->bias[row];
        for (i = 0; i < pairs; i++) {
            value = ek_add_products(ek_load_pair(input + 2u * i), *weights++, value);
        }
        output[row] = ek_rescale_s16(value, layer->multiplier[row], layer->shift[row]);
    }
}
