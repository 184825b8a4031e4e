/* From an accumulator to an int8 result: what every layer with weights ends with. */
#ifndef EK_SCALE_H
#define EK_SCALE_H

#include "ek_kernels.h"

#if defined(__GNUC__)
#define EK_INLINE static inline __attribute__((always_inline))
#else
#define EK_INLINE static inline
#endif

/* Before a loop that must stay one: unrolled, its values leave the registers. */
#if defined(__clang__)
#define EK_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define EK_ROLLED
#endif

/* The inverse of 3 modulo 2^32. */
#define EK_THIRD 0xAAAAAAABu

/* 2^(32 + shift) for a shift of -31..-2. */
EK_INLINE int32_t ek_factor(int32_t shift)
{
    return (int32_t)(0x80000000u >> (-shift - 1));
}

/* Another channel of the same layer. */
EK_INLINE void ek_rescale(ek_scale_t *scale, const ek_layer_t *layer, uint32_t channel)
{
    const int32_t shift = layer->shift[channel];
    scale->twice_bias = (int32_t)((uint32_t)layer->bias[channel] * 2u);
    scale->multiplier = layer->multiplier[channel];
    scale->factor = shift < -1 ? ek_factor(shift) : 0;
    scale->shift = shift;
    scale->quick = shift < -1 && scale->clamped == 0;
}

EK_INLINE ek_scale_t ek_scale(const ek_layer_t *layer, uint32_t channel)
{
    const ek_quantization_t *q = layer->quantization;
    ek_scale_t scale;
    scale.third = EK_THIRD;
    scale.zero_point = q->output_zero_point;
    scale.clamped = q->clamp_min > -128 || q->clamp_max < 127;
    scale.quantization = q;
    ek_rescale(&scale, layer, channel);
    return scale;
}

/* The high half of a product with a doubled factor, rounded: one instruction (SMMULR) with the DSP extension. */
EK_INLINE int32_t ek_high_product(int32_t doubled, int32_t multiplier)
{
    return (int32_t)(((int64_t)doubled * multiplier + ((int64_t)1 << 31)) >> 32);
}

EK_INLINE int32_t ek_saturate_s8(int32_t value)
{
    value = value < -128 ? -128 : value;
    return value > 127 ? 127 : value;
}

/*
 * Shift to the right, rounding halves up where negative numbers have lost one: away from zero. Then the zero point.
 *
 * high:   within 2^30, as it is half of an int32 at most; so that neither step overflows.
 * factor: 2^(32 + shift); shift: -31..-2.
 */
EK_INLINE int32_t ek_shift_and_move(int32_t high, int32_t factor, int32_t shift, int32_t zero_point)
{
    const int32_t value = high + (high >> 31);
#if EK_DSP
    (void)shift;
    return ek_high_product_plus(value, factor, zero_point);
#else
    (void)factor;
    return ((value + (int32_t)((uint32_t)1 << (-shift - 1))) >> -shift) + zero_point;
#endif
}

/* Of twice a sum with its bias, for a shift of -31..-2 and no clamp within int8. */
EK_INLINE int8_t ek_quick_result_s8(int32_t value, int32_t multiplier, int32_t shift, int32_t zero_point)
{
    const int32_t high = ek_high_product(value, multiplier);
    return (int8_t)ek_saturate_s8(ek_shift_and_move(high, ek_factor(shift), shift, zero_point));
}

/* Of twice a sum with its bias, for any shift and clamp. */
EK_INLINE int8_t ek_any_result_s8(int32_t value, const ek_scale_t *scale)
{
    const ek_quantization_t *q = scale->quantization;
    const int32_t left = scale->shift > 0 ? scale->shift : 0, right = scale->shift < 0 ? -scale->shift : 0;
    value = ek_high_product((int32_t)((uint32_t)value << left), scale->multiplier);
    value += right > 0 ? (value >> 31) + (int32_t)((uint32_t)1 << (right - 1)) : 0;
    value = (value >> right) + q->output_zero_point;
    value = value < q->clamp_min ? q->clamp_min : value;
    return (int8_t)(value > q->clamp_max ? q->clamp_max : value);
}

/*
 * The int8 result of twice a sum without its bias: round(round(2^shift * sum * multiplier / 2^31) / 2^right),
 * rounded twice as gemmlowp does, halves up and then away from zero; moved to the zero point, clamped.
 *
 * The graph's legality keeps twice the sum, bias and shift to the left included, within int32.
 * quick: scale->quick; as a constant it leaves one of the two ways.
 */
EK_INLINE int8_t ek_result_s8(int32_t twice, const ek_scale_t *scale, int quick)
{
    int32_t value = (int32_t)((uint32_t)twice + (uint32_t)scale->twice_bias);
    if (quick != 0) {
        const int32_t high = ek_high_product(value, scale->multiplier);
        return (int8_t)ek_saturate_s8(ek_shift_and_move(high, scale->factor, scale->shift, scale->zero_point));
    }
    return ek_any_result_s8(value, scale);
}

void ek_depthwise_channel_s8(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_taps_t *taps,
                             const ek_window_t *window, uint32_t first, const ek_pair_t **rows, int32_t *sums,
                             const ek_scale_t *scale, int8_t *output);
void ek_scale_row(const int32_t *sums, uint32_t count, const ek_scale_t *scale, uint32_t step, int8_t *output);

/*
 * round(value * multiplier / 2^31 * 2^shift), saturated to int16: the multiplier is first reduced to 16 bits and
 * the product rounded once, as TFLite Micro does for int16 activations.
 *
 * value: within 2^47; multiplier: 0..2^31-1; shift: -31..14.
 */
static inline int16_t ek_rescale_s16(int64_t value, int32_t multiplier, int32_t shift)
{
    const int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    const int32_t total = 15 - shift;
    value = (value * reduced + ((int64_t)1 << (total - 1))) >> total;
    value = value < -32768 ? -32768 : value;
    return (int16_t)(value > 32767 ? 32767 : value);
}

#endif
