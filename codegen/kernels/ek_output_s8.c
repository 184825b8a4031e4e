#include "ek_kernels.h"

/*
 * The int8 result of an accumulator: requantized, moved to the zero point, clamped (the activation).
 *
 * accumulator: int32, in range as for ek_requantize.
 * channel:     0..outputs-1 of the layer.
 */
int8_t ek_output_s8(int32_t accumulator, const ek_layer_t *layer, uint32_t channel)
{
    const ek_quantization_t *q = layer->quantization;
    int32_t value = ek_requantize(accumulator, layer->multiplier[channel], layer->shift[channel]);
    value += q->output_zero_point;
    value = value < q->clamp_min ? q->clamp_min : value;
    return (int8_t)(value > q->clamp_max ? q->clamp_max : value);
}
