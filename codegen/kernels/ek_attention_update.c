#include "ek_kernels.h"

/* Take both sums to a larger maximum. */
EK_RARE static void rescale(uint32_t factor, int64_t *numerator, uint64_t *denominator)
{
    const int64_t half = (int64_t)1 << (EK_EXP_BITS - 1);
    *numerator = (*numerator * (int64_t)factor + half) >> EK_EXP_BITS;
    *denominator = (*denominator * factor + (uint64_t)half) >> EK_EXP_BITS;
}

/*
 * Add one token to an attention pooling over time (online softmax, feature by feature).
 *
 * value, score: [features] int8 of the token.
 * exp_table:    [256] exp(-k * score scale) in Q15 for each difference k of two scores.
 * maximum:      [features] largest score so far, -128 before the first token.
 * numerator:    [features] sum of weight * (value - zero point), 0 before the first token.
 * denominator:  [features] sum of weights, 0 before the first token.
 * Both sums are rescaled when the maximum rises, and halved when the sum of weights reaches 2^39, so that
 * no length of audio overflows them: |numerator| <= 255 * denominator < 2^47, times 2^15 fits 63 bits.
 */
void ek_attention_update(const int8_t *value, const int8_t *score, const uint16_t *exp_table,
                         int32_t value_zero_point, uint32_t features, int8_t *maximum, int64_t *numerator,
                         uint64_t *denominator)
{
    uint32_t i;
    for (i = 0; i < features; i++) {
        int32_t below = maximum[i] - score[i], weight;
        uint64_t bottom;
        if (below < 0) {
            rescale(exp_table[-below], &numerator[i], &denominator[i]);
            maximum[i] = score[i];
            below = 0;
        }
        weight = exp_table[below];
        numerator[i] += (int64_t)weight * (value[i] - value_zero_point);
        bottom = denominator[i] + (uint32_t)weight;
        denominator[i] = bottom;
        if ((uint32_t)(bottom >> 32) >> (EK_WEIGHT_LIMIT_BITS - 32) != 0u) {
            numerator[i] >>= 1;
            denominator[i] >>= 1;
        }
    }
}
