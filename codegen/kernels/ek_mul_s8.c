#include "ek_kernels.h"

/*
 * Product of two int8 tensors.
 *
 * pass:   size of the result, four axes, outermost first; a step of an axis that repeats is 0.
 * output: the result; it may lie where an input of its size lies.
 */
void ek_mul_s8(const ek_pass_t *pass, const ek_mul_t *product, const int8_t *x, const int8_t *y, int8_t *output)
{
    const ek_output_t *q = &product->output;
    const uint32_t rows = ek_rows_of(pass);
    uint32_t row, i;
    for (row = 0; row < rows; row++) {
        const int8_t *one = x + ek_row_of(pass, 0u, row), *other = y + ek_row_of(pass, 1u, row);
        for (i = 0; i < pass->size[3]; i++) {
            const int32_t value = (*one - product->zero_point[0]) * (*other - product->zero_point[1]);
            *output++ = ek_clamped_s8(ek_requantize(value, q->multiplier, q->shift), q);
            one += pass->step[0][3];
            other += pass->step[1][3];
        }
    }
}
