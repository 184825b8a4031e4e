#include "ek_kernels.h"

/*
 * One step of a running average: average + (value - average) / count, rounded.
 *
 * average, value: below 2^42 in magnitude.
 * count:          1..65536: how many values have been averaged, this one included, saturated at the
 *                 memory of the average by the caller.
 */
int64_t ek_running_average(int64_t average, int64_t value, uint32_t count)
{
    const int64_t alpha = (int64_t)(((uint32_t)1 << EK_ALPHA_BITS) / count);
    return average + (((value - average) * alpha + ((int64_t)1 << (EK_ALPHA_BITS - 1))) >> EK_ALPHA_BITS);
}
