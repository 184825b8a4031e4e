#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Pooled values and the products of their channels, summed over the maps.
 *
 * input:  [maps][channels] int16, at most 2^15 maps.
 * order:  scales of the values and of the products.
 * output: [maps * channels + channels * channels] int16, saturated.
 */
void ek_second_order_s16(const int16_t *input, uint32_t maps, uint32_t channels, const ek_second_order_t *order,
                         int16_t *output)
{
    uint32_t i, one, other, map;
    for (i = 0; i < maps * channels; i++) {
        *output++ = ek_rescale_s16(input[i], order->multiplier[0], order->shift[0]);
    }
    for (one = 0; one < channels; one++) {
        for (other = 0; other < channels; other++) {
            int64_t sum = 0;
            for (map = 0; map < maps; map++) {
                sum += (int32_t)input[map * channels + one] * input[map * channels + other];
            }
            *output++ = ek_rescale_s16(sum, order->multiplier[1], order->shift[1]);
        }
    }
}
