#include "ek_kernels.h"

/*
 * Account for a row that was just written at `next`; return 1 when a window is complete, else 0.
 *
 * rows:   of the ring, the window's height.
 * stride: rows from one window to the next.
 * After a complete window, row i of it (oldest first) is row (next + i) % rows of the ring.
 */
int ek_ring_push(ek_ring_t *ring, uint8_t rows, uint8_t stride)
{
    ring->next = (uint8_t)(ring->next + 1u == rows ? 0u : ring->next + 1u);
    ring->missing--;
    if (ring->missing != 0u) {
        return 0;
    }
    ring->missing = stride;
    return 1;
}
