/* A stand-in for the generated engine: the mean, the minimum and the maximum of the samples so far. */
#ifndef EDGEKIT_MODEL_H
#define EDGEKIT_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define EDGEKIT_STATE_BYTES 40u

typedef struct {
    const int32_t *model;
    int64_t sum;
    int64_t count;
    int16_t minimum;
    int16_t maximum;
    int16_t scaled[4];
} edgekit_t;

extern const int32_t edgekit_model_data[4];

void edgekit_init(edgekit_t *e, const void *model);
int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n);
int edgekit_read(const edgekit_t *e, int16_t adv_q14[3]);
uint32_t edgekit_heard(const edgekit_t *e);
void edgekit_reset(edgekit_t *e);

#endif
