#include "ek_mve.h"

#if EK_MVE

/* Four sums; see ek_write_four_mve. Shifts to the right and to the left exclude each other. */
EK_INLINE int32x4_t scaled(int32x4_t sums, int32_t bias, int32_t multiplier, int32_t shift, int to_the_right)
{
    const int32x4_t value = vaddq_n_s32(sums, bias);
    if (to_the_right != 0) {
        return vrshlq_n_s32(vqrdmlahq_n_s32(vshrq_n_s32(value, 31), value, multiplier), shift);
    }
    return vqrdmulhq_n_s32(vshlq_r_s32(value, shift), multiplier);
}

EK_INLINE void scale_row(const int32_t *sums, const ek_layer_t *layer, uint32_t channel, uint32_t width,
                         uint32_t step, int8_t *output, int to_the_right)
{
    /* A copy, so that it stays in registers. */
    const ek_quantization_t q = *layer->quantization;
    const int32_t bias = layer->bias[channel], multiplier = layer->multiplier[channel], shift = layer->shift[channel];
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
    uint32_t position;
    for (position = 0; position < width; position += 8u) {
        /* Every other sum each, so that narrowing brings them into their order. */
        const int32x4x2_t both = vld2q_s32(sums + position);
        int16x8_t values = vdupq_n_s16(0);
        values = vqmovnbq_s32(values, scaled(both.val[0], bias, multiplier, shift, to_the_right));
        values = vqmovntq_s32(values, scaled(both.val[1], bias, multiplier, shift, to_the_right));
        values = vqaddq_n_s16(values, (int16_t)q.output_zero_point);
        values = vmaxq_s16(values, vdupq_n_s16((int16_t)q.clamp_min));
        values = vminq_s16(values, vdupq_n_s16((int16_t)q.clamp_max));
        vstrbq_scatter_offset_p_s16(output, offsets, values, vctp16q(width - position));
        output += (size_t)8 * step;
    }
}

#endif

/*
 * One channel of a row from its sums of products.
 *
 * sums:   [width, up to a multiple of 8] without bias; what lies behind the width may be anything.
 * step:   bytes from one result to the next, at most 9362.
 * output: the row's first result of this channel.
 */
void ek_scale_row_mve(const int32_t *sums, const ek_layer_t *layer, uint32_t channel, uint32_t width, uint32_t step,
                      int8_t *output)
{
#if EK_MVE
    if (layer->shift[channel] < 0) {
        scale_row(sums, layer, channel, width, step, output, 1);
    } else {
        scale_row(sums, layer, channel, width, step, output, 0);
    }
#else
    const ek_scale_t scale = ek_scale(layer, channel);
    uint32_t position;
    for (position = 0; position < width; position++) {
        output[(size_t)position * step] = ek_result_s8((int32_t)((uint32_t)sums[position] * 2u), &scale, scale.quick);
    }
#endif
}
