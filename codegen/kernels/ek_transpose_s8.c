#include "ek_kernels.h"

/*
 * A tensor with its axes in another order.
 *
 * pass:   size of the result, four axes, outermost first; step[0]: the input's bytes from one to the next.
 * output: the result.
 */
void ek_transpose_s8(const ek_pass_t *pass, const int8_t *input, int8_t *output)
{
    const uint32_t rows = ek_rows_of(pass);
    uint32_t row, i;
    for (row = 0; row < rows; row++) {
        const int8_t *value = input + ek_row_of(pass, 0u, row);
        for (i = 0; i < pass->size[3]; i++) {
            *output++ = *value;
            value += pass->step[0][3];
        }
    }
}
