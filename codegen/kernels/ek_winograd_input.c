#include "ek_kernels.h"

/* Positions of a tile's input. */
#define EK_POSITIONS 6u

/* One value of a time point from the rows of a window: B' d of F(2, 3). */
static int32_t value_at(const int8_t *const *rows, size_t place, uint32_t time)
{
    switch (time) {
    case 0:
        return rows[0][place] - rows[2][place];
    case 1:
        return rows[1][place] + rows[2][place];
    case 2:
        return rows[2][place] - rows[1][place];
    default:
        return rows[1][place] - rows[3][place];
    }
}

/* The six mel points of one channel at one time: B' d of F(4, 3). */
static void mel_points(const int8_t *const *rows, size_t first, uint32_t channels, uint32_t time, int32_t points[EK_MEL_POINTS])
{
    int32_t d[EK_POSITIONS], even, odd;
    uint32_t position;
    for (position = 0; position < EK_POSITIONS; position++) {
        d[position] = value_at(rows, first + (size_t)position * channels, time);
    }
    even = d[4] - 4 * d[2];
    odd = d[3] - 4 * d[1];
    points[0] = 4 * d[0] - 5 * d[2] + d[4];
    points[1] = even + odd;
    points[2] = even - odd;
    points[3] = d[4] - d[2] + 2 * (d[3] - d[1]);
    points[4] = d[4] - d[2] - 2 * (d[3] - d[1]);
    points[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/*
 * Some tiles of a map at the points of Winograd's F(2, 3) in time and F(4, 3) along mel: B' d B of Lavin and Gray
 * (arXiv 1509.09308), for processors without the DSP extension.
 *
 * rows:   the rows of the window (see ek_turn_t), oldest first, int8, padding filled in.
 * first:  bytes before the first tile in each row.
 * tiles:  three or four of them: [4 * tiles + 2][channels] are read.
 * stride: pairs from one point to the next.
 * points: [time points of the turn][6][pairs of channels][tiles] result; values within 2 * 10 * 128. Channels are
 *         paired (0, 2), (1, 3) in each four of them; the last of channels % 4 == 1 is alone with a zero, of 2 and 3
 *         (0, 2), (1, none).
 */
void ek_winograd_input(const int8_t *const *rows, size_t first, ek_turn_t turn, uint32_t channels, uint32_t tiles,
                       uint32_t stride, ek_pair_t *points)
{
    const uint32_t last = channels & 3u, pairs = (channels & ~3u) / 2u + (last < 2u ? last : 2u);
    /* The one time of the second turn is a difference of rows like the first time. */
    const uint32_t times = turn == EK_BOTH ? EK_TIME_POINTS : turn == EK_FIRST ? EK_TIME_POINTS - 1u : 1u;
    uint32_t tile, pair, time, point;
    for (tile = 0; tile < tiles; tile++) {
        for (pair = 0; pair < pairs; pair++) {
            const uint32_t channel = (pair & ~1u) * 2u + (pair & 1u);
            for (time = 0; time < times; time++) {
                int32_t one[EK_MEL_POINTS], other[EK_MEL_POINTS] = {0};
                mel_points(rows, first + channel, channels, time, one);
                if (channel + 2u < channels) {
                    mel_points(rows, first + channel + 2u, channels, time, other);
                }
                for (point = 0; point < EK_MEL_POINTS; point++) {
                    points[(size_t)(time * EK_MEL_POINTS + point) * stride + pair * tiles + tile] = ek_pair(one[point], other[point]);
                }
            }
        }
        first += (size_t)4 * channels;
    }
}
