#include "ek_kernels.h"

/* Integer bits of a sum of exponentials. */
#define SUM_BITS 12u
#define NEWTON_48_OVER_17_Q29 1515870810
#define NEWTON_32_OVER_17_Q29 1010580540

static int32_t product_q31(int32_t x, int32_t y)
{
    return (int32_t)(((int64_t)x * y + ((int64_t)1 << 30)) >> 31);
}

/* 1 / (1 + x) in Q31 of x in Q31: three Newton steps, as gemmlowp takes them. */
static int32_t reciprocal(int32_t fraction)
{
    const int32_t half = (int32_t)(((int64_t)fraction + ((int64_t)1 << 31)) >> 1);
    int32_t x = NEWTON_48_OVER_17_Q29 + product_q31(half, -NEWTON_32_OVER_17_Q29), step;
    for (step = 0; step < 3; step++) {
        const int32_t rest = ((int32_t)1 << 29) - product_q31(half, x);
        x += product_q31(x, rest) * 4;
    }
    return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

/*
 * Softmax of int8 values; the result has scale 1/256 and zero point -128.
 *
 * exponentials: [256] exp of minus 0 to 255 input steps, Q31.
 * count:        1 to 4095.
 * output:       [count]; it may lie where the input lies.
 */
void ek_softmax_s8(const int8_t *input, uint32_t count, const int32_t *exponentials, int8_t *output)
{
    int32_t largest = input[0], sum = 0, scale;
    uint32_t i, headroom, shift;
    for (i = 1; i < count; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    for (i = 0; i < count; i++) {
        sum += ((exponentials[largest - input[i]] >> (SUM_BITS - 1u)) + 1) >> 1;
    }
    headroom = ek_leading_zeros((uint32_t)sum);
    scale = reciprocal((int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
    shift = SUM_BITS - headroom + 23u;
    for (i = 0; i < count; i++) {
        const int64_t product = product_q31(exponentials[largest - input[i]], scale);
        const int32_t value = (int32_t)(((product >> (shift - 1u)) + 1) >> 1);
        output[i] = (int8_t)((value > 255 ? 255 : value) - 128);
    }
}
