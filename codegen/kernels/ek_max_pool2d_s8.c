#include "ek_mve.h"

#if EK_MVE

/* The largest of each place of some rows, 16 bytes at a time. */
static void largest_of_rows(const int8_t *const *rows, uint32_t count, uint32_t bytes, int8_t *largest)
{
    uint32_t row, i;
    for (i = 0; i < bytes; i += EK_VECTOR) {
        const mve_pred16_t used = vctp8q(bytes - i);
        int8x16_t values = vldrbq_z_s8(rows[0] + i, used);
        for (row = 1; row < count; row++) {
            values = vmaxq_s8(values, vldrbq_z_s8(rows[row] + i, used));
        }
        vstrbq_p_s8(largest + i, values, used);
    }
}

/* The largest of each channel of some positions, one after another. */
EK_INLINE void largest_of_columns(const int8_t *first, uint32_t count, uint32_t channels, int8_t *output)
{
    uint32_t column, channel;
    for (channel = 0; channel < channels; channel += EK_VECTOR) {
        const mve_pred16_t used = vctp8q(channels - channel);
        const int8_t *next = first + channel;
        int8x16_t values = vldrbq_z_s8(next, used);
        for (column = 1; column < count; column++) {
            next += channels;
            values = vmaxq_s8(values, vldrbq_z_s8(next, used));
        }
        vstrbq_p_s8(output + channel, values, used);
    }
}

/* One row, vector by vector. */
static void pool_row(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output)
{
    const uint32_t channels = window->channels, step = (uint32_t)window->stride_w * channels;
    const uint32_t width = (window->output_width - 1u) * window->stride_w + window->kernel_w;
    const uint32_t kernel_w = window->kernel_w, positions = window->output_width;
    uint32_t position;
    largest_of_rows(rows, window->kernel_t, width * channels, largest);
    for (position = 0; position < positions; position++) {
        largest_of_columns(largest, kernel_w, channels, output);
        largest += step;
        output += channels;
    }
}

#else

/* The largest in each of some places of `high` rows and `wide` columns that lie `step` bytes apart. */
EK_INLINE void largest_of(const int8_t *const *rows, uint32_t high, uint32_t wide, uint32_t step, uint32_t bytes,
                          int8_t *largest)
{
    uint32_t i, row, column;
    for (i = 0; i + 4u <= bytes; i += 4u) {
        uint32_t four = ek_bytes(rows[0] + i);
        for (row = 1; row < high; row++) {
            four = ek_largest_bytes(four, ek_bytes(rows[row] + i));
        }
        for (column = 1; column < wide; column++) {
            four = ek_largest_bytes(four, ek_bytes(rows[0] + (size_t)column * step + i));
        }
        memcpy(largest + i, &four, sizeof four);
    }
    for (; i < bytes; i++) {
        int8_t one = rows[0][i];
        for (row = 1; row < high; row++) {
            one = rows[row][i] > one ? rows[row][i] : one;
        }
        for (column = 1; column < wide; column++) {
            const int8_t other = rows[0][(size_t)column * step + i];
            one = other > one ? other : one;
        }
        largest[i] = one;
    }
}

/* One row, over `high` rows and `wide` columns; constants leave no inner loop. */
EK_INLINE void pool_window(const int8_t *const *rows, const ek_window_t *window, uint32_t high, uint32_t wide, int8_t *largest,
                        int8_t *output)
{
    const uint32_t channels = window->channels, step = (uint32_t)window->stride_w * channels;
    const uint32_t width = (window->output_width - 1u) * window->stride_w + wide;
    const int8_t *first = largest;
    uint32_t position;
    largest_of(rows, high, 1, 0, width * channels, largest);
    for (position = 0; position < window->output_width; position++) {
        largest_of(&first, 1, wide, channels, channels, output);
        first += step;
        output += channels;
    }
}

EK_RARE static void pool_any_row(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output)
{
    pool_window(rows, window, window->kernel_t, window->kernel_w, largest, output);
}

static void pool_row(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output)
{
    if (window->kernel_t == 3u && window->kernel_w == 3u) {
        pool_window(rows, window, 3, 3, largest, output);
    } else {
        pool_any_row(rows, window, largest, output);
    }
}

#endif

/*
 * One row of two-dimensional maximum pooling: over time first, then over mel.
 *
 * rows:    [kernel_t] input rows, oldest first, each [padded width][channels] with padding of -128.
 * largest: [padded width][channels] scratch.
 * output:  [output_width][channels] int8.
 */
void ek_max_pool2d_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output)
{
    pool_row(rows, window, largest, output);
}
