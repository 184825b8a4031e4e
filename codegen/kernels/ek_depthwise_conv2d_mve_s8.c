#include "ek_mve.h"

#if EK_MVE

/* Sums of four channels at one position; of fewer, what lies behind their values is not read. */
EK_INLINE int32x4_t four_sums(const int8_t *const *rows, const ek_window_t *window, size_t first,
                              const int8_t *weights, uint32_t kernel_w, mve_pred16_t used, int whole)
{
    int32x4_t sums = vdupq_n_s32(0);
    uint32_t row, column;
    for (row = 0; row < window->kernel_t; row++) {
        const int8_t *place = rows[row] + first;
        for (column = 0; column < kernel_w; column++) {
            const int32x4_t values = whole != 0 ? vldrbq_s32(place) : vldrbq_z_s32(place, used);
            sums = vaddq_s32(sums, vmulq_s32(values, vldrbq_s32(weights)));
            place += window->channels;
            weights += 4;
        }
    }
    return sums;
}

/* Up to four channels at all positions; the layer's values stay in registers, see ek_write_four_mve. */
EK_INLINE void write_channels(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer,
                              uint32_t channel, const int8_t *weights, uint32_t kernel_w, int8_t *output, int whole)
{
    const ek_quantization_t q = *layer->quantization;
    const size_t channels = window->channels, step = channels * window->stride_w;
    const mve_pred16_t used = vctp32q(window->channels - channel);
    const int32x4_t shift = vldrbq_s32(layer->shift + channel), negative = vshrq_n_s32(shift, 31);
    const int32x4_t right = vandq_s32(shift, negative), left = vbicq_s32(shift, negative);
    const int32x4_t bias = vldrwq_s32(layer->bias + channel), multiplier = vldrwq_s32(layer->multiplier + channel);
    size_t place = channel;
    uint32_t position;
    for (position = 0; position < window->output_width; position++) {
        int32x4_t value = vaddq_s32(four_sums(rows, window, place, weights, kernel_w, used, whole), bias), below;
        value = vshlq_s32(value, left);
        below = vandq_s32(vshrq_n_s32(value, 31), negative);
        value = vaddq_s32(vqrdmulhq_s32(value, multiplier), below);
        value = vaddq_n_s32(vrshlq_s32(value, right), q.output_zero_point);
        value = vminq_s32(vmaxq_s32(value, vdupq_n_s32(q.clamp_min)), vdupq_n_s32(q.clamp_max));
        vstrbq_p_s32(output, value, used);
        output += channels;
        place += step;
    }
}

#else

/* Up to four channels at all positions. */
static void write_channels(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer,
                           uint32_t channel, const int8_t *weights, uint32_t kernel_w, int8_t *output, int whole)
{
    const uint32_t channels = window->channels, count = whole != 0 ? 4u : channels - channel;
    uint32_t i, position, row, column;
    for (i = 0; i < count; i++) {
        const ek_scale_t scale = ek_scale(layer, channel + i);
        for (position = 0; position < window->output_width; position++) {
            const size_t first = (size_t)position * window->stride_w * channels + channel + i;
            int32_t sum = 0;
            for (row = 0; row < window->kernel_t; row++) {
                for (column = 0; column < kernel_w; column++) {
                    sum += rows[row][first + (size_t)column * channels] * weights[4u * (row * kernel_w + column) + i];
                }
            }
            output[(size_t)position * channels + i] = ek_result_s8((int32_t)((uint32_t)sum * 2u), &scale, scale.quick);
        }
    }
}

#endif

/*
 * One row of a depthwise convolution with one output for each channel, for vectors.
 *
 * rows:   [kernel_t] input rows, oldest first, each [padded width][channels], padding filled in with the input's
 *         zero point.
 * window: outputs is channels.
 * layer:  weights [(channels + 3) / 4][kernel_t][kernel_w][4] int8; bias with the zero point folded in; bias,
 *         multiplier and shift are read in fours, behind the last channel too.
 * output: [output_width][channels] int8.
 */
void ek_depthwise_conv2d_mve_s8(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer,
                                int8_t *output)
{
    const uint32_t kernel_w = window->kernel_w, channels = window->channels;
    const int8_t *weights = layer->weights;
    uint32_t channel;
    for (channel = 0; channel < channels; channel += 4u) {
        if (channels - channel < 4u) {
            write_channels(rows, window, layer, channel, weights, kernel_w, output + channel, 0);
        } else if (kernel_w == 3u) {
            write_channels(rows, window, layer, channel, weights, 3u, output + channel, 1);
        } else {
            write_channels(rows, window, layer, channel, weights, kernel_w, output + channel, 1);
        }
        weights += (size_t)4 * window->kernel_t * kernel_w;
    }
}
