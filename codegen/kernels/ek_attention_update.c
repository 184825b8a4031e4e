#include "ek_kernels.h"

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
    const int64_t half = (int64_t)1 << (EK_EXP_BITS - 1);
    uint32_t i;
    for (i = 0; i < features; i++) {
        int64_t top = numerator[i];
        int64_t bottom = (int64_t)denominator[i];
        int32_t weight;
        if (score[i] > maximum[i]) {
            const int64_t rescale = exp_table[score[i] - maximum[i]];
            top = (top * rescale + half) >> EK_EXP_BITS;
            bottom = (bottom * rescale + half) >> EK_EXP_BITS;
            maximum[i] = score[i];
        }
        weight = exp_table[maximum[i] - score[i]];
        top += (int64_t)weight * (value[i] - value_zero_point);
        bottom += weight;
        if (bottom >> EK_WEIGHT_LIMIT_BITS != 0) {
            top >>= 1;
            bottom >>= 1;
        }
        numerator[i] = top;
        denominator[i] = (uint64_t)bottom;
    }
}
