#include "ek_kernels.h"

/*
 * Sparse mel filter bank.
 *
 * power:     [bins] below 2^51.
 * first_bin: [bands] the first bin of each band; bin_count: [bands] how many.
 * weights:   the bands' weights one after another, fixed point; at most 2^12 in a band in all.
 * mel:       [bands] result, below 2^63.
 */
void ek_mel_filter(const uint64_t *power, const uint8_t *first_bin, const uint8_t *bin_count,
                   const uint16_t *weights, uint32_t bands, uint64_t *mel)
{
    uint32_t band;
    for (band = 0; band < bands; band++) {
        const uint64_t *bin = power + first_bin[band];
        uint64_t sum = 0;
        const uint64_t *end = bin + bin_count[band];
        while (bin < end) {
            sum += *bin++ * *weights++;
        }
        mel[band] = sum;
    }
}
