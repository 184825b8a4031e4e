/* A program whose audio interrupt goes wrong while a function works on something else. */
#include "audio.h"
#include "board.h"

int main(void);
void go_wrong(void);
uint32_t work(uint32_t turns);

__attribute__((noinline)) void go_wrong(void)
{
#if DOES == 1
    *(volatile uint32_t *)(uintptr_t)4u = 1;
#elif DOES == 2
    __asm__ volatile("udf #0");
#elif DOES == 3
    board_wait();
#elif DOES == 4
    for (;;) {
    }
#elif DOES == 6
    board_start_audio();
    (void)work(30000);
#endif
}

void audio_interrupt(void)
{
    if (board_skip_audio() > 0u) {
        go_wrong();
        board_take_audio();
    }
}

__attribute__((noinline)) uint32_t work(uint32_t turns)
{
    volatile uint32_t done = 0;
    while (done < turns) {
        done += 1u;
    }
    return done;
}

int main(void)
{
    board_start_audio();
#ifdef WAITS
    board_wait();
    board_wait();
    board_wait();
#endif
#ifdef BEHIND
    __asm__ volatile("wfe\n\t" BEHIND);
#endif
    board_exit((int)work(1000000u));
}
