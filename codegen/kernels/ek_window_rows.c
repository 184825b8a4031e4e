#include "ek_kernels.h"

/*
 * Point at the rows of one window over a map, padding included.
 *
 * map:      [height][row_bytes] int8.
 * position: of the window, counted from 0 without gaps: rows that windows before it read stay in the lines.
 * fill:     what padding holds.
 * lines:    [reach][line_bytes] scratch, kept from window to window; unused where rows are read in place.
 * rows:     [kernel_t] result, oldest first. They may be read until the next call.
 */
void ek_window_rows(const int8_t *map, const ek_map_t *geometry, uint32_t position, int8_t fill, int8_t *lines,
                    const int8_t **rows)
{
    const ek_map_t *g = geometry;
    const uint32_t first = position * g->stride, end = first + g->reach;
    uint32_t row, count = 0;
    if (g->line_bytes == 0u) {
        for (row = first; row < end; row += g->gap) {
            rows[count++] = map + (size_t)row * g->row_bytes;
        }
        return;
    }
    if (position == 0u) {
        memset(lines, fill, (size_t)g->reach * g->line_bytes);
    }
    /* Rows are counted with the padding above the map. */
    for (row = position == 0u || end - g->stride < first ? first : end - g->stride; row < end; row++) {
        int8_t *line = lines + (size_t)(row % g->reach) * g->line_bytes + g->left_bytes;
        if (row >= g->top && row - g->top < g->height) {
            memcpy(line, map + (size_t)(row - g->top) * g->row_bytes, g->row_bytes);
        } else {
            memset(line, fill, g->row_bytes);
        }
    }
    for (row = first; row < end; row += g->gap) {
        rows[count++] = lines + (size_t)(row % g->reach) * g->line_bytes;
    }
}
