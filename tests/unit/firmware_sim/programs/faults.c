/* Programs that go wrong, one per value of FAULT. */
#include "board.h"

int main(void);
uint32_t fault(volatile uint32_t *null, uint32_t depth);

extern const uint32_t table[2];
const uint32_t table[2] = {1, 2};

static int16_t block[64];

__attribute__((noinline)) uint32_t fault(volatile uint32_t *null, uint32_t depth)
{
#if FAULT == 1
    return null[depth];
#elif FAULT == 2
    *(volatile uint32_t *)(uintptr_t)table = depth;
#elif FAULT == 3
    __asm__ volatile("udf #1");
#elif FAULT == 4
    volatile uint32_t frame[16];
    frame[depth & 15u] = depth;
    if (depth < 1000000u) {
        return fault(null, depth + 1) + frame[(depth + 1) & 15u];
    }
#elif FAULT == 5
    for (;;) {
        block[0]++;
        __asm__ volatile("" ::: "memory");
    }
#elif FAULT == 6
    ((void (*)(void))((uintptr_t)block | 1u))();
#elif FAULT == 7
    __asm__ volatile("wfi");
#endif
    return *null + depth;
}

int main(void)
{
    static uint32_t one;
    while (board_read_audio(block, 64) > 0) {
        one += fault(FAULT == 1 || FAULT == 7 ? (volatile uint32_t *)0 : &one, 0);
    }
    board_exit(0);
}
