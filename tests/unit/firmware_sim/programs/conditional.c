/* An IT block over the end of a page, where the simulator's basic blocks end: an interrupt comes in the middle of it. */
#include "audio.h"
#include "board.h"

int main(void);
uint32_t work(uint32_t sum);

void audio_interrupt(void)
{
    (void)board_skip_audio();
}

__attribute__((noinline)) uint32_t work(uint32_t sum)
{
    __asm__ volatile("b 1f\n\t.balign 4096\n\t.space 4092\n1:\n\t"
                     "cmp %0, %0\n\tittte ne\n\taddne %0, #1\n\taddne %0, #2\n\taddne %0, #4\n\taddeq %0, #8"
                     : "+r"(sum)
                     :
                     : "cc");
    return sum;
}

int main(void)
{
    uint32_t sum = 0;
    board_start_audio();
    for (int i = 0; i < 300; i++) {
        sum = work(sum);
    }
    board_exit((int)sum);
}
