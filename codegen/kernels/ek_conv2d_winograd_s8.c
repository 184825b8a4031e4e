#include "ek_kernels.h"
#include "ek_scale.h"

/*
 * One or two rows of a convolution of three rows and columns with step 1, by Winograd's F(2, 3) in time and F(4, 3)
 * along mel: a third of the multiplications. Exact, because the weights are 48 times those of the paper (Lavin and
 * Gray, arXiv 1509.09308).
 *
 * rows:    the window, oldest first, each [4 * tiles + 2][channels], padding filled in: four rows where two are
 *          computed at once, else three.
 * turn:    what is computed. Two rows in turns share their products: the first takes three of the four time points
 *          and keeps what the second needs of them; the second takes the point that was not known before.
 * tiles:   tiles of a row and their functions.
 * layer:   weights as pairs [(outputs + 1) / 2][4][6][pairs of channels][2] (see ek_winograd_input); bias with the
 *          zero point folded in.
 * lanes:   [time points][6][pairs of channels + 2][tiles taken at a time] scratch.
 * results: where the rows go, [output_width][outputs] int8 each; where [outputs][output_width] are kept between two
 *          turns; changed. Where two rows at once go to the same place, the second stays.
 */
void ek_conv2d_winograd_s8(const int8_t *const *rows, ek_turn_t turn, const ek_window_t *window, const ek_tiles_t *tiles,
                           const ek_layer_t *layer, ek_pair_t *lanes, ek_results_t *results)
{
    const uint32_t outputs = window->outputs, width = window->output_width, depth = tiles->depth;
    const uint32_t left_out = turn == EK_BOTH ? 0u : turn == EK_FIRST ? EK_MEL_POINTS : EK_LAST_POINT;
    ek_scale_t scale = ek_scale(layer, 0);
    uint32_t done = 0, channel;
    while (done < width) {
        const uint32_t some = done < 4u * tiles->fours ? 4u : 3u, here = 4u * some;
        const ek_tile_functions_t *functions = some == 4u ? tiles->four : tiles->three;
        const ek_pair_t *weights = (const ek_pair_t *)layer->weights + (turn == EK_SECOND ? 2u * depth * EK_LAST_POINT : 0u);
        ek_tile_output_t *output = functions->output[turn];
        functions->input[turn](rows, (size_t)done * window->channels, lanes);
        results->count = width - done < here ? width - done : here;
        for (channel = 0; channel < outputs; channel++) {
            const ek_pair_t *sums = lanes + (size_t)some * (depth + (channel & 1u));
            if ((channel & 1u) == 0u) {
                (channel + 1u < outputs ? functions->two : functions->one)(lanes, weights, EK_POINTS - left_out);
                weights += (size_t)2 * depth * EK_POINTS;
            }
            ek_rescale(&scale, layer, channel);
            if (scale.quick != 0) {
                output(sums, &scale, results);
            } else {
                ek_winograd_output(sums, some * (depth + 2u), turn, &scale, outputs, results);
            }
            results->rows[0]++;
            results->rows[1]++;
            results->kept += turn == EK_BOTH ? 0u : width;
        }
        done += here;
        if (done < width) {
            /* From behind the channels of these outputs to the first channel of the next. */
            results->rows[0] += (size_t)(here - 1u) * outputs;
            results->rows[1] += (size_t)(here - 1u) * outputs;
            results->kept -= turn == EK_BOTH ? 0u : (size_t)outputs * width - here;
        }
    }
}
