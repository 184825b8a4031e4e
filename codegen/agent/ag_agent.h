/*
 * The update agent: a model image comes in over a serial line, is checked, tried, and kept or given up.
 *
 *     agent_init(&agent, &config);             at start: decides which slot runs
 *     agent_receive(&agent, byte);             for each byte of the line, from an interrupt if need be
 *     agent_poll(&agent);                      from the main loop: answers, erases and writes
 */
#ifndef EDGEKIT_AG_AGENT_H
#define EDGEKIT_AG_AGENT_H

#include "ag_boot.h"
#include "ag_frame.h"

#define AG_REPLY_BYTES 512u

/* The device around the agent; constant. All functions get `context`. */
typedef struct {
    void *context;
    ag_flash_t flash;
    ag_device_t device;
    const char *firmware; /* its version, as text */
    void (*send)(void *context, const uint8_t *bytes, uint32_t n);
    void (*reset)(void *context);
    /* Run the golden vector on the weights in a slot; 0 if the results are right. */
    int (*self_test)(void *context, unsigned slot);
    /* The present result; returns how much audio it stands on, 0 if there is none. */
    uint32_t (*read_adv)(void *context, int16_t adv_q14[3]);
    /* Millivolts of the battery, 0 if unknown; NULL if there is no such measurement. */
    uint32_t (*battery)(void *context);
} ag_config_t;

/* An upload under way; `length` 0: there is none. */
typedef struct {
    uint32_t length;
    uint32_t offset; /* bytes taken so far */
    uint8_t sha[32]; /* of the whole file */
    uint8_t has_sha;
    uint8_t slot;
    uint8_t tail[AG_WRITE_BYTES]; /* bytes taken and not yet written: offset % 8 */
    uint8_t result;               /* of the checks at the end, AG_OK or what is wrong */
} ag_upload_t;

/* The caller owns it, 1.8 KB; nothing in it needs to survive a reset. */
typedef struct {
    const ag_config_t *config;
    ag_boot_t boot;
    ag_upload_t upload;
    ag_frame_t frame;
    uint8_t framed[AG_FRAMED_BYTES(AG_REPLY_BYTES)]; /* the answer, from the third byte on */
    uint8_t tested; /* the running image has passed its self-test since the start */
    uint8_t reset;  /* wanted once the answer is out */
} ag_agent_t;

/* Start: returns the slot that runs, or AG_NO_SLOT. An image on trial has its self-test here. */
unsigned agent_init(ag_agent_t *agent, const ag_config_t *config);

/* Take a byte of the line; returns 1 if a packet waits for agent_poll. What comes before that is dropped. */
int agent_receive(ag_agent_t *agent, uint8_t byte);

/* Answer the packet that waits, if one does. */
void agent_poll(ag_agent_t *agent);

#endif
