/* An engine that is not one: its results are the number of samples, their sum, and a word of the weights. */
#ifndef EDGEKIT_MODEL_H
#define EDGEKIT_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define EDGEKIT_MODEL_BYTES 100u

typedef struct {
    const uint8_t *model;
    uint32_t heard;
    uint32_t sum;
} edgekit_t;

void edgekit_init(edgekit_t *e, const void *model);
int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n);
int edgekit_read(const edgekit_t *e, int16_t adv_q14[3]);

#endif
