#include "ek_kernels.h"

/*
 * The pooled values so far: numerator / denominator in Q7 of the value's unit, rounded to nearest with ties
 * away from zero.
 *
 * numerator, denominator: [features], at least one token added.
 * pooled:                 [features] int16.
 */
void ek_attention_read(const int64_t *numerator, const uint64_t *denominator, uint32_t features,
                       int16_t *pooled)
{
    uint32_t i;
    for (i = 0; i < features; i++) {
        const uint64_t magnitude = (uint64_t)(numerator[i] < 0 ? -numerator[i] : numerator[i]) << EK_POOL_BITS;
        const int32_t quotient = (int32_t)((magnitude + denominator[i] / 2u) / denominator[i]);
        pooled[i] = (int16_t)(numerator[i] < 0 ? -quotient : quotient);
    }
}
