#include "ek_kernels.h"

/* The largest of each place of some rows, four bytes at a time. */
static void largest_of_rows(const int8_t *const *rows, uint32_t count, uint32_t bytes, int8_t *largest)
{
    uint32_t row, i;
    for (i = 0; i + 4u <= bytes; i += 4u) {
        uint32_t four = ek_bytes(rows[0] + i);
        for (row = 1; row < count; row++) {
            four = ek_largest_bytes(four, ek_bytes(rows[row] + i));
        }
        memcpy(largest + i, &four, sizeof four);
    }
    for (; i < bytes; i++) {
        largest[i] = rows[0][i];
        for (row = 1; row < count; row++) {
            largest[i] = rows[row][i] > largest[i] ? rows[row][i] : largest[i];
        }
    }
}

/*
 * One row of two-dimensional maximum pooling: over time first, then over mel.
 *
 * rows:    [kernel_t] input rows, oldest first, each [padded width][channels] with padding of -128.
 * largest: [padded width][channels] scratch.
 * output:  [output_width][channels] int8.
 */
void ek_max_pool2d_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output)
{
    const uint32_t channels = window->channels, step = (uint32_t)window->stride_w * channels;
    const uint32_t width = (window->output_width - 1u) * window->stride_w + window->kernel_w;
    uint32_t position, channel, column;
    largest_of_rows(rows, window->kernel_t, width * channels, largest);
    for (position = 0; position < window->output_width; position++) {
        const int8_t *first = largest + (size_t)position * step;
        for (channel = 0; channel + 4u <= channels; channel += 4u) {
            uint32_t four = ek_bytes(first + channel);
            for (column = 1; column < window->kernel_w; column++) {
                four = ek_largest_bytes(four, ek_bytes(first + (size_t)column * channels + channel));
            }
            memcpy(output + channel, &four, sizeof four);
        }
        for (; channel < channels; channel++) {
            int8_t one = first[channel];
            for (column = 1; column < window->kernel_w; column++) {
                const int8_t other = first[(size_t)column * channels + channel];
                one = other > one ? other : one;
            }
            output[channel] = one;
        }
        output += channels;
    }
}
