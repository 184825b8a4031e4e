#include "ek_mve.h"

/*
 * One row of a two-dimensional convolution, for vectors.
 *
 * rows:    [kernel_t] input rows, oldest first, each [padded width][channels], padding filled in with the input's
 *          zero point.
 * columns: positions of the row, up to a multiple of 3; depth: vectors of a patch.
 * layer:   weights [(outputs + 1) / 2][depth][2][16], each channel's in the order [kernel_w][kernel_t][channels], then
 *          zeros; bias with the zero point folded in.
 * lanes:   scratch: [columns] patches (see ek_products_mve), then [2][columns] sums and 7 more.
 * output:  [output_width][outputs] int8.
 */
void ek_conv2d_mve_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                      const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output)
{
    const uint32_t step = (uint32_t)window->stride_w * window->kernel_t * window->channels;
    const uint32_t bytes = (columns->count - 1u) * step + EK_VECTOR * columns->depth;
    const uint32_t outputs = window->outputs, width = window->output_width;
    const int8_t *weights = layer->weights;
    int8_t *patches = (int8_t *)lanes;
    int32_t *sums = (int32_t *)(lanes + (bytes + 3u) / 4u);
    uint32_t channel;
    ek_patches_s8(rows, window, patches);
    for (channel = 0; channel < outputs; channel += 2u) {
        ek_products_mve(patches, step, weights, columns->depth, columns->count, sums);
        ek_scale_row_mve(sums, layer, channel, width, outputs, output + channel);
        if (channel + 1u < outputs) {
            ek_scale_row_mve(sums + columns->count, layer, channel + 1u, width, outputs, output + channel + 1u);
        }
        weights += 2u * EK_VECTOR * columns->depth;
    }
}
