#include "ek_kernels.h"

/*
 * Fully connected layer with int16 activations and int8 weights, all zero points 0.
 *
 * input:  [2 * pairs] int16.
 * layer:  weights as pairs [outputs][pairs]; quantization is not used.
 * output: [outputs] int16, saturated.
 * The multiplier is first reduced to 16 bits and the product rounded once, as TFLite Micro does for int16
 * activations.
 */
void ek_fully_connected_s16(const int16_t *input, uint32_t pairs, uint32_t outputs, const ek_layer_t *layer,
                            int16_t *output)
{
    const ek_pair_t *weights = layer->weights;
    uint32_t row, i;
    for (row = 0; row < outputs; row++) {
        const int32_t multiplier = layer->multiplier[row];
        const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
        const int32_t total = 15 - layer->shift[row];
        int64_t value = layer->bias[row];
        for (i = 0; i < pairs; i++) {
            value = ek_add_products(ek_load_pair(input + 2u * i), *weights++, value);
        }
        value = (value * reduced + ((int64_t)1 << (total - 1))) >> total;
        value = value < -32768 ? -32768 : value;
        output[row] = (int16_t)(value > 32767 ? 32767 : value);
    }
}
