/* A fault in a function that is inlined into another that is inlined into a third. */
#include "board.h"

int main(void);
uint32_t outer(volatile uint32_t *pointer);
void called_before(volatile uint32_t *pointer);

#ifdef AS_DATA
#define UNDEFINED ".hword 0xDE01"
#else
#define UNDEFINED "udf #1"
#endif

static int16_t block[64];

__attribute__((always_inline)) static inline uint32_t inner(volatile uint32_t *pointer)
{
    __asm__ volatile(UNDEFINED); /* FAULT */
    return pointer[0];
}

__attribute__((always_inline)) static inline uint32_t between(volatile uint32_t *pointer)
{
    return inner(pointer) + 1u; /* CALL 1 */
}

/* The link register is no longer that of the caller's caller. */
__attribute__((noinline)) void called_before(volatile uint32_t *pointer)
{
    *pointer = 0;
}

__attribute__((noinline)) uint32_t outer(volatile uint32_t *pointer)
{
    called_before(pointer);
    return between(pointer) + 1u; /* CALL 2 */
}

int main(void)
{
    static uint32_t zero, sum;
    while (board_read_audio(block, 64) > 0) {
        sum += outer(&zero); /* CALL 3 */
    }
    board_exit((int)sum);
}
