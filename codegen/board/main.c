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

int main(void)
{
    uint32_t heard = 0;

    edgekit_init(&state, edgekit_model_data);
    for (;;) {
        size_t n = board_read_audio(block, EDGEKIT_BOARD_BLOCK_SAMPLES);
        if (n == 0) {
#ifdef EDGEKIT_WINDOW_FRAMES
            if (edgekit_finish(&state) == 0) {
                heard = publish(heard);
            }
#endif
            board_exit(0);
        }
        if (edgekit_push(&state, block, n) != 0) {
            board_exit(1);
        }
        heard = publish(heard);
    }
}
