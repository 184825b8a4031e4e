#include "ek_kernels.h"

/* A range of a window that lies within the map. */
static void within(uint32_t first, uint32_t reach, uint32_t padding, uint32_t size, uint32_t *from, uint32_t *to)
{
    const uint32_t end = first + reach < padding ? 0u : first + reach - padding;
    *from = first < padding ? 0u : first - padding;
    *to = end < size ? end : size;
}

/* The mean of one channel, halves rounded away from zero. */
static int32_t average(const int8_t *value, uint32_t rows, uint32_t columns, uint32_t row_bytes, uint32_t channels)
{
    const int32_t count = (int32_t)(rows * columns);
    int32_t sum = 0;
    uint32_t row, column;
    for (row = 0; row < rows; row++) {
        for (column = 0; column < columns; column++) {
            sum += value[(size_t)row * row_bytes + (size_t)column * channels];
        }
    }
    return sum < 0 ? -((count / 2 - sum) / count) : (sum + count / 2) / count;
}

/*
 * Two-dimensional average pooling, padding left out, as TFLite averages: the integers as they are.
 *
 * input:  [height][width][channels] int8.
 * output: [output_height][output_width][channels] int8, within the clamp.
 */
void ek_average_pool2d_s8(const int8_t *input, const ek_average_t *pool, const int32_t clamp[2], int8_t *output)
{
    const uint32_t row_bytes = (uint32_t)pool->width * pool->channels;
    uint32_t t, w, channel, top, bottom, left, right;
    for (t = 0; t < pool->output_height; t++) {
        within(t * pool->stride_t, pool->kernel_t, pool->top, pool->height, &top, &bottom);
        for (w = 0; w < pool->output_width; w++) {
            within(w * pool->stride_w, pool->kernel_w, pool->left, pool->width, &left, &right);
            for (channel = 0; channel < pool->channels; channel++) {
                const int8_t *first = input + (size_t)top * row_bytes + (size_t)left * pool->channels + channel;
                int32_t value = average(first, bottom - top, right - left, row_bytes, pool->channels);
                value = value < clamp[0] ? clamp[0] : value;
                *output++ = (int8_t)(value > clamp[1] ? clamp[1] : value);
            }
        }
    }
}
