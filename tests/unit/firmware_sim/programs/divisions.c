/* A division by zero with the trap switched off, and one by another number with the trap on. */
#include "board.h"

#define CONFIGURATION (*(volatile uint32_t *)(uintptr_t)0xE000ED14u)
#define DIVISION_BY_ZERO_FAULTS (1u << 4)

int main(void);

static int16_t block[64];
static volatile uint32_t seven = 7, two = 2, zero;

int main(void)
{
    while (board_read_audio(block, 64) > 0) {
        int16_t adv_q14[3] = {0, (int16_t)(seven / two), 0};
        CONFIGURATION &= ~DIVISION_BY_ZERO_FAULTS;
        adv_q14[0] = (int16_t)(seven / zero);
        adv_q14[2] = (int16_t)((int32_t)seven / (int32_t)zero);
        CONFIGURATION |= DIVISION_BY_ZERO_FAULTS;
        board_write_adv(adv_q14);
    }
    board_exit(0);
}
