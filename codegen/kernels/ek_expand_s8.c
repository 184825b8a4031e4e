#include "ek_kernels.h"

/*
 * Lay out int8 values as the pairs that fully connected layers multiply: of each four (0, 2), (1, 3).
 *
 * input:  [inputs] int8.
 * pairs:  even number of lanes, at least inputs / 2; those behind the inputs become 0.
 * lanes:  [pairs] result.
 * Returns the sum of the inputs.
 */
int32_t ek_expand_s8(const int8_t *input, uint32_t inputs, uint32_t pairs, ek_pair_t *lanes)
{
    int32_t sum = 0;
    uint32_t i, pair = 0;
    for (i = 0; i + 4u <= inputs; i += 4u) {
        const uint32_t bytes = ek_bytes(input + i);
        const ek_pair_t even = ek_even_bytes(bytes), odd = ek_odd_bytes(bytes);
        sum += ek_first(even) + ek_second(even) + ek_first(odd) + ek_second(odd);
        lanes[pair++] = even;
        lanes[pair++] = odd;
    }
    if (i < inputs) {
        int32_t rest[4] = {0, 0, 0, 0};
        uint32_t j;
        for (j = 0; i + j < inputs; j++) {
            rest[j] = input[i + j];
            sum += rest[j];
        }
        lanes[pair++] = ek_pair(rest[0], rest[2]);
        lanes[pair++] = ek_pair(rest[1], rest[3]);
    }
    while (pair < pairs) {
        lanes[pair++] = 0;
    }
    return sum;
}
