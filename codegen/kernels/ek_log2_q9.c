#include "ek_kernels.h"

/*
 * log2 in Q9 by table with linear interpolation; error at most 0.0011.
 *
 * value: 0..2^63-1; 0 gives EK_LOG2_OF_ZERO.
 * table: [129] log2(1 + i / 128) in Q15.
 */
int32_t ek_log2_q9(uint64_t value, const uint16_t *table)
{
    int32_t exponent = 0;
    uint32_t fraction, low, high, rest;
    int32_t step;
    if (value == 0u) {
        return EK_LOG2_OF_ZERO;
    }
    for (step = 32; step > 0; step /= 2) {
        if ((value >> (exponent + step)) != 0u) {
            exponent += step;
        }
    }
    fraction = (uint32_t)(exponent >= 15 ? value >> (exponent - 15) : value << (15 - exponent)) & 0x7FFFu;
    low = table[fraction >> 8];
    high = table[(fraction >> 8) + 1u];
    rest = fraction & 0xFFu;
    return (int32_t)((((uint32_t)exponent << 15) + low + (((high - low) * rest + 128u) >> 8) + 32u) >> 6);
}
