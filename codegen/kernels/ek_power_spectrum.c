#include "ek_kernels.h"

/* The inner product of a frame with one row of the basis, less shift_bits places, rounded. */
static int64_t correlate(const int16_t *frame, const int16_t *basis, uint32_t n_fft, uint32_t shift_bits)
{
    int64_t sum = (int64_t)1 << (shift_bits - 1u);
    uint32_t i;
    for (i = 0; i < n_fft; i++) {
        sum += (int32_t)frame[i] * basis[i];
    }
    return sum >> shift_bits;
}

/*
 * Power spectrum of one frame by the windowed discrete Fourier transform.
 *
 * frame:      [n_fft] int16.
 * basis:      [2][n_fft / 2 + 1][n_fft] cosines, then sines, under the window, Q15.
 * shift_bits: taken from each sum so that the squares fit; 1..31; the power stays below 2^51.
 * power:      [n_fft / 2 + 1] result.
 */
void ek_power_spectrum(const int16_t *frame, const int16_t *basis, uint32_t n_fft, uint32_t shift_bits,
                       uint64_t *power)
{
    const uint32_t bins = n_fft / 2u + 1u;
    uint32_t bin;
    for (bin = 0; bin < bins; bin++) {
        const int64_t real = correlate(frame, basis + (size_t)bin * n_fft, n_fft, shift_bits);
        const int64_t imaginary = correlate(frame, basis + (size_t)(bins + bin) * n_fft, n_fft, shift_bits);
        power[bin] = (uint64_t)(real * real + imaginary * imaginary);
    }
}
