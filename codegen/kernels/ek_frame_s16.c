#include "ek_kernels.h"

/*
 * Take the running mean from a window of samples, saturating at int16.
 *
 * window:  [n_fft] the newest samples, oldest first.
 * mean_q8: the running mean in Q8.
 * frame:   [n_fft] result.
 */
void ek_frame_s16(const int16_t *window, uint32_t n_fft, int32_t mean_q8, int16_t *frame)
{
    const int32_t mean = (mean_q8 + 128) >> 8;
    uint32_t i;
    for (i = 0; i < n_fft; i++) {
        int32_t x = window[i] - mean;
        x = x < -32768 ? -32768 : x;
        frame[i] = (int16_t)(x > 32767 ? 32767 : x);
    }
}
