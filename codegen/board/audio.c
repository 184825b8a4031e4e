/* Audio on its way to the model: an interrupt for every block, and a queue of those that wait. */
#include "audio.h"

#include "board.h"
#ifdef EDGEKIT_UPDATES
#include "update.h"
#endif

#define BLOCKS EDGEKIT_BOARD_BUFFER_BLOCKS

static int16_t audio_queue[BLOCKS][EDGEKIT_BOARD_BLOCK_SAMPLES];
/* The last block of the audio may be short: its place, counted from 1, and its samples. */
static volatile uint32_t short_place;
static volatile size_t short_count;
/* Modulo twice the blocks of the queue: equal, and none waits; BLOCKS apart, and the queue is full. */
static volatile uint32_t arrived, given_back;
static volatile uint32_t ended;
static uint32_t holding;

static uint32_t following(uint32_t number)
{
    return number + 1u == 2u * BLOCKS ? 0u : number + 1u;
}

static uint32_t place_of(uint32_t number)
{
    return number < BLOCKS ? number : number - BLOCKS;
}

static int is_full(void)
{
    return arrived != given_back && place_of(arrived) == place_of(given_back);
}

#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
#if EDGEKIT_BOARD_WINDOW_BLOCKS > 65536u
#error "a window of more than 65,536 blocks: positions have 16 bits"
#endif
static volatile uint16_t positions[BLOCKS];

/* Returns the position of the block that has arrived, counted from the beginning of its window. */
static uint32_t count_block(void)
{
    static uint32_t next;
    const uint32_t position = next;
    next = position + 1u == EDGEKIT_BOARD_EVERY_BLOCKS ? 0u : position + 1u;
    return position;
}

/* Once a block of a window is lost, the rest of it is not heard either: its result would be of something else. */
static int is_heard(uint32_t position)
{
    static uint32_t given_up;
    if (position == 0u) {
        given_up = 0;
    }
    if (position < EDGEKIT_BOARD_WINDOW_BLOCKS && is_full()) {
        given_up = 1;
    }
    return position < EDGEKIT_BOARD_WINDOW_BLOCKS && !given_up;
}

#define SET_POSITION(place, position) (positions[place] = (uint16_t)(position))
#define POSITION(place) (positions[place])
#else
static uint32_t count_block(void)
{
    return 0;
}

static int is_heard(uint32_t position)
{
    (void)position;
    return !is_full();
}

#define SET_POSITION(place, position) ((void)(position))
#define POSITION(place) 0u
#endif

void audio_interrupt(void)
{
    const uint32_t position = count_block();
    size_t count;
    if (!is_heard(position)) {
        count = board_skip_audio();
    } else {
        const uint32_t place = place_of(arrived);
        count = board_read_audio(audio_queue[place], EDGEKIT_BOARD_BLOCK_SAMPLES);
        SET_POSITION(place, position);
        if (count < EDGEKIT_BOARD_BLOCK_SAMPLES) {
            short_count = count;
            short_place = place + 1u;
        }
        if (count > 0u) {
            arrived = following(arrived);
        }
    }
    if (count == 0u) {
        ended = 1;
    }
}

int audio_next(audio_block_t *block)
{
    uint32_t place;
    if (holding) {
        given_back = following(given_back);
        holding = 0;
    }
    while (arrived == given_back) {
        /* Looked at once more behind `ended`: the last block may have arrived in between. */
        if (ended && arrived == given_back) {
            return 0;
        }
        board_wait();
#ifdef EDGEKIT_UPDATES
        update_poll();
#endif
    }
    place = place_of(given_back);
    holding = 1;
    block->samples = audio_queue[place];
    block->count = place + 1u == short_place ? short_count : EDGEKIT_BOARD_BLOCK_SAMPLES;
    block->position = POSITION(place);
    board_take_audio();
    return 1;
}
