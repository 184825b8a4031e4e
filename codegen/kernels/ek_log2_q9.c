#include "ek_kernels.h"

/*
 * log2 in Q9 by table with linear interpolation; error at most 0.0011.
 *
 * value: 0..2^63-1; 0 gives EK_LOG2_OF_ZERO.
 * table: [129] log2(1 + i / 128) in Q15.
 */
int32_t ek_log2_q9(uint64_t value, const uint16_t *table)
{
    const uint32_t upper = (uint32_t)(value >> 32);
    uint32_t exponent, fraction, low, high, rest;
    if (value == 0u) {
        return EK_LOG2_OF_ZERO;
    }
    exponent = upper != 0u ? 63u - ek_leading_zeros(upper) : 31u - ek_leading_zeros((uint32_t)value);
    fraction = (uint32_t)(exponent >= 15u ? value >> (exponent - 15u) : value << (15u - exponent)) & 0x7FFFu;
    low = table[fraction >> 8];
    high = table[(fraction >> 8) + 1u];
    rest = fraction & 0xFFu;
    return (int32_t)(((exponent << 15) + low + (((high - low) * rest + 128u) >> 8) + 32u) >> 6);
}
