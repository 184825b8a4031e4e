#include "ek_kernels.h"

/* Take both sums to a larger maximum. */
EK_RARE static void rescale(uint32_t factor, int64_t *numerator, uint32_t *denominator, uint8_t *above)
{
    const uint32_t half = 1u << (EK_EXP_BITS - 1);
    const uint64_t sum = (((uint64_t)*above << 32 | *denominator) * factor + half) >> EK_EXP_BITS;
    *numerator = (*numerator * (int64_t)factor + (int64_t)half) >> EK_EXP_BITS;
    *denominator = (uint32_t)sum;
    *above = (uint8_t)(sum >> 32);
}

/* A sum of weights has left its 32 bits; both sums are halved where it reaches its limit. */
EK_RARE static void carry(int64_t *numerator, uint32_t *denominator, uint8_t *above)
{
    const uint32_t high = *above + 1u, full = high >> (EK_WEIGHT_LIMIT_BITS - 32);
    /* At the limit `high` is a power of two: it gives the halved denominator no bit. */
    *numerator >>= full;
    *denominator >>= full;
    *above = (uint8_t)(high >> full);
}

/*
 * Add one token to an attention pooling over time (online softmax, feature by feature).
 *
 * value, score: [features] int8 of the token.
 * exp_table:    [256] exp(-k * score scale) in Q15 for each difference k of two scores; the first is 2^15.
 * maximum:      [features] largest score so far, -128 before the first token.
 * numerator:    [features] sum of weight * (value - zero point), 0 before the first token.
 * denominator:  [features] sum of weights modulo 2^32, 0 before the first token.
 * above:        [features] what that sum is over 2^32, 0 before the first token.
 * Both sums are rescaled when the maximum rises, and halved when the sum of weights reaches 2^39, so that
 * no length of audio overflows them: |numerator| <= 255 * denominator < 2^47, times 2^15 fits 63 bits.
 */
void ek_attention_update(const int8_t *value, const int8_t *score, const uint16_t *exp_table,
                         int32_t value_zero_point, uint32_t features, int8_t *maximum, int64_t *numerator,
                         uint32_t *denominator, uint8_t *above)
{
    uint32_t i;
    for (i = 0; i < features; i++) {
        int32_t below = maximum[i] - score[i];
        uint32_t weight, sum;
        if (below < 0) {
            rescale(exp_table[-below], &numerator[i], &denominator[i], &above[i]);
            maximum[i] = score[i];
            below = 0;
        }
        weight = exp_table[below];
        numerator[i] += (int64_t)(int32_t)weight * (value[i] - value_zero_point);
        sum = denominator[i] + weight;
        denominator[i] = sum;
        if (sum < weight) {
            carry(&numerator[i], &denominator[i], &above[i]);
        }
    }
}
