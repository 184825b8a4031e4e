#include "ek_kernels.h"

/*
 * All bins of a folded power spectrum, for processors without the DSP extension.
 *
 * pairs:      [n_fft / 2] see ek_folded_spectrum.
 * basis:      [n_fft / 4 + 1][n_fft / 4][4] pairs under the window, Q15: cosines of two even samples and of two odd ones,
 *             then sines.
 * shift_bits: taken from each sum so that the squares fit; 1..31; the power stays below 2^51.
 * power:      [n_fft / 2 + 1] result.
 */
void ek_spectrum_bins(const ek_pair_t *pairs, const ek_pair_t *basis, uint32_t n_fft, uint32_t shift_bits, uint64_t *power)
{
    const int64_t half = (int64_t)1 << (shift_bits - 1u);
    uint32_t bin, i;
    for (bin = 0; bin <= n_fft / 4u; bin++) {
        int64_t even_real = half, odd_real = 0, even_imaginary = 0, odd_imaginary = half;
        int32_t x, y;
        for (i = 0; i < n_fft / 2u; i += 2u) {
            even_real = ek_add_products(pairs[i], basis[0], even_real);
            odd_real = ek_add_products(pairs[i + 1u], basis[1], odd_real);
            even_imaginary = ek_add_products(pairs[i], basis[2], even_imaginary);
            odd_imaginary = ek_add_products(pairs[i + 1u], basis[3], odd_imaginary);
            basis += 4;
        }
        /* Within 2^26, as their squares are within 2^51. */
        x = (int32_t)((even_real + odd_real) >> shift_bits);
        y = (int32_t)((odd_imaginary + even_imaginary) >> shift_bits);
        power[bin] = (uint64_t)((int64_t)x * x + (int64_t)y * y);
        x = (int32_t)((even_real - odd_real) >> shift_bits);
        y = (int32_t)((odd_imaginary - even_imaginary) >> shift_bits);
        power[n_fft / 2u - bin] = (uint64_t)((int64_t)x * x + (int64_t)y * y);
    }
}
