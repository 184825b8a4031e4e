/* Programs that go wrong, one per value of FAULT; the line that does it says so. */
#include "board.h"

int main(void);
uint32_t fault(volatile uint32_t *pointer, uint32_t depth);
uint32_t middle(volatile uint32_t *pointer);
uint32_t outer(volatile uint32_t *pointer);

extern const uint32_t table[2];
const uint32_t table[2] = {1, 2};

/* "b ." and more: no code, because nobody has compiled it. */
extern const uint16_t loop[4];
const uint16_t loop[4] = {0xE7FE, 0xE7FE, 0xE7FE, 0xE7FE};

static int16_t block[64];

__attribute__((noinline)) uint32_t fault(volatile uint32_t *pointer, uint32_t depth)
{
#if FAULT == 1
    depth += pointer[0]; /* FAULT 1 */
#elif FAULT == 2
    *(volatile uint32_t *)(uintptr_t)table = depth; /* FAULT 2 */
#elif FAULT == 3
    __asm__ volatile("udf #1"); /* FAULT 3 */
#elif FAULT == 4
    volatile uint32_t frame[16];
    frame[depth & 15u] = depth;
    if (depth < 1000000u) {
        return fault(pointer, depth + 1) + frame[(depth + 1) & 15u];
    }
#elif FAULT == 5
    for (; pointer[0] == 0u; block[0]++) { /* FAULT 5 */
    }
#elif FAULT == 6
    ((void (*)(void))((uintptr_t)block | 1u))(); /* FAULT 6 */
#elif FAULT == 7
    __asm__ volatile("wfi"); /* FAULT 7 */
#elif FAULT == 8
    depth = 7u / pointer[0]; /* FAULT 8 */
#elif FAULT == 10
    *pointer = depth; /* FAULT 10 */
#elif FAULT == 11
    __asm__ volatile("mov sp, %0\n\tpush {r0}" ::"r"(0xF0000000u)); /* FAULT 11 */
#elif FAULT == 12
    __asm__ volatile("svc #1"); /* FAULT 12 */
#elif FAULT == 13
    __asm__ volatile("bkpt #1"); /* FAULT 13 */
#elif FAULT == 14
    ((void (*)(void))((uintptr_t)loop | 1u))(); /* FAULT 14 */
#elif FAULT == 15
    __asm__ volatile("b 2f\n\t.balign 4\n1:\t.word 0xE7FEE7FE\n2:\tadr r0, 1b\n\tadds r0, #1\n\tbx r0"); /* FAULT 15 */
#elif FAULT == 16
    __asm__ volatile("wfe"); /* FAULT 16 */
#elif FAULT == 17
    __asm__ volatile("push {%0}\n\tpop {pc}" ::"r"(0xDEADBEEFu)); /* FAULT 17 */
#elif FAULT == 18
    __asm__ volatile("mov r0, %0\n\tbx r0" ::"r"(0xFFFFFFF9u) : "r0"); /* FAULT 18 */
#elif FAULT == 19
    __asm__ volatile(".hword 0xDE00"); /* FAULT 19 */
#elif FAULT == 9
    __asm__ volatile("b ."); /* FAULT 9 */
#endif
    return *pointer + depth;
}

__attribute__((noinline)) uint32_t middle(volatile uint32_t *pointer)
{
    uint32_t found = fault(pointer, 0); /* CALL 1 */
    found += 1u;
    return found;
}

__attribute__((noinline)) uint32_t outer(volatile uint32_t *pointer)
{
    return middle(pointer) + 1u; /* CALL 2 */
}

int main(void)
{
    static uint32_t zero, sum;
    while (board_read_audio(block, 64) > 0) {
        volatile uint32_t *wild = (volatile uint32_t *)(FAULT == 1 ? 0u : 0x0F000000u);
        sum += outer(FAULT == 1 || FAULT == 10 ? wild : &zero); /* CALL 3 */
    }
    board_exit((int)sum);
}
