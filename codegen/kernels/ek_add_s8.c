#include "ek_kernels.h"

static int32_t scaled(int32_t value, const ek_add_t *sum, uint32_t side)
{
    const int32_t centred = (value - sum->zero_point[side]) * ((int32_t)1 << sum->left_shift);
    return ek_requantize(centred, sum->multiplier[side], sum->shift[side]);
}

/*
 * Sum of two int8 tensors, each first brought to a common scale 2^left_shift finer, as TFLite adds.
 *
 * pass:   size of the result, four axes, outermost first; a step of an axis that repeats is 0.
 * output: the result; it may lie where an input of its size lies.
 */
void ek_add_s8(const ek_pass_t *pass, const ek_add_t *sum, const int8_t *x, const int8_t *y, int8_t *output)
{
    const uint32_t rows = ek_rows_of(pass);
    uint32_t row, i;
    for (row = 0; row < rows; row++) {
        const int8_t *one = x + ek_row_of(pass, 0u, row), *other = y + ek_row_of(pass, 1u, row);
        for (i = 0; i < pass->size[3]; i++) {
            const int32_t total = scaled(*one, sum, 0u) + scaled(*other, sum, 1u);
            const int32_t value = ek_requantize(total, sum->output.multiplier, sum->output.shift);
            *output++ = ek_clamped_s8(value, &sum->output);
            one += pass->step[0][3];
            other += pass->step[1][3];
        }
    }
}
