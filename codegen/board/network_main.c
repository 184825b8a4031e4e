/* The firmware around a network without audio: what comes as samples are the bytes of its inputs. */
#include "board.h"
#include "edgekit_model.h"

static edgekit_t state;

int main(void);

/* Fill an input; returns 0 where the samples end. */
static int read_input(int8_t *input, size_t bytes)
{
    size_t filled = 0;
    while (filled < bytes) {
        int16_t sample;
        if (board_read_audio(&sample, 1) == 0) {
            return 0;
        }
        input[filled++] = (int8_t)sample;
    }
    return 1;
}

int main(void)
{
    edgekit_init(&state, edgekit_model_data);
    for (;;) {
        size_t index, bytes;
        for (index = 0; index < EDGEKIT_INPUTS; index++) {
            int8_t *input = edgekit_input(&state, index, &bytes);
            if (!read_input(input, bytes)) {
                board_exit(0);
            }
        }
        if (edgekit_invoke(&state) != 0) {
            board_exit(1);
        }
    }
}
