#include "ek_kernels.h"

/*
 * A map with `fill` around it.
 *
 * input:  [height][row_bytes] int8.
 * output: [top + height + bottom][left_bytes + row_bytes + right_bytes] int8.
 */
void ek_pad_s8(const int8_t *input, uint32_t height, uint32_t row_bytes, const ek_border_t *border, int8_t fill,
               int8_t *output)
{
    const size_t line = (size_t)border->left_bytes + row_bytes + border->right_bytes;
    uint32_t row;
    memset(output, fill, border->top * line);
    output += border->top * line;
    for (row = 0; row < height; row++) {
        memset(output, fill, border->left_bytes);
        memcpy(output + border->left_bytes, input, row_bytes);
        memset(output + border->left_bytes + row_bytes, fill, border->right_bytes);
        input += row_bytes;
        output += line;
    }
    memset(output, fill, border->bottom * line);
}
