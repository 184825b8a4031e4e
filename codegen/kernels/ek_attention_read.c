#include "ek_kernels.h"
#include "ek_scale.h"

/* Places of a divisor that an estimate is made from. */
#define EK_DIVISOR_BITS 17u

/*
 * value / divisor, rounded down, where the quotient is below 2^15 and the divisor has so many bits.
 *
 * One division of 32 bits instead of one of 64: the leading bits of both give at most 2 too much, as the
 * divisor's rest is below 2^-16 of it.
 */
EK_INLINE uint32_t divide(uint64_t value, uint64_t divisor, uint32_t bits)
{
    const uint32_t shift = bits > EK_DIVISOR_BITS ? bits - EK_DIVISOR_BITS : 0u;
    uint32_t quotient = (uint32_t)(value >> shift) / (uint32_t)(divisor >> shift);
    while (quotient * divisor > value) {
        quotient--;
    }
    return quotient;
}

/* The same for a divisor of 64 bits; those of the first minutes have 32. */
EK_RARE static uint32_t divide_long(uint64_t value, uint64_t divisor)
{
    return divide(value, divisor, 64u - ek_leading_zeros((uint32_t)(divisor >> 32)));
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
        const int64_t sum = *numerator++;
        const uint64_t divisor = *denominator++;
        const uint64_t value = ((uint64_t)(sum < 0 ? -sum : sum) << EK_POOL_BITS) + divisor / 2u;
        const uint32_t low = (uint32_t)divisor;
        const int32_t quotient = (int32_t)(divisor >> 32 != 0u ? divide_long(value, divisor)
                                                               : divide(value, low, 32u - ek_leading_zeros(low)));
        *pooled++ = (int16_t)(sum < 0 ? -quotient : quotient);
    }
}
