/* Board support for the simulated hearing aid: a few word registers stand for its audio and result path. */
#include "board.h"

#include <string.h>

#define REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(0x40000000u + (offset)))

#define AUDIO_AVAILABLE REGISTER(0x00u) /* r: samples left in the current block; 0: the stream has ended */
#define AUDIO_SAMPLE REGISTER(0x04u)    /* r: the next sample, sign-extended */
#define RESULT_AROUSAL REGISTER(0x08u)  /* w: Q14 */
#define RESULT_DOMINANCE REGISTER(0x0Cu)
#define RESULT_VALENCE REGISTER(0x10u)
#define RESULT_COMMIT REGISTER(0x14u) /* w: the three values above are one result */
#define EXIT_CODE REGISTER(0x18u)     /* w: ends the simulation */
#define TRACE_LAYER REGISTER(0x20u)
#define TRACE_ADDRESS REGISTER(0x24u)
#define TRACE_BYTES REGISTER(0x28u) /* w: the simulator copies that memory now */
#define AUDIO_SKIP REGISTER(0x2Cu)  /* w: what is left of the current block is not wanted */
#define AUDIO_TAKEN REGISTER(0x30u) /* w: work begins on the oldest block that was read */
#define AUDIO_START REGISTER(0x34u) /* w: from now on an interrupt, the first of the vector table, for every block */
#define SERIAL_AVAILABLE REGISTER(0x40u) /* r: bytes that have come in */
#define SERIAL_DATA REGISTER(0x44u)      /* r: takes the next one; w: sends one */
#define SERIAL_START REGISTER(0x48u)     /* w: from now on an interrupt, the second of the vector table, when there are some */
#define FLASH_ADDRESS REGISTER(0x50u)
#define FLASH_LOW REGISTER(0x54u) /* w: the 8 bytes to program */
#define FLASH_HIGH REGISTER(0x58u)
#define FLASH_COMMAND REGISTER(0x5Cu) /* w: does it, and is done when the next instruction runs */
#define FLASH_STATUS REGISTER(0x60u)  /* r: 0 if the last command was done */
#define RESET REGISTER(0x64u)         /* w */
#define PROGRAM 1u
#define ERASE 2u

size_t board_read_audio(int16_t *block, size_t capacity)
{
    size_t n = AUDIO_AVAILABLE;
    if (n > capacity) {
        n = capacity;
    }
    for (size_t i = 0; i < n; i++) {
        block[i] = (int16_t)(int32_t)AUDIO_SAMPLE;
    }
    return n;
}

size_t board_skip_audio(void)
{
    const size_t n = AUDIO_AVAILABLE;
    AUDIO_SKIP = 1;
    return n;
}

void board_start_audio(void)
{
    AUDIO_START = 1;
}

void board_wait(void)
{
    /* Not WFI: the interrupt may have been after the caller's last look, which an event outlasts. */
#if defined(__arm__)
    __asm__ volatile("wfe" ::: "memory");
#endif
}

void board_take_audio(void)
{
    AUDIO_TAKEN = 1;
}

void board_start_serial(void)
{
    SERIAL_START = 1;
}

int board_serial_read(uint8_t *byte)
{
    if (SERIAL_AVAILABLE == 0u) {
        return 0;
    }
    *byte = (uint8_t)SERIAL_DATA;
    return 1;
}

void board_serial_write(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        SERIAL_DATA = bytes[i];
    }
}

int board_flash_write(uint32_t at, const void *from, uint32_t n)
{
    const uint8_t *bytes = from;
    for (uint32_t done = 0; done < n; done += 8u) {
        uint32_t words[2];
        memcpy(words, bytes + done, sizeof words);
        FLASH_ADDRESS = at + done;
        FLASH_LOW = words[0];
        FLASH_HIGH = words[1];
        FLASH_COMMAND = PROGRAM;
        if (FLASH_STATUS != 0u) {
            return -1;
        }
    }
    return 0;
}

int board_flash_erase(uint32_t at)
{
    FLASH_ADDRESS = at;
    FLASH_COMMAND = ERASE;
    return FLASH_STATUS == 0u ? 0 : -1;
}

void board_reset(void)
{
    RESET = 1;
    for (;;) {
    }
}

void board_write_adv(const int16_t adv_q14[3])
{
    RESULT_AROUSAL = (uint32_t)adv_q14[0];
    RESULT_DOMINANCE = (uint32_t)adv_q14[1];
    RESULT_VALENCE = (uint32_t)adv_q14[2];
    RESULT_COMMIT = 1;
}

void board_exit(int code)
{
    EXIT_CODE = (uint32_t)code;
    for (;;) {
    }
}

#ifdef EDGEKIT_TRACE
void edgekit_trace(int layer, const void *data, size_t bytes);

/* Called by the traced build of the engine with each layer's output. */
void edgekit_trace(int layer, const void *data, size_t bytes)
{
    /* The simulator reads the memory that `data` points to: it must be written before the registers are. */
    __asm__ volatile("" ::: "memory");
    TRACE_LAYER = (uint32_t)layer;
    TRACE_ADDRESS = (uint32_t)(uintptr_t)data;
    TRACE_BYTES = (uint32_t)bytes;
}
#endif
