/* Loops in assembly, so that their instructions can be counted by hand; each runs once per audio block. */
#include "board.h"

int main(void);
void loop_countdown(void);
int32_t loop_dot(const int8_t *a, const int8_t *b);
void loop_copy(const uint32_t *from, uint32_t *to);
void loop_over_data(void);

__attribute__((naked, noinline)) void loop_countdown(void)
{
    __asm__ volatile("movs r0, #100\n"
                     "1: subs r0, #1\n"
                     "bne 1b\n"
                     "bx lr\n");
}

__attribute__((naked, noinline)) int32_t loop_dot(const int8_t *a, const int8_t *b)
{
    __asm__ volatile("push {r4, lr}\n"
                     "mov r12, #50\n"
                     "ldrsb r3, [r0]\n"
                     "1: ldrsb r2, [r0], #1\n"
                     "ldrsb r4, [r1], #1\n"
                     "mla r3, r2, r4, r3\n"
                     "subs r12, r12, #1\n"
                     "bne 1b\n"
                     "mov r0, r3\n"
                     "pop {r4, pc}\n");
}

__attribute__((naked, noinline)) void loop_copy(const uint32_t *from, uint32_t *to)
{
    __asm__ volatile("push {r4, r5, r6, lr}\n"
                     "movs r6, #8\n"
                     "1: ldm r0!, {r2, r3, r4, r5}\n"
                     "stm r1!, {r2, r3, r4, r5}\n"
                     "udiv r2, r3, r6\n"
                     "cmp r2, #0\n"
                     "it eq\n"
                     "moveq r2, #1\n"
                     "subs r6, #1\n"
                     "bne 1b\n"
                     "pop {r4, r5, r6, pc}\n");
}

/* Its literal lies between its instructions, and is none. */
__attribute__((naked, noinline)) void loop_over_data(void)
{
    __asm__ volatile("movs r1, #3\n"
                     "1: ldr r0, 2f\n"
                     "b 3f\n"
                     ".balign 4\n"
                     "2: .word 0xffffffff\n"
                     "3: adds r1, r0\n"
                     "bne 1b\n"
                     "bx lr\n");
}

static int16_t block[64];
static int8_t vector[64];
static uint32_t words[32];

int main(void)
{
    while (board_read_audio(block, 64) > 0) {
        loop_countdown();
        (void)loop_dot(vector, vector);
        loop_copy(words, words);
        loop_over_data();
    }
    board_exit(0);
}
