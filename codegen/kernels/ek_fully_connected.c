#include "ek_kernels.h"
#include "ek_scale.h"

/* Fours of rows, from the first on, that are scaled without shifts to the left and of one place to the right. */
static uint32_t quick_fours(const int8_t *shift, uint32_t fours)
{
    uint32_t four;
    for (four = 0; four < fours; four++) {
        if (shift[0] >= -1 || shift[1] >= -1 || shift[2] >= -1 || shift[3] >= -1) {
            break;
        }
        shift += 4;
    }
    return four;
}

/* Four rows of any scale. */
EK_RARE static void any_rows(const ek_pair_t *lanes, const uint32_t *weights, const ek_rows_t *rows, const ek_layer_t *layer,
                     int32_t excess, uint32_t row, int8_t *output)
{
    int32_t sums[4];
    uint32_t i;
    rows->sums(lanes, weights, rows->words, sums);
    for (i = 0; i < 4u; i++) {
        const ek_scale_t scale = ek_scale(layer, row + i);
        output[i] = ek_any_result_s8((sums[i] + layer->bias[row + i] - (i < 3u ? excess : 0)) * 2, &scale);
    }
}

/* Some fours of rows from `row` on. */
static void write_fours(const ek_pair_t *lanes, const ek_rows_t *rows, const ek_layer_t *layer, int32_t excess,
                        uint32_t row, uint32_t fours, int8_t *output)
{
    const ek_quantization_t *q = layer->quantization;
    const int clamped = q->clamp_min > -128 || q->clamp_max < 127;
    while (fours > 0u) {
        const uint32_t *weights = (const uint32_t *)layer->weights + (size_t)(row / 4u) * rows->words;
        uint32_t done = clamped != 0 ? 0u : quick_fours(layer->shift + row, fours);
        if (done > 0u) {
            ek_rows_results_t results = {layer->bias + row, layer->multiplier + row, layer->shift + row,
                                         output,            2 * excess,              q->output_zero_point};
            rows->rows(lanes, weights, &results, done);
        } else {
            any_rows(lanes, weights, rows, layer, excess, row, output);
            done = 1;
        }
        row += 4u * done;
        output += (size_t)4 * done;
        fours -= done;
    }
}

/*
 * Fully connected layer of int8 activations.
 *
 * input:  [inputs] int8.
 * rows:   how four rows are multiplied.
 * layer:  weights of fours of rows (see ek_dense_s4, ek_dense_s8) and their scales, something behind the last row too;
 *         bias with the input's zero point folded in.
 * lanes:  [pairs] scratch.
 * output: [outputs] int8.
 */
void ek_fully_connected(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                        const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const int32_t excess = rows->offset * ek_expand_s8(input, inputs, rows->pairs, lanes);
    const uint32_t whole = outputs & ~3u;
    write_fours(lanes, rows, layer, excess, 0, whole / 4u, output);
    if (whole < outputs) {
        int8_t last[4];
        write_fours(lanes, rows, layer, excess, whole, 1, last);
        memcpy(output + whole, last, outputs - whole);
    }
}
