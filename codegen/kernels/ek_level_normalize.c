#include "ek_kernels.h"

/*
 * Take the level from log-mels, raise them to the floor and quantize them.
 *
 * log_mel:  [bands] log2 in Q9.
 * level_q9: log2 of the level in Q9.
 * output:   [bands] int8.
 */
void ek_level_normalize(const int16_t *log_mel, int32_t level_q9, const ek_normalization_t *normalization,
                        uint32_t bands, int8_t *output)
{
    uint32_t band;
    for (band = 0; band < bands; band++) {
        int32_t relative = log_mel[band] - level_q9 + normalization->offset_q9;
        int32_t value;
        relative = relative < normalization->floor_q9 ? normalization->floor_q9 : relative;
        value = ek_requantize(relative, normalization->multiplier, normalization->shift)
                + normalization->output_zero_point;
        value = value < -128 ? -128 : value;
        output[band] = (int8_t)(value > 127 ? 127 : value);
    }
}
