#include "ek_kernels.h"

/*
 * One row of two-dimensional maximum pooling.
 *
 * rows:   [kernel_t] input rows, oldest first, each [padded width][channels] with padding of -128.
 * output: [output_width][channels] int8.
 */
void ek_max_pool2d_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *output)
{
    const uint32_t channels = window->channels;
    uint32_t position, channel, row, column;
    for (position = 0; position < window->output_width; position++) {
        for (channel = 0; channel < channels; channel++) {
            int8_t largest = -128;
            for (row = 0; row < window->kernel_t; row++) {
                const int8_t *input = rows[row] + (size_t)position * window->stride_w * channels + channel;
                for (column = 0; column < window->kernel_w; column++) {
                    largest = input[(size_t)column * channels] > largest ? input[(size_t)column * channels] : largest;
                }
            }
            *output++ = largest;
        }
    }
}
