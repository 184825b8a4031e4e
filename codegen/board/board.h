/* The board that the firmware runs on: where samples come from and where results go. */
#ifndef EDGEKIT_BOARD_H
#define EDGEKIT_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Read up to `capacity` samples of the current audio block; waits for the next block, returns 0 at the end. */
size_t board_read_audio(int16_t *block, size_t capacity);

/* Skip what is left of the current audio block; waits for the next block, returns how much it was, 0 at the end. */
size_t board_skip_audio(void);

/* From now on there is an audio_interrupt() for every block of audio. */
void board_start_audio(void);

/* Sleep until there has been an interrupt since the last call. */
void board_wait(void);

/* The firmware turns to the oldest block that it has read and not turned to. */
void board_take_audio(void);

/* Publish arousal, dominance and valence in Q14. */
void board_write_adv(const int16_t adv_q14[3]);

/* Stop the firmware. */
void board_exit(int code) __attribute__((noreturn));

#endif
