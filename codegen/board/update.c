/*
 * New models over the serial line, while the firmware runs.
 *
 * The update agent and the model share the engine's state: a golden vector is noise that is made here, pushed through a
 * model in its slot, and compared with what stands behind that model's weights.
 */
#include "update.h"

#include "ag_agent.h"
#include "board.h"
#include "edgekit_update.h"

#include <string.h>

#define GOLDEN_MAGIC 0x31474B45u
#define MULTIPLIER 1664525u
#define INCREMENT 1013904223u
#define PIECE 64u

typedef struct {
    uint32_t magic;
    uint32_t seed;
    uint32_t samples;
    int16_t adv_q14[3];
    uint16_t unused;
} golden_t;

static ag_agent_t agent;
static edgekit_t *engine;
static const uint8_t *running; /* weights of the model that runs, or NULL */
static int16_t last_adv_q14[3];
static uint32_t heard, last_heard; /* samples since the model began, at most UINT32_MAX; those that the result stands on */

static const uint8_t *weights_in(unsigned slot)
{
    const uint32_t at = slot == 0u ? EDGEKIT_UPDATE_SLOT_0 : EDGEKIT_UPDATE_SLOT_1;
    return (const uint8_t *)(uintptr_t)(at + AG_HEADER_BYTES);
}

static int read_flash(void *context, uint32_t at, void *to, uint32_t n)
{
    (void)context;
    memcpy(to, (const void *)(uintptr_t)at, n);
    return 0;
}

static int write_flash(void *context, uint32_t at, const void *from, uint32_t n)
{
    (void)context;
    return board_flash_write(at, from, n);
}

static int erase_flash(void *context, uint32_t at)
{
    (void)context;
    return board_flash_erase(at);
}

static void send(void *context, const uint8_t *bytes, uint32_t n)
{
    (void)context;
    board_serial_write(bytes, n);
}

static void reset(void *context)
{
    (void)context;
    board_reset();
}

/* Push the noise of a golden vector; returns 0 if the engine takes it. */
static int push_noise(const golden_t *golden)
{
    uint32_t state = golden->seed, left = golden->samples;
    while (left > 0u) {
        int16_t piece[PIECE];
        const uint32_t n = left < PIECE ? left : PIECE;
        uint32_t i;
        for (i = 0; i < n; i++) {
            state = state * MULTIPLIER + INCREMENT;
            piece[i] = (int16_t)((int32_t)(state >> 18) - 8192);
        }
        if (edgekit_push(engine, piece, n) != 0) {
            return -1;
        }
        left -= n;
    }
#ifdef EDGEKIT_WINDOW_FRAMES
    return edgekit_finish(engine);
#else
    return 0;
#endif
}

/* Run the golden vector on the weights in a slot; 0 if the results are right. The model that runs begins anew. */
static int self_test(void *context, unsigned slot)
{
    const uint8_t *weights = weights_in(slot);
    golden_t golden;
    int16_t adv_q14[3];
    int failed;
    (void)context;
    memcpy(&golden, weights + EDGEKIT_MODEL_BYTES, sizeof golden);
    if (golden.magic != GOLDEN_MAGIC || golden.samples > EDGEKIT_UPDATE_MOST_SAMPLES) {
        return 1;
    }
    edgekit_init(engine, weights);
    failed = push_noise(&golden) != 0 || edgekit_read(engine, adv_q14) != 0 ||
             memcmp(adv_q14, golden.adv_q14, sizeof adv_q14) != 0;
    if (running != NULL) {
        edgekit_init(engine, running);
        heard = 0;
    }
    return failed ? 2 : 0;
}

static uint32_t read_adv(void *context, int16_t adv_q14[3])
{
    (void)context;
    memcpy(adv_q14, last_adv_q14, sizeof last_adv_q14);
    return last_heard;
}

static const ag_config_t config = {
    NULL,
    {NULL,
     {{{EDGEKIT_UPDATE_SLOT_0, EDGEKIT_UPDATE_SLOT_BYTES},
       {EDGEKIT_UPDATE_SLOT_1, EDGEKIT_UPDATE_SLOT_BYTES},
       {EDGEKIT_UPDATE_JOURNAL, 2u * AG_SECTOR_BYTES},
       {EDGEKIT_UPDATE_FITTING, EDGEKIT_UPDATE_FITTING_BYTES}}},
     read_flash,
     write_flash,
     erase_flash},
    {EDGEKIT_UPDATE_KEY,
     EDGEKIT_UPDATE_VENDOR,
     EDGEKIT_UPDATE_CLASS,
     EDGEKIT_UPDATE_GRAPH,
     EDGEKIT_UPDATE_ABI_MAJOR,
     EDGEKIT_UPDATE_ABI_MINOR,
     EDGEKIT_UPDATE_KERNELS,
     EDGEKIT_UPDATE_RAM,
     EDGEKIT_UPDATE_OUTPUTS,
     {EDGEKIT_UPDATE_RELEASE, 0}},
    EDGEKIT_UPDATE_FIRMWARE,
    send,
    reset,
    self_test,
    read_adv,
    NULL,
};

int update_start(edgekit_t *state)
{
    unsigned slot;
    engine = state;
    slot = agent_init(&agent, &config);
    running = slot == AG_NO_SLOT ? NULL : weights_in(slot);
    if (running != NULL) {
        edgekit_init(engine, running);
        /* Weights that the engine does not take, since the firmware was programmed anew: others may come. */
        if (edgekit_push(engine, NULL, 0) != 0) {
            running = NULL;
        }
    }
    board_start_serial();
    return running != NULL;
}

void update_poll(void)
{
    agent_poll(&agent);
}

void update_heard(size_t samples)
{
    heard = samples < UINT32_MAX - heard ? heard + (uint32_t)samples : UINT32_MAX;
}

void update_publish(const int16_t adv_q14[3])
{
    memcpy(last_adv_q14, adv_q14, sizeof last_adv_q14);
    last_heard = heard;
}

void serial_interrupt(void)
{
    uint8_t byte;
    while (board_serial_read(&byte)) {
        (void)agent_receive(&agent, byte);
    }
}
