/* The update agent on this machine, with a modelled flash: for tests, fuzzing and the stand-alone program. */
#ifndef EDGEKIT_AG_HOST_DEVICE_H
#define EDGEKIT_AG_HOST_DEVICE_H

#include "ag_agent.h"

/*
 * NOR flash: a write needs aligned, erased cells; an erase sets a sector to 0xFF. Operations are counted; at operation
 * `cut_at` the power goes: nothing of it happens, or half of it (torn), and all later calls fail.
 */
typedef struct {
    uint8_t *bytes;
    uint32_t size;
    uint32_t operations; /* writes and erases so far */
    uint32_t cut_at;     /* UINT32_MAX: never */
    uint32_t torn;
    uint32_t dead;
    uint32_t violations; /* what the hardware does not allow: must stay 0 */
    uint32_t *erases;    /* of each sector */
    uint32_t erase_ms;   /* how long an erase takes; the line waits meanwhile */
} host_flash_t;

/* What the caller chooses of a device. */
typedef struct {
    ag_device_t device;
    uint32_t slot_bytes;
    uint32_t fitting_bytes;
    char firmware[16];
} host_options_t;

/* Layout: journal, fitting, slot 0, slot 1. */
typedef struct {
    host_flash_t flash;
    ag_config_t config;
    ag_agent_t agent;
    host_options_t options;
    uint8_t *sent; /* bytes of the line to the host */
    uint32_t sent_bytes;
    uint32_t sent_capacity;
    uint32_t resets;
    int32_t self_test_result;
    int32_t adv[3];
    uint32_t heard;
    uint32_t millivolts;
} host_device_t;

/* NULL if there is no memory; the flash is erased. */
host_device_t *host_device_new(const host_options_t *options);
void host_device_free(host_device_t *device);

/* Power on: returns the slot that runs. */
unsigned host_device_start(host_device_t *device);

/* Bytes come in on the line; answers go to `sent`, from its start. Returns how many bytes these are. */
uint32_t host_device_feed(host_device_t *device, const uint8_t *bytes, uint32_t n);

/* The agent's own way to the flash. */
const ag_flash_t *host_device_access(const host_device_t *device);

uint8_t *host_device_flash(host_device_t *device);
uint32_t host_device_flash_bytes(const host_device_t *device);
const uint8_t *host_device_sent(const host_device_t *device);
uint32_t host_device_resets(const host_device_t *device);
uint32_t host_device_operations(const host_device_t *device);
uint32_t host_device_violations(const host_device_t *device);
uint32_t host_device_dead(const host_device_t *device);
uint32_t host_device_erases(const host_device_t *device, uint32_t sector);

/* Count operations from 0 again, and cut the power at one of them; UINT32_MAX: never. Brings a dead device back. */
void host_device_cut(host_device_t *device, uint32_t at, uint32_t torn);

void host_device_set_self_test(host_device_t *device, int32_t result);
void host_device_set_adv(host_device_t *device, const int32_t adv[3], uint32_t heard);
void host_device_set_battery(host_device_t *device, uint32_t millivolts);

#endif
