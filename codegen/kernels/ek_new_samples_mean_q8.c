#include "ek_kernels.h"

/*
 * Mean, or mean square, of samples in Q8; exact.
 *
 * samples: [count] int16.
 * count:   a power of two, 1..256.
 * square:  0 for the mean, else the mean square.
 */
int64_t ek_new_samples_mean_q8(const int16_t *samples, uint32_t count, int square)
{
    int64_t sum = 0;
    uint32_t i;
    for (i = 0; i < count; i++) {
        const int32_t x = samples[i];
        sum += square != 0 ? x * x : x;
    }
    return sum * (int64_t)(256u / count);
}
