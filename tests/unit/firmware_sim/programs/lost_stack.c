/* A program whose stack pointer is nowhere: while it works (IN 1), sleeps (IN 2), or returns from its interrupt (IN 3). */
#include "audio.h"
#include "board.h"

#define LOSE "movs r0, #0\n\tmovt r0, #0x3000\n\tmov sp, r0\n\t"

int main(void);

#if IN == 3
__attribute__((naked)) void audio_interrupt(void)
{
    __asm__ volatile("push {r4, lr}\n\tbl board_skip_audio\n\tpop {r4, lr}\n\t" LOSE "bx lr");
}
#else
void audio_interrupt(void)
{
    (void)board_skip_audio();
}
#endif

int main(void)
{
    board_start_audio();
#if IN == 1
    __asm__ volatile(LOSE "1:\n\tb 1b" ::: "r0");
#elif IN == 2
    __asm__ volatile(LOSE "1:\n\twfe\n\tb 1b" ::: "r0");
#endif
    for (;;) {
        board_wait();
    }
}
