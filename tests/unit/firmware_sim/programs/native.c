/* Programs that run on this computer itself, one per value of DOES; what they do, they do in the third block. */
#include "board.h"

#include <stdlib.h>

int main(void);
uint32_t deep(uint32_t depth);
uint32_t without_end(uint32_t depth);

static int16_t block[64];
static volatile uint32_t zero;

/* 10,000 bytes of stack. */
__attribute__((noinline)) uint32_t deep(uint32_t depth)
{
    volatile uint8_t frame[10000];
    for (uint32_t i = 0; i < sizeof frame; i++) {
        frame[i] = (uint8_t)(depth + i);
    }
    return frame[depth];
}

__attribute__((noinline)) uint32_t without_end(uint32_t depth)
{
    volatile uint32_t frame[16];
    frame[depth & 15u] = depth;
    return depth == UINT32_MAX ? 0u : without_end(depth + 1u) + frame[(depth + 1u) & 15u];
}

int main(void)
{
    for (uint32_t blocks = 1; board_read_audio(block, 64) > 0; blocks++) {
        if (blocks != 3) {
            continue;
        }
#if DOES == 1
        *(volatile uint32_t *)(uintptr_t)(zero + 8u) = 1; /* a bad pointer */
#elif DOES == 2
        (void)without_end(zero);
#elif DOES == 3
        abort();
#elif DOES == 4
        for (;;) { /* hangs */
            zero = 0;
        }
#elif DOES == 5
        board_exit(7);
#elif DOES == 6
        for (uint32_t i = 0; i < 20000000u; i++) { /* takes long */
            zero = 0;
        }
#elif DOES == 7
        (void)deep(zero);
#elif DOES == 8
        exit(9);
#endif
    }
    return DOES == 0 ? 5 : 0;
}
