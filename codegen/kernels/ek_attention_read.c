#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * value / divisor, rounded down, where the quotient is below 2^15 and the divisor within 2^15..2^40 - 1.
 *
 * One division of 32 bits, the same for divisors of any length: both are shifted until 16 bits of the divisor are left.
 * What is cut off is below 2^-15 of it, so that their quotient is at most 1 too much.
 */
EK_INLINE uint32_t divide(uint64_t value, uint32_t divisor, uint32_t above)
{
    const uint32_t zeros = ek_leading_zeros(above << 24 | divisor >> 8), places = 24u - zeros;
    const uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    const uint32_t quotient = (high << 8 << zeros | low >> places) / (above << 8 << zeros | divisor >> places);
    const uint64_t product = (uint64_t)quotient * divisor + ((uint64_t)(quotient * above) << 32);
    return quotient - (product > value ? 1u : 0u);
}

/*
 * The pooled values so far: numerator / denominator in Q7 of the value's unit, rounded to nearest with ties
 * away from zero.
 *
 * numerator, denominator, above: [features] sums of ek_attention_update, at least one token added.
 * pooled:                        [features] int16.
 */
void ek_attention_read(const int64_t *numerator, const uint32_t *denominator, const uint8_t *above, uint32_t features,
                       int16_t *pooled)
{
    uint32_t i;
    for (i = 0; i < features; i++) {
        const int64_t sum = numerator[i];
        const uint64_t half = ((uint64_t)above[i] << 32 | denominator[i]) / 2u;
        const uint64_t value = ((uint64_t)(sum < 0 ? -sum : sum) << EK_POOL_BITS) + half;
        const int32_t quotient = (int32_t)divide(value, denominator[i], above[i]);
        pooled[i] = (int16_t)(sum < 0 ? -quotient : quotient);
    }
}
