#include "ek_kernels.h"

/*
 * A tensor with its axes in another order.
 *
 * pass:   size of the result, four axes, outermost first; step[0]: the input's bytes from one to the next.
 * output: the result.
 */
void ek_transpose_s8(const ek_pass_t *pass, const int8_t *input, int8_t *output)
{
    uint32_t i[4];
    for (i[0] = 0; i[0] < pass->size[0]; i[0]++) {
        for (i[1] = 0; i[1] < pass->size[1]; i[1]++) {
            for (i[2] = 0; i[2] < pass->size[2]; i[2]++) {
                const int8_t *value = input + ek_row_of(i, pass->step[0]);
                for (i[3] = 0; i[3] < pass->size[3]; i[3]++) {
                    *output++ = *value;
                    value += pass->step[0][3];
                }
            }
        }
    }
}
