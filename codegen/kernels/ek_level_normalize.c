#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Take the level from log-mels, raise them to the floor and quantize them.
 *
 * log_mel:  [bands] log2 in Q9.
 * level_q9: log2 of the level in Q9, int16 like them: differences take 18 bits, so that twice of them and the shift to
 *           the left, up to 7, fit int32.
 * output:   [bands] int8.
 */
void ek_level_normalize(const int16_t *log_mel, int32_t level_q9, const ek_normalization_t *normalization,
                        uint32_t bands, int8_t *output)
{
    const ek_quantization_t unclamped = {0, normalization->output_zero_point, -128, 127};
    const int8_t shift = (int8_t)normalization->shift;
    const int32_t none = 0;
    const ek_layer_t layer = {NULL, &none, &normalization->multiplier, &shift, &unclamped};
    const ek_scale_t scale = ek_scale(&layer, 0);
    uint32_t band;
    for (band = 0; band < bands; band++) {
        int32_t relative = log_mel[band] - level_q9 + normalization->offset_q9;
        relative = relative < normalization->floor_q9 ? normalization->floor_q9 : relative;
        output[band] = ek_result_s8(relative * 2, &scale, scale.quick);
    }
}
