#include "ek_kernels.h"
#include "ek_scale.h"

/* Write the six points of one pair of channels from its values at six positions; points lie `stride` apart. */
EK_INLINE void write_points(const ek_pair_t d[6], uint32_t stride, ek_pair_t *points)
{
    const ek_pair_t d42 = ek_subtract(d[4], d[2]), d31 = ek_subtract(d[3], d[1]), twice = ek_add(d31, d31);
    const ek_pair_t two1 = ek_add(d[1], d[1]), two2 = ek_add(d[2], d[2]), d02 = ek_subtract(d[0], d[2]);
    const ek_pair_t even = ek_subtract(d[4], ek_add(two2, two2)), odd = ek_subtract(d[3], ek_add(two1, two1));
    const ek_pair_t two02 = ek_add(d02, d02);
    points[0] = ek_add(ek_add(two02, two02), d42);
    points[stride] = ek_add(even, odd);
    points[2u * stride] = ek_subtract(even, odd);
    points[3u * stride] = ek_add(d42, twice);
    points[4u * stride] = ek_subtract(d42, twice);
    points[5u * stride] = ek_subtract(ek_subtract(d[5], d[3]), ek_add(twice, twice));
}

/*
 * One row of a map at the points of Winograd's F(4, 3) along mel: B' d of Lavin and Gray (arXiv 1509.09308).
 *
 * row:    [4 * tiles + 2][channels] int8, padding filled in.
 * stride: pairs from one point to the next.
 * points: [6][pairs of channels][tiles] result; values within 10 * 128. Channels are paired (0, 2), (1, 3) in
 *         each four of them; the last of channels % 4 == 1 is alone with a zero, of 2 and 3 (0, 2), (1, none).
 */
void ek_winograd_input(const int8_t *row, uint32_t channels, uint32_t tiles, uint32_t stride, ek_pair_t *points)
{
    const uint32_t last = channels & 3u;
    uint32_t tile, channel, position;
    for (tile = 0; tile < tiles; tile++) {
        ek_pair_t *result = points + tile;
        ek_pair_t even[6], odd[6];
        for (channel = 0; channel + 4u <= channels; channel += 4u) {
            for (position = 0; position < 6u; position++) {
                const uint32_t bytes = ek_bytes(row + (size_t)position * channels + channel);
                even[position] = ek_even_bytes(bytes);
                odd[position] = ek_odd_bytes(bytes);
            }
            write_points(even, stride, result);
            write_points(odd, stride, result + tiles);
            result += 2u * tiles;
        }
        if (last != 0u) {
            for (position = 0; position < 6u; position++) {
                const int8_t *value = row + (size_t)position * channels + channel;
                even[position] = ek_pair(value[0], last == 3u ? value[2] : 0);
                odd[position] = last > 1u ? ek_pair(value[1], 0) : 0u;
            }
            write_points(even, stride, result);
            if (last > 1u) {
                write_points(odd, stride, result + tiles);
            }
        }
        row += (size_t)4 * channels;
    }
}
