#include "ek_kernels.h"
#include "ek_scale.h"

/* Sums at the six mel points of one row in time: sums over its time points, modulo 2^32. */
EK_RARE static void row_of_times(const ek_pair_t *sums, uint32_t stride, ek_turn_t turn, uint32_t row, uint32_t mel[EK_MEL_POINTS])
{
    const size_t time = (size_t)EK_MEL_POINTS * stride;
    uint32_t point;
    for (point = 0; point < EK_MEL_POINTS; point++) {
        const ek_pair_t *m = sums + (size_t)point * stride;
        if (turn == EK_SECOND) {
            mel[point] = m[0];
        } else if (row == 0u) {
            mel[point] = m[0] + m[time] + m[2u * time];
        } else {
            mel[point] = m[time] - m[2u * time] - (turn == EK_BOTH ? m[3u * time] : 0u);
        }
    }
}

/* Four outputs from six points, modulo 2^32: A' m of F(4, 3). */
EK_RARE static void to_outputs(const uint32_t m[EK_MEL_POINTS], uint32_t outputs[4])
{
    const uint32_t plus1 = m[1] + m[2], minus1 = m[1] - m[2], plus2 = m[3] + m[4], minus2 = m[3] - m[4];
    outputs[0] = m[0] + plus1 + plus2;
    outputs[1] = minus1 + 2u * minus2;
    outputs[2] = plus1 + 4u * plus2;
    outputs[3] = minus1 + 8u * minus2 + m[5];
}

EK_RARE static int8_t result(uint32_t value, const ek_scale_t *scale)
{
    /* Twice the exact quotient of 48: 0xAAAAAAAB is the inverse of 3 modulo 2^32. */
    const int32_t twice = (int32_t)((uint32_t)((int32_t)value >> 3) * 0xAAAAAAABu);
    return ek_result_s8(twice, scale, scale->quick);
}

/*
 * Outputs of one channel from its products at the points: A' m A of Winograd's F(2, 3) x F(4, 3), and scaled.
 *
 * sums:    those of the channel's first tile at the first point; 48 times those of the paper (Lavin and Gray, arXiv
 *          1509.09308). What is kept between two turns is modulo 2^32; an output has 48 times its true value, which
 *          fits int32 (see codegen/columns.py).
 * stride:  words from one point to the next.
 * step:    bytes from one output of a row to the next.
 * results: where the outputs of both rows go, or of one and what is kept; how many.
 */
EK_RARE void ek_winograd_output(const ek_pair_t *sums, uint32_t stride, ek_turn_t turn, const ek_scale_t *scale, uint32_t step,
                        const ek_results_t *results)
{
    uint32_t mel[EK_MEL_POINTS], outputs[4], i, done;
    for (done = 0; done < results->count; done += 4u) {
        const uint32_t some = results->count - done < 4u ? results->count - done : 4u;
        int8_t *row = results->rows[0] + (size_t)done * step;
        row_of_times(sums, stride, turn, 0u, mel);
        to_outputs(mel, outputs);
        for (i = 0; i < some; i++) {
            const uint32_t kept = turn == EK_SECOND ? results->kept[done + i] : 0u;
            row[i * step] = result(turn == EK_SECOND ? kept - outputs[i] : outputs[i], scale);
        }
        if (turn != EK_SECOND) {
            row_of_times(sums, stride, turn, 1u, mel);
            to_outputs(mel, outputs);
            row = results->rows[1] + (turn == EK_BOTH ? (size_t)done * step : 0u);
            for (i = 0; i < some; i++) {
                if (turn == EK_BOTH) {
                    row[i * step] = result(outputs[i], scale);
                } else {
                    results->kept[done + i] = outputs[i];
                }
            }
        }
        sums++;
    }
}
