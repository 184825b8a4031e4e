/* Lets a test program watch the generated engine on the host: forwards traces to a callback. */
#include "edgekit_model.h"

typedef void (*sink_t)(int layer, const void *data, size_t bytes);

static sink_t sink;

void harness_set_sink(sink_t new_sink);
size_t harness_state_bytes(void);

void harness_set_sink(sink_t new_sink)
{
    sink = new_sink;
}

size_t harness_state_bytes(void)
{
    return EDGEKIT_STATE_BYTES;
}

void edgekit_trace(int layer, const void *data, size_t bytes)
{
    if (sink != NULL) {
        sink(layer, data, bytes);
    }
}
