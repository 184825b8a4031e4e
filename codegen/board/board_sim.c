/* Board support for the simulated hearing aid: a few word registers stand for its audio and result path. */
#include "board.h"

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
