#include "ek_kernels.h"

/*
 * Mean over all positions of a map, in the output's own scale: the count is in the multiplier, as in TFLite.
 *
 * input:  [positions][channels] int8, at most 2^22 positions.
 * output: [channels] int8.
 */
void ek_mean_s8(const int8_t *input, uint32_t positions, uint32_t channels, const ek_mean_t *mean, int8_t *output)
{
    const ek_output_t *q = &mean->output;
    uint32_t channel, position;
    for (channel = 0; channel < channels; channel++) {
        const int8_t *value = input + channel;
        int32_t sum = 0;
        for (position = 0; position < positions; position++) {
            sum += *value - mean->zero_point;
            value += channels;
        }
        output[channel] = ek_clamped_s8(ek_requantize(sum, q->multiplier, q->shift), q);
    }
}
