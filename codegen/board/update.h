/* New models over the serial line, while the firmware runs. */
#ifndef EDGEKIT_BOARD_UPDATE_H
#define EDGEKIT_BOARD_UPDATE_H

#include "edgekit_model.h"

/* Decide which slot runs, and begin with its model; returns 0 if there is none that may run. */
int update_start(edgekit_t *state);

/* Answer the host, if it has asked. A self-test uses the state; after it, the model begins anew. */
void update_poll(void);

/* The model has heard so many samples more. */
void update_heard(size_t samples);

/* The host may ask for this result. */
void update_publish(const int16_t adv_q14[3]);

/* The interrupt: bytes have come in. */
void serial_interrupt(void);

#endif
