#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * Results of rows of a fully connected layer, for processors without the DSP extension.
 *
 * lanes:        pairs of inputs (see ek_expand_s8).
 * weights:      [fours][words].
 * sums_of_four: ek_dense_s4 or ek_dense_s8.
 * results:      the scale of the rows, of shifts -31..-2, and where [4 * fours] int8 go; moved behind them.
 */
void ek_dense_rows(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, ek_dense_t *sums_of_four,
                   ek_rows_results_t *results, uint32_t fours)
{
    uint32_t i;
    while (fours-- > 0u) {
        int32_t sums[4];
        sums_of_four(lanes, weights, words, sums);
        for (i = 0; i < 4u; i++) {
            const int32_t excess = i < 3u ? results->twice_excess : 0;
            const int32_t twice = (sums[i] + *results->bias++) * 2 - excess;
            *results->output++ = ek_quick_result_s8(twice, *results->multiplier++, *results->shift++, results->zero_point);
        }
        weights += words;
    }
}
