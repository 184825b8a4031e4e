/*
 * Vectors of 16 bytes: what Helium (MVE), the vector extension of Armv8.1-M, computes on.
 *
 * Kernels named _mve have layouts for it and a portable body with the same results.
 */
#ifndef EK_MVE_H
#define EK_MVE_H

#include "ek_kernels.h"
#include "ek_scale.h"

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define EK_MVE 1
#include <arm_mve.h>
#else
#define EK_MVE 0
#endif

/* Bytes of a vector. */
#define EK_VECTOR 16u

/* Some bytes, 16 at a time. */
EK_INLINE void ek_copy_mve(const int8_t *from, uint32_t bytes, int8_t *to)
{
#if EK_MVE
    uint32_t i;
    for (i = 0; i < bytes; i += EK_VECTOR) {
        const mve_pred16_t used = vctp8q(bytes - i);
        vstrbq_p_s8(to + i, vldrbq_z_s8(from + i, used), used);
    }
#else
    memcpy(to, from, bytes);
#endif
}

/*
 * The results of up to four channels from the sums of their products, without bias: ek_result_s8.
 *
 * layer: bias, multiplier and shift are read in fours, behind the last channel too.
 * Negative halves round away from zero: one is taken from negative values before a shift that rounds halves up. The
 * sign of the accumulator serves, as its high product is 0 where that of -1 rounds up, and 0 less one rounds to 0.
 */
EK_INLINE void ek_write_four_mve(const int32_t sums[4], const ek_layer_t *layer, uint32_t channel, uint32_t count,
                                 int8_t *output)
{
#if EK_MVE
    const ek_quantization_t *q = layer->quantization;
    const int32x4_t shift = vldrbq_s32(layer->shift + channel), negative = vshrq_n_s32(shift, 31);
    int32x4_t value = vaddq_s32(vldrwq_s32(sums), vldrwq_s32(layer->bias + channel)), below;
    value = vshlq_s32(value, vbicq_s32(shift, negative));
    below = vandq_s32(vshrq_n_s32(value, 31), negative);
    value = vqrdmulhq_s32(value, vldrwq_s32(layer->multiplier + channel));
    value = vaddq_n_s32(vrshlq_s32(vaddq_s32(value, below), vandq_s32(shift, negative)), q->output_zero_point);
    value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(q->clamp_min)), vdupq_n_s32(q->clamp_max));
    vstrbq_p_s32(output, value, vctp32q(count));
#else
    uint32_t i;
    for (i = 0; i < count; i++) {
        const ek_scale_t scale = ek_scale(layer, channel + i);
        output[i] = ek_result_s8((int32_t)((uint32_t)sums[i] * 2u), &scale, scale.quick);
    }
#endif
}

#endif
