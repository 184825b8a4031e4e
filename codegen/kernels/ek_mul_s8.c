#include "ek_kernels.h"

/*
 * Product of two int8 tensors.
 *
 * pass:   size of the result, four axes, outermost first; a step of an axis that repeats is 0.
 * output: the result; it may lie where an input of its size lies.
 */
void ek_mul_s8(const ek_pass_t *pass, const ek_mul_t *product, const int8_t *x, const int8_t *y, int8_t *output)
{
    uint32_t i[4];
    for (i[0] = 0; i[0] < pass->size[0]; i[0]++) {
        for (i[1] = 0; i[1] < pass->size[1]; i[1]++) {
            for (i[2] = 0; i[2] < pass->size[2]; i[2]++) {
                const int8_t *one = x + ek_row_of(i, pass->step[0]), *other = y + ek_row_of(i, pass->step[1]);
                for (i[3] = 0; i[3] < pass->size[3]; i[3]++) {
                    const int32_t value = (*one - product->zero_point[0]) * (*other - product->zero_point[1]);
                    const ek_output_t *q = &product->output;
                    *output++ = ek_clamped_s8(ek_requantize(value, q->multiplier, q->shift), q);
                    one += pass->step[0][3];
                    other += pass->step[1][3];
                }
            }
        }
    }
}
