#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Results of one channel from sums without its bias.
 *
 * sums:   [count].
 * output: [count] results, `step` bytes apart.
 */
void ek_scale_row(const int32_t *sums, uint32_t count, const ek_scale_t *scale, uint32_t step, int8_t *output)
{
    /* A copy, so that it stays in registers. */
    const ek_scale_t own = *scale;
    const int32_t *const end = sums + count;
    if (own.quick != 0) {
        EK_ROLLED
        while (sums != end) {
            *output = ek_result_s8((int32_t)((uint32_t)*sums++ * 2u), &own, 1);
            output += step;
        }
        return;
    }
    EK_ROLLED
    while (sums != end) {
        *output = ek_result_s8((int32_t)((uint32_t)*sums++ * 2u), &own, 0);
        output += step;
    }
}
