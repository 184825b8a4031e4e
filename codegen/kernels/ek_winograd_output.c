#include "ek_kernels.h"
#include "ek_scale.h"

/* Twice the exact quotient of 24: 0xAAAAAAAB is the inverse of 3 modulo 2^32. */
EK_INLINE int32_t twice_over_24(int32_t value)
{
    return (int32_t)((uint32_t)(value >> 2) * 0xAAAAAAABu);
}

/* Four outputs of one tile, `step` bytes apart: A' m of the paper. */
EK_INLINE void write_tile(const int32_t *m, uint32_t stride, const ek_scale_t *scale, uint32_t step,
                          int8_t *output, int quick)
{
    const int32_t m1 = m[stride], m2 = m[2u * stride], m3 = m[3u * stride], m4 = m[4u * stride];
    const int32_t plus1 = m1 + m2, minus1 = m1 - m2, plus2 = m3 + m4, minus2 = m3 - m4;
    *output = ek_result_s8(twice_over_24(m[0] + plus1 + plus2), scale, quick);
    output += step;
    *output = ek_result_s8(twice_over_24(minus1 + 2 * minus2), scale, quick);
    output += step;
    *output = ek_result_s8(twice_over_24(plus1 + 4 * plus2), scale, quick);
    output += step;
    *output = ek_result_s8(twice_over_24(minus1 + 8 * minus2 + m[5u * stride]), scale, quick);
}

/* All outputs of one channel; what does not fill a tile goes through `last`. */
EK_INLINE void write_tiles(const int32_t *m, uint32_t stride, const ek_scale_t *scale, uint32_t count,
                           uint32_t step, int8_t *output, int quick)
{
    int8_t last[4];
    uint32_t i;
    for (; count >= 4u; count -= 4u) {
        write_tile(m++, stride, scale, step, output, quick);
        output += (size_t)4 * step;
    }
    if (count != 0u) {
        write_tile(m, stride, scale, 1u, last, quick);
        for (i = 0; i < count; i++) {
            *output = last[i];
            output += step;
        }
    }
}

/*
 * Outputs of one channel from its products at the points of Winograd's F(4, 3) along mel.
 *
 * products: [6][2][tiles] sums of two channels, from the channel's on: 24 times those of the paper (Lavin and
 *           Gray, arXiv 1509.09308).
 * tiles:    3 or 4.
 * count:    outputs, at most four to a tile.
 * step:     bytes from one output to the next.
 */
void ek_winograd_output(const int32_t *products, uint32_t tiles, const ek_scale_t *scale, uint32_t count,
                        uint32_t step, int8_t *output)
{
    /* A copy, so that it stays in registers; constant strides for the same reason. */
    const ek_scale_t own = *scale;
    if (own.quick == 0) {
        write_tiles(products, 2u * tiles, &own, count, step, output, 0);
    } else if (tiles == 4u) {
        write_tiles(products, 8u, &own, count, step, output, 1);
    } else {
        write_tiles(products, 6u, &own, count, step, output, 1);
    }
}
