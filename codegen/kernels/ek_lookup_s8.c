#include "ek_kernels.h"

/*
 * Any function of one int8 value.
 *
 * table:  [256] results for -128 to 127.
 * output: [count]; it may lie where the input lies.
 */
void ek_lookup_s8(const int8_t *input, uint32_t count, const int8_t *table, int8_t *output)
{
    uint32_t i;
    for (i = 0; i < count; i++) {
        output[i] = table[input[i] + 128];
    }
}
