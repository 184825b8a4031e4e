#include "edgekit_model.h"

#include <string.h>

const int32_t edgekit_model_data[4] = {1, 0, 1, 1};

#ifdef EDGEKIT_TRACE
void edgekit_trace(int layer, const void *data, size_t bytes);
#endif

static uint32_t used_in_data = 7;

void edgekit_layer_mean(edgekit_t *e, const int16_t *pcm, size_t n);
void edgekit_layer_range(edgekit_t *e, const int16_t *pcm, size_t n);

__attribute__((noinline)) void edgekit_layer_mean(edgekit_t *e, const int16_t *pcm, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e->sum += (int64_t)pcm[i] * e->model[0];
    }
    e->count += (int64_t)n;
}

__attribute__((noinline)) void edgekit_layer_range(edgekit_t *e, const int16_t *pcm, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pcm[i] < e->minimum) {
            e->minimum = pcm[i];
        }
        if (pcm[i] > e->maximum) {
            e->maximum = pcm[i];
        }
    }
}

void edgekit_reset(edgekit_t *e)
{
    const int32_t *model = e->model;
    memset(e, 0, sizeof *e);
    e->model = model;
    e->minimum = INT16_MAX;
    e->maximum = INT16_MIN;
}

void edgekit_init(edgekit_t *e, const void *model)
{
    e->model = model;
    edgekit_reset(e);
}

int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n)
{
    edgekit_layer_mean(e, pcm, n);
    edgekit_layer_range(e, pcm, n);
#ifdef EDGEKIT_TRACE
    edgekit_trace(0, &e->sum, sizeof e->sum);
    edgekit_trace(1, &e->minimum, 2 * sizeof e->minimum);
#endif
    used_in_data++;
    return 0;
}

int edgekit_read(const edgekit_t *e, int16_t adv_q14[3])
{
    if (e->count == 0 || used_in_data < 8) {
        return -1;
    }
    adv_q14[0] = (int16_t)(e->sum / e->count);
    adv_q14[1] = e->minimum;
    adv_q14[2] = e->maximum;
    return 0;
}

uint32_t edgekit_heard(const edgekit_t *e)
{
    return (uint32_t)e->count;
}
