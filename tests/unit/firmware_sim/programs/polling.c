/* A program that asks for its audio and takes longer for each block than it lasts. */
#include "board.h"

int main(void);

int main(void)
{
    int16_t block[16];
    while (board_read_audio(block, sizeof block / sizeof *block) > 0u) {
        for (volatile int turns = 0; turns < 20000; turns++) {
        }
        board_write_adv(block);
    }
    board_exit(0);
}
