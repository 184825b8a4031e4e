#include "ek_mve.h"

/* Four pairs of products added to a sum. */
static inline int64_t add_four(const int16_t *samples, const ek_pair_t *basis, int64_t sum)
{
#if EK_MVE
    return vmlaldavaq_s16(sum, vldrhq_s16(samples), vreinterpretq_s16_u32(vldrwq_u32(basis)));
#else
    const ek_pair_t a = basis[0], b = basis[1], c = basis[2], d = basis[3];
    sum = ek_add_products(ek_load_pair(samples), a, sum);
    sum = ek_add_products(ek_load_pair(samples + 2), b, sum);
    sum = ek_add_products(ek_load_pair(samples + 4), c, sum);
    return ek_add_products(ek_load_pair(samples + 6), d, sum);
#endif
}

/*
 * Power spectrum of one frame by the windowed discrete Fourier transform.
 *
 * frame:      [n_fft] int16, an even number.
 * basis:      [2][n_fft / 2 + 1][n_fft] cosines, then sines, under the window, Q15, as pairs.
 * shift_bits: taken from each sum so that the squares fit; 1..31; the power stays below 2^51.
 * power:      [n_fft / 2 + 1] result.
 */
void ek_power_spectrum(const int16_t *frame, const ek_pair_t *basis, uint32_t n_fft, uint32_t shift_bits,
                       uint64_t *power)
{
    const uint32_t bins = n_fft / 2u + 1u, pairs = n_fft / 2u;
    const ek_pair_t *cosines = basis, *sines = basis + (size_t)bins * pairs;
    const int64_t half = (int64_t)1 << (shift_bits - 1u);
    uint32_t bin, i;
    for (bin = 0; bin < bins; bin++) {
        int64_t real = half, imaginary = half;
        for (i = 0; i + 4u <= pairs; i += 4u) {
            real = add_four(frame + 2u * i, cosines + i, real);
            imaginary = add_four(frame + 2u * i, sines + i, imaginary);
        }
        for (; i < pairs; i++) {
            real = ek_add_products(ek_load_pair(frame + 2u * i), cosines[i], real);
            imaginary = ek_add_products(ek_load_pair(frame + 2u * i), sines[i], imaginary);
        }
        cosines += pairs;
        sines += pairs;
        {
            /* Within 2^26, as their squares are within 2^51. */
            const int32_t x = (int32_t)(real >> shift_bits), y = (int32_t)(imaginary >> shift_bits);
            power[bin] = (uint64_t)((int64_t)x * x + (int64_t)y * y);
        }
    }
}
