#include "ek_kernels.h"

/*
 * Scale an accumulator to the output's unit: round(accumulator * multiplier / 2^31 * 2^shift).
 *
 * accumulator: int32; accumulator * 2^shift fits int32 where shift > 0 (the graph's legality check).
 * multiplier:  0 or 2^30..2^31-1.
 * shift:       -31..7.
 * Rounds twice, as gemmlowp, TFLite Micro and CMSIS-NN do: the high half of the doubled product to nearest,
 * then the right shift to nearest with ties away from zero.
 */
int32_t ek_requantize(int32_t accumulator, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    const int64_t product = (int64_t)accumulator * ((int64_t)1 << left) * multiplier;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t mask = (int32_t)(((uint32_t)1 << right) - 1u);
    const int32_t remainder = high & mask;
    const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> right) + (remainder > threshold ? 1 : 0);
}
