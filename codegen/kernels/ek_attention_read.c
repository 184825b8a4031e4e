#include "ek_kernels.h"

/* Places of a divisor that an estimate is made from. */
#define EK_DIVISOR_BITS 17u

/*
 * value / divisor, rounded down, where the quotient is below 2^15.
 *
 * One division of 32 bits instead of one of 64: the leading bits of both give at most 2 too much, as the
 * divisor's rest is below 2^-16 of it.
 */
static uint32_t divide(uint64_t value, uint64_t divisor)
{
    const uint32_t high = (uint32_t)(divisor >> 32);
    const uint32_t bits = high != 0u ? 64u - ek_leading_zeros(high) : 32u - ek_leading_zeros((uint32_t)divisor);
    const uint32_t shift = bits > EK_DIVISOR_BITS ? bits - EK_DIVISOR_BITS : 0u;
    uint32_t quotient = (uint32_t)(value >> shift) / (uint32_t)(divisor >> shift);
    while (quotient * divisor > value) {
        quotient--;
    }
    return quotient;
}

/*
 * The pooled values so far: numerator / denominator in Q7 of the value's unit, rounded to nearest with ties
 * away from zero.
 *
 * numerator, denominator: [features], at least one token added; |numerator| is at most 255 * denominator.
 * pooled:                 [features] int16.
 */
void ek_attention_read(const int64_t *numerator, const uint64_t *denominator, uint32_t features,
                       int16_t *pooled)
{
    uint32_t i;
    for (i = 0; i < features; i++) {
        const uint64_t magnitude = (uint64_t)(numerator[i] < 0 ? -numerator[i] : numerator[i]) << EK_POOL_BITS;
        const int32_t quotient = (int32_t)divide(magnitude + denominator[i] / 2u, denominator[i]);
        pooled[i] = (int16_t)(numerator[i] < 0 ? -quotient : quotient);
    }
}
