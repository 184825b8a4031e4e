/* The firmware around the model: audio blocks in, arousal, dominance and valence out. */
#include "board.h"
#include "edgekit_model.h"

static edgekit_t state;
static int16_t block[EDGEKIT_BOARD_BLOCK_SAMPLES];

int main(void);

/* Publish a result that has changed since `before`; returns what it stands on. */
static uint32_t publish(uint32_t before)
{
    const uint32_t heard = edgekit_heard(&state);
    int16_t adv_q14[3];
    if ((heard != before || heard == UINT32_MAX) && edgekit_read(&state, adv_q14) == 0) {
        board_write_adv(adv_q14);
    }
    return heard;
}

#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
/* Blocks since the present window began, modulo EDGEKIT_BOARD_EVERY_BLOCKS. */
static uint32_t blocks;

/* Count a block that the model does not hear; returns 0 inside a window. */
static int skip_block(void)
{
    if (blocks < EDGEKIT_BOARD_WINDOW_BLOCKS) {
        return 0;
    }
    blocks = (blocks + 1u) % EDGEKIT_BOARD_EVERY_BLOCKS;
    return 1;
}
#endif

/* A window, or the audio, has ended: publish what it came to. */
static void end_window(uint32_t heard)
{
#ifdef EDGEKIT_WINDOW_FRAMES
    if (edgekit_finish(&state) == 0) {
        (void)publish(heard);
    }
#else
    (void)heard;
#endif
}

int main(void)
{
    uint32_t heard = 0;

    edgekit_init(&state, edgekit_model_data);
    for (;;) {
        const size_t n = board_read_audio(block, EDGEKIT_BOARD_BLOCK_SAMPLES);
        if (n == 0) {
            end_window(heard);
            board_exit(0);
        }
#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
        if (skip_block()) {
            continue;
        }
#endif
        if (edgekit_push(&state, block, n) != 0) {
            board_exit(1);
        }
        heard = publish(heard);
#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
        blocks++;
        if (blocks == EDGEKIT_BOARD_WINDOW_BLOCKS) {
            end_window(heard);
            edgekit_reset(&state);
            heard = 0;
            blocks %= EDGEKIT_BOARD_EVERY_BLOCKS;
        }
#endif
    }
}
