/*
 * Board support for simulators with Arm semihosting (QEMU): audio, results and traces are files of the host.
 *
 * audio: samples of a block as uint32, then int16 samples. results: {samples heard, arousal, dominance, valence} as int32. traces: {layer, bytes} as
 * uint32, then the bytes. stack: the stack's memory as it is at the end.
 */
#include "audio.h"
#include "board.h"

#define SYS_OPEN 0x01u
#define SYS_WRITE 0x05u
#define SYS_READ 0x06u
#define SYS_EXIT_EXTENDED 0x20u
#define READ_BINARY 1u
#define WRITE_BINARY 5u
#define APPLICATION_EXIT 0x20026u

extern const uint8_t __stack_limit[], __stack_top[];

void board_begin_block(uint32_t *rest);

static int32_t heard;
static uint32_t block_samples, left;

static uint32_t call(uint32_t operation, const uint32_t *arguments)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const uint32_t *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t arguments[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return call(SYS_OPEN, arguments);
}

/* Returns how many bytes were read. */
static uint32_t read_file(uint32_t file, void *data, uint32_t bytes)
{
    const uint32_t arguments[3] = {file, (uint32_t)(uintptr_t)data, bytes};
    return bytes - call(SYS_READ, arguments);
}

static void write_file(uint32_t file, const void *data, size_t bytes)
{
    const uint32_t arguments[3] = {file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
    (void)call(SYS_WRITE, arguments);
}

/* The simulator counts each call as the beginning of a block. */
__attribute__((noinline)) void board_begin_block(uint32_t *rest)
{
    *rest = block_samples;
}

size_t board_read_audio(int16_t *block, size_t capacity)
{
    static uint32_t file;
    uint32_t wanted, n;
    if (file == 0u) {
        file = open_file("audio", 5u, READ_BINARY);
        (void)read_file(file, &block_samples, sizeof block_samples);
    }
    if (left == 0u) {
        board_begin_block(&left);
    }
    wanted = left < capacity ? left : (uint32_t)capacity;
    n = read_file(file, block, wanted * (uint32_t)sizeof *block) / (uint32_t)sizeof *block;
    left = n < wanted ? 0u : left - n;
    heard += (int32_t)n;
    return n;
}

size_t board_skip_audio(void)
{
    int16_t skipped[16];
    size_t n, all = 0;
    do {
        n = board_read_audio(skipped, sizeof skipped / sizeof *skipped);
        all += n;
    } while (n > 0u && left > 0u);
    return all;
}

void board_start_audio(void)
{
}

/* Nothing interrupts here: audio arrives when the firmware waits for it. */
void board_wait(void)
{
    audio_interrupt();
}

void board_take_audio(void)
{
}

void board_write_adv(const int16_t adv_q14[3])
{
    static uint32_t file;
    const int32_t result[4] = {heard, adv_q14[0], adv_q14[1], adv_q14[2]};
    if (file == 0u) {
        file = open_file("results", 7u, WRITE_BINARY);
    }
    write_file(file, result, sizeof result);
}

void board_exit(int code)
{
    const uint32_t arguments[2] = {APPLICATION_EXIT, (uint32_t)code};
    write_file(open_file("stack", 5u, WRITE_BINARY), __stack_limit, (size_t)(__stack_top - __stack_limit));
    (void)call(SYS_EXIT_EXTENDED, arguments);
    for (;;) {
    }
}

#ifdef EDGEKIT_TRACE
void edgekit_trace(int layer, const void *data, size_t bytes);

/* Called by the traced build of the engine with each layer's output. */
void edgekit_trace(int layer, const void *data, size_t bytes)
{
    static uint32_t file;
    const uint32_t header[2] = {(uint32_t)layer, (uint32_t)bytes};
    if (file == 0u) {
        file = open_file("traces", 6u, WRITE_BINARY);
    }
    write_file(file, header, sizeof header);
    write_file(file, data, bytes);
}
#endif
