/*
 * Board support for this computer itself: the firmware runs as a thread of a program, on a stack of its own.
 *
 * audio, results and traces are the files of board_semihosting.c, in the working folder. blocks: nanoseconds of processor
 * time of that thread at the beginning of each block of audio, and at the end, as uint64. stack: how many bytes of it
 * were used, as uint64. While a block is worked on, nothing but traces is written.
 */
#define _DEFAULT_SOURCE
#include "audio.h"
#include "board.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Everywhere else `main` is the firmware's, renamed by the compiler's command line. */
#undef main

#define STACK_BYTES ((size_t)EDGEKIT_BOARD_STACK_BYTES)
#define GUARD_BYTES ((size_t)65536)
#define PAINT 0xA5

typedef struct {
    int32_t heard;
    int32_t adv_q14[3];
} result_t;

int firmware_main(void);

static uint32_t block_samples;
static int16_t *audio;
static size_t samples, next_sample, left;
static uint64_t *begins;
static size_t block_count;
static result_t *results;
static size_t result_count, most_results;
static uint8_t *stack_limit;
static const uint8_t *stack_top;
#ifdef EDGEKIT_TRACE
static FILE *traces;
#endif

static void fail(const char *what) __attribute__((noreturn));
static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Every page is touched here, so that none is first used, which takes time, while a block is worked on. */
static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL) {
        fail("memory");
    }
    memset(memory, PAINT, bytes);
    return memory;
}

static FILE *open_file(const char *name, const char *mode)
{
    FILE *file = fopen(name, mode);
    if (file == NULL) {
        fail(name);
    }
    return file;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    FILE *file = open_file(name, "wb");
    if (fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
        fail(name);
    }
}

static uint64_t thread_ns(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0) {
        fail("clock_gettime");
    }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void read_audio(void)
{
    FILE *file = open_file("audio", "rb");
    long bytes;
    if (fread(&block_samples, sizeof block_samples, 1, file) != 1 || fseek(file, 0, SEEK_END) != 0) {
        fail("audio");
    }
    bytes = ftell(file) - (long)sizeof block_samples;
    samples = (size_t)bytes / sizeof *audio;
    audio = allocate((size_t)bytes + 1u);
    if (fseek(file, (long)sizeof block_samples, SEEK_SET) != 0 || fread(audio, sizeof *audio, samples, file) != samples) {
        fail("audio");
    }
    (void)fclose(file);
}

size_t board_read_audio(int16_t *block, size_t capacity)
{
    size_t n = samples - next_sample;
    if (left == 0) {
        begins[block_count] = thread_ns();
        if (n == 0) {
            return 0;
        }
        block_count++;
        left = n < block_samples ? n : block_samples;
    }
    n = left < capacity ? left : capacity;
    memcpy(block, audio + next_sample, n * sizeof *block);
    next_sample += n;
    left -= n;
    return n;
}

size_t board_skip_audio(void)
{
    int16_t skipped[16];
    size_t n, all = 0;
    do {
        n = board_read_audio(skipped, sizeof skipped / sizeof *skipped);
        all += n;
    } while (left > 0);
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
    const result_t result = {(int32_t)next_sample, {adv_q14[0], adv_q14[1], adv_q14[2]}};
    if (result_count == most_results) {
        most_results *= 2u;
        results = realloc(results, most_results * sizeof *results);
        if (results == NULL) {
            fail("memory");
        }
    }
    results[result_count++] = result;
}

void board_exit(int code)
{
    const uint8_t *deepest = stack_limit;
    uint64_t used;
    begins[block_count] = thread_ns();
    /* Before anything else is called, which needs stack too. */
    while (deepest < stack_top && *deepest == PAINT) {
        deepest++;
    }
    used = (uint64_t)(stack_top - deepest);
    write_file("stack", &used, sizeof used);
    write_file("results", results, result_count * sizeof *results);
    write_file("blocks", begins, (block_count + 1u) * sizeof *begins);
    exit(code);
}

static void *run(void *unused)
{
    /* Above lies what the C library keeps for the thread. */
    stack_top = __builtin_frame_address(0);
    (void)unused;
    board_exit(firmware_main());
}

int main(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    read_audio();
    /* A block has a beginning and usually a result, and so has the end. */
    most_results = samples / block_samples + 2u;
    begins = allocate(most_results * sizeof *begins);
    results = allocate(most_results * sizeof *results);
#ifdef EDGEKIT_TRACE
    traces = open_file("traces", "wb");
#endif
    /* Below the stack nothing can be touched: when it overflows, the program ends. */
    stack_limit = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack_limit == MAP_FAILED || mprotect(stack_limit, GUARD_BYTES, PROT_NONE) != 0) {
        fail("stack");
    }
    stack_limit += GUARD_BYTES;
    memset(stack_limit, PAINT, STACK_BYTES);
    error = pthread_attr_init(&attributes);
    error = error ? error : pthread_attr_setstack(&attributes, stack_limit, STACK_BYTES);
    error = error ? error : pthread_create(&thread, &attributes, run, NULL);
    if (error != 0) {
        (void)fprintf(stderr, "a stack of %zu bytes: %s\n", STACK_BYTES, strerror(error));
        return EXIT_FAILURE;
    }
    (void)pthread_join(thread, NULL);
    return EXIT_FAILURE;
}

#ifdef EDGEKIT_TRACE
void edgekit_trace(int layer, const void *data, size_t bytes);

/* Called by the traced build of the engine with each layer's output. */
void edgekit_trace(int layer, const void *data, size_t bytes)
{
    const uint32_t header[2] = {(uint32_t)layer, (uint32_t)bytes};
    if (fwrite(header, sizeof header, 1, traces) != 1 || fwrite(data, 1, bytes, traces) != bytes) {
        fail("traces");
    }
}
#endif
