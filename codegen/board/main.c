/* The firmware around the model: audio blocks in, arousal, dominance and valence out. */
#include "audio.h"
#include "board.h"
#include "edgekit_model.h"
#ifdef EDGEKIT_UPDATES
#include "update.h"
#endif

static edgekit_t state;

int main(void);

/* Publish a result that has changed since `before`; returns what it stands on. */
static uint32_t publish(uint32_t before)
{
    const uint32_t heard = edgekit_heard(&state);
    int16_t adv_q14[3];
    if ((heard != before || heard == UINT32_MAX) && edgekit_read(&state, adv_q14) == 0) {
        board_write_adv(adv_q14);
#ifdef EDGEKIT_UPDATES
        update_publish(adv_q14);
#endif
    }
    return heard;
}

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

#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
/* Begin anew at a block that is not behind the one before: the end of its window was lost. */
static uint32_t begin_window(uint32_t position, uint32_t heard)
{
    static uint32_t expected;
    const int lost = position < expected;
    expected = position + 1u == EDGEKIT_BOARD_WINDOW_BLOCKS ? 0u : position + 1u;
    if (lost) {
        edgekit_reset(&state);
        return 0;
    }
    return heard;
}
#endif

int main(void)
{
    uint32_t heard = 0;
    audio_block_t block;

#ifdef EDGEKIT_UPDATES
    const int runs = update_start(&state);
#else
    edgekit_init(&state, edgekit_model_data);
#endif
    board_start_audio();
    while (audio_next(&block)) {
#ifdef EDGEKIT_UPDATES
        update_poll();
        if (!runs) {
            continue;
        }
#endif
#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
        heard = begin_window(block.position, heard);
#endif
        if (edgekit_push(&state, block.samples, block.count) != 0) {
            board_exit(1);
        }
#ifdef EDGEKIT_UPDATES
        update_heard(block.count);
#endif
        heard = publish(heard);
#ifdef EDGEKIT_BOARD_WINDOW_BLOCKS
        if (block.position + 1u == EDGEKIT_BOARD_WINDOW_BLOCKS) {
            end_window(heard);
            edgekit_reset(&state);
            heard = 0;
        }
#endif
    }
    end_window(heard);
    board_exit(0);
}
