#include "ek_kernels.h"

/*
 * Power spectrum of one frame by the windowed discrete Fourier transform, with half of its basis: bins k and
 * n_fft / 2 - k differ in the signs of odd samples alone (of even ones in the sines).
 *
 * frame: [n_fft] int16, a multiple of 32.
 * basis: see ek_spectrum_bins.
 * bins:  the bins of one frame's shape.
 * pairs: [n_fft / 2] scratch: two even samples, two odd ones, and so on.
 * power: [n_fft / 2 + 1] result.
 */
void ek_folded_spectrum(const int16_t *frame, const ek_pair_t *basis, uint32_t n_fft, ek_bins_t *bins, ek_pair_t *pairs,
                        uint64_t *power)
{
    uint32_t i;
    for (i = 0; i < n_fft; i += 4u) {
        pairs[i / 2u] = ek_pair(frame[i], frame[i + 2u]);
        pairs[i / 2u + 1u] = ek_pair(frame[i + 1u], frame[i + 3u]);
    }
    bins(pairs, basis, power);
}
