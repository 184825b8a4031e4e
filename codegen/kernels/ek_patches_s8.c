#include "ek_mve.h"

#if EK_MVE

/* One row of at most 16 channels. */
static void spread_narrow(const int8_t *row, uint32_t positions, uint32_t channels, uint32_t step, int8_t *to)
{
    const mve_pred16_t used = vctp8q(channels);
    for (; positions != 0u; positions--) {
        vstrbq_p_s8(to, vldrbq_z_s8(row, used), used);
        row += channels;
        to += step;
    }
}

#endif

/* One row, its positions `step` bytes apart. */
static void spread(const int8_t *row, uint32_t positions, uint32_t channels, uint32_t step, int8_t *to)
{
    uint32_t position;
#if EK_MVE
    if (channels <= EK_VECTOR) {
        spread_narrow(row, positions, channels, step, to);
        return;
    }
#endif
    for (position = 0; position < positions; position++) {
        ek_copy_mve(row + (size_t)position * channels, channels, to + (size_t)position * step);
    }
}

/*
 * Lay rows of a window out so that what each position of the result reads lies together: [position][row][channel].
 *
 * rows:    [kernel_t] input rows, oldest first, each [positions][channels].
 * patches: [positions][kernel_t][channels] result, `positions` as many as the windows cover.
 */
void ek_patches_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *patches)
{
    const uint32_t positions = (window->output_width - 1u) * window->stride_w + window->kernel_w;
    const uint32_t channels = window->channels, height = window->kernel_t;
    uint32_t row;
    if (height == 1u) {
        ek_copy_mve(rows[0], positions * channels, patches);
        return;
    }
    for (row = 0; row < height; row++) {
        spread(rows[row], positions, channels, height * channels, patches + (size_t)row * channels);
    }
}
