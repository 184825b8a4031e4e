#include "ek_kernels.h"

/*
 * Sums of products of one channel of a depthwise convolution at four positions.
 *
 * rows:    [pairs] rows of pairs, from the first position on.
 * weights: [pairs][kernel_w] pairs.
 * stride:  pairs from one position to the next.
 */
void ek_depthwise_products(const ek_pair_t *const *rows, const ek_pair_t *weights, uint32_t pairs, uint32_t kernel_w,
                           uint32_t stride, int32_t sums[4])
{
    uint32_t pair, column, i;
    memset(sums, 0, 4u * sizeof sums[0]);
    for (pair = 0; pair < pairs; pair++) {
        for (column = 0; column < kernel_w; column++) {
            const ek_pair_t weight = *weights++;
            for (i = 0; i < 4u; i++) {
                const ek_pair_t value = rows[pair][column + i * stride];
                sums[i] += ek_first(value) * ek_first(weight) + ek_second(value) * ek_second(weight);
            }
        }
    }
}
