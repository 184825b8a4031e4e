/* A stand-in for the generated engine: a block keeps it busy for as many turns as its first sample says. */
#ifndef EDGEKIT_MODEL_H
#define EDGEKIT_MODEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t blocks;
    uint32_t sum;
} edgekit_t;

extern const int32_t edgekit_model_data[1];

/* Only for a window policy: a window has ended. */
#define EDGEKIT_WINDOW_FRAMES 1

void edgekit_init(edgekit_t *e, const void *model);
int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n);
int edgekit_finish(edgekit_t *e);
int edgekit_read(const edgekit_t *e, int16_t adv_q14[3]);
uint32_t edgekit_heard(const edgekit_t *e);
void edgekit_reset(edgekit_t *e);

#endif
