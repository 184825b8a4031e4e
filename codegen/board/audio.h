/* Audio on its way to the model: an interrupt for every block, and a queue of those that wait. */
#ifndef EDGEKIT_AUDIO_H
#define EDGEKIT_AUDIO_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const int16_t *samples;
    size_t count;
    uint32_t position; /* in its window, in blocks; 0 where the model hears everything */
} audio_block_t;

/*
 * Give back the block that was got last, and sleep until the next is there; returns 0 once the audio has ended.
 * Blocks that arrive while EDGEKIT_BOARD_BUFFER_BLOCKS of them are not given back are lost.
 */
int audio_next(audio_block_t *block);

/* The interrupt: a block of audio has arrived. */
void audio_interrupt(void);

#endif
