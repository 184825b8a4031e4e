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

/* From now on there is a serial_interrupt() when bytes have come in over the serial line. */
void board_start_serial(void);

/* Take a byte that has come in; returns 0 if there is none. */
int board_serial_read(uint8_t *byte);

void board_serial_write(const uint8_t *bytes, size_t n);

/* Program erased cells; address and size are multiples of 8. Returns 0 if it is done. */
int board_flash_write(uint32_t at, const void *from, uint32_t n);

/* Erase a sector of 4096 bytes. Returns 0 if it is done. */
int board_flash_erase(uint32_t at);

/* Begin anew, as after power-up. */
void board_reset(void) __attribute__((noreturn));

/* Publish arousal, dominance and valence in Q14. */
void board_write_adv(const int16_t adv_q14[3]);

/* Stop the firmware. */
void board_exit(int code) __attribute__((noreturn));

#endif
