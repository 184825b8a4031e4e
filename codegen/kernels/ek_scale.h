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

/* Places to the right up to which the zero point may be added before the shift. */
#define EK_QUICK_SHIFT 20

/* How the results of one channel are scaled. */
typedef struct {
    int32_t twice_bias;
    int32_t multiplier;
    int32_t rounding; /* what is added before the shift: a half and, where quick, the zero point */
    int32_t right;    /* places to the right */
    int32_t left;     /* places to the left */
    int32_t zero_point;
    int32_t clamp_min;
    int32_t clamp_max;
    int quick; /* right is 1..EK_QUICK_SHIFT, left is 0 and nothing is clamped within int8 */
} ek_scale_t;

static inline ek_scale_t ek_scale(const ek_layer_t *layer, uint32_t channel)
{
    const ek_quantization_t *q = layer->quantization;
    const int32_t shift = layer->shift[channel];
    ek_scale_t scale;
    scale.twice_bias = (int32_t)((uint32_t)layer->bias[channel] * 2u);
    scale.multiplier = layer->multiplier[channel];
    scale.left = shift > 0 ? shift : 0;
    scale.right = shift < 0 ? -shift : 0;
    scale.rounding = shift < 0 ? (int32_t)((uint32_t)1 << (scale.right - 1)) : 0;
    scale.zero_point = q->output_zero_point;
    scale.clamp_min = q->clamp_min;
    scale.clamp_max = q->clamp_max;
    scale.quick = shift < 0 && shift >= -EK_QUICK_SHIFT && q->clamp_min == -128 && q->clamp_max == 127;
    if (scale.quick != 0) {
        /* A half and the zero point: (2 * zero point + 1) halves. */
        scale.rounding = (int32_t)((uint32_t)(2 * scale.zero_point + 1) << (scale.right - 1));
    }
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
        value = ek_high_product(value, scale->multiplier);
        return (int8_t)ek_saturate_s8((value + (value >> 31) + scale->rounding) >> scale->right);
    }
    value = ek_high_product((int32_t)((uint32_t)value << scale->left), scale->multiplier);
    value += scale->right > 0 ? (value >> 31) + scale->rounding : 0;
    value = (value >> scale->right) + scale->zero_point;
    value = value < scale->clamp_min ? scale->clamp_min : value;
    return (int8_t)(value > scale->clamp_max ? scale->clamp_max : value);
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

void ek_winograd_output(const int32_t *products, uint32_t tiles, const ek_scale_t *scale, uint32_t count,
                        uint32_t step, int8_t *output);

#endif
