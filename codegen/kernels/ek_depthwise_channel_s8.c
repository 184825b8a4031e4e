#include "ek_kernels.h"
#include "ek_scale.h"

/* Sums at four positions, `stride` pairs apart. */
EK_INLINE void four_sums(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_taps_t *taps, uint32_t kernel_w,
                         uint32_t stride, int32_t sums[4])
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    uint32_t pair, column;
    EK_ROLLED
    for (pair = taps->pairs; pair > 0u; pair--) {
        const ek_pair_t *value = lanes;
        for (column = 0; column < kernel_w; column++) {
            const ek_pair_t weight = *weights++;
            a = ek_add_products_s32(value[0], weight, a);
            b = ek_add_products_s32(value[stride], weight, b);
            c = ek_add_products_s32(value[2u * stride], weight, c);
            d = ek_add_products_s32(value[3u * stride], weight, d);
            value++;
        }
        lanes += taps->positions;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

EK_INLINE void write_row(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_taps_t *taps,
                         const ek_scale_t *scale, uint32_t kernel_w, uint32_t width, uint32_t stride, uint32_t step,
                         int8_t *output, int quick)
{
    while (width > 0u) {
        const uint32_t count = width < 4u ? width : 4u;
        uint32_t i;
        int32_t sums[4];
        four_sums(lanes, weights, taps, kernel_w, stride, sums);
        EK_ROLLED
        for (i = 0; i < count; i++) {
            *output = ek_result_s8((int32_t)((uint32_t)sums[i] * 2u), scale, quick);
            output += step;
        }
        lanes += (size_t)4 * stride;
        width -= count;
    }
}

/*
 * One channel of a row of a depthwise convolution.
 *
 * lanes:   [taps->pairs][taps->positions] pairs of rows.
 * weights: [taps->pairs][taps->kernel_w] pairs.
 * window:  of the convolution; stride_w and output_width count here.
 * output:  [output_width] results, window->outputs bytes apart.
 */
void ek_depthwise_channel_s8(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_taps_t *taps,
                             const ek_window_t *window, const ek_scale_t *scale, int8_t *output)
{
    const uint32_t width = window->output_width, stride = window->stride_w, step = window->outputs;
    /* A copy, so that it stays in registers. */
    const ek_scale_t own = *scale;
    if (own.quick == 0) {
        write_row(lanes, weights, taps, &own, taps->kernel_w, width, stride, step, output, 0);
    } else if (stride == 1u && taps->kernel_w == 3u) {
        write_row(lanes, weights, taps, &own, 3u, width, 1u, step, output, 1);
    } else {
        write_row(lanes, weights, taps, &own, taps->kernel_w, width, stride, step, output, 1);
    }
}
