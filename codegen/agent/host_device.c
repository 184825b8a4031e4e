/*
 * The update agent on this machine, with a modelled flash.
 *
 * Ranges: see host_device.h. Not for devices: it allocates.
 * Owner:  the caller owns what host_device_new returns, until host_device_free.
 */
#define _POSIX_C_SOURCE 199309L
#include "host_device.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Count an operation; 1 if it happens whole, 2 if half of it does, 0 if none. */
static int begin(host_flash_t *flash)
{
    if (flash->dead) {
        return 0;
    }
    if (flash->operations++ != flash->cut_at) {
        return 1;
    }
    flash->dead = 1;
    return flash->torn ? 2 : 0;
}

static int flash_read(void *context, uint32_t at, void *to, uint32_t n)
{
    const host_flash_t *flash = &((host_device_t *)context)->flash;
    if (flash->dead || n > flash->size || at > flash->size - n) {
        return -1;
    }
    memcpy(to, flash->bytes + at, n);
    return 0;
}

static int flash_write(void *context, uint32_t at, const void *from, uint32_t n)
{
    host_flash_t *flash = &((host_device_t *)context)->flash;
    const uint8_t *bytes = from;
    uint32_t i, whole;
    int how;
    if (at % AG_WRITE_BYTES != 0u || n % AG_WRITE_BYTES != 0u || n > flash->size || at > flash->size - n) {
        flash->violations++;
        return -1;
    }
    for (i = 0; i < n; i++) {
        if (flash->bytes[at + i] != 0xFFu) {
            flash->violations++;
            return -1;
        }
    }
    how = begin(flash);
    whole = how == 1 ? n : how == 2 ? n / 2u : 0u;
    memcpy(flash->bytes + at, bytes, whole);
    if (how == 2) {
        flash->bytes[at + whole] = bytes[whole] | 0x5Au; /* a cell that was still being written */
    }
    return how == 1 ? 0 : -1;
}

static void pass(uint32_t ms)
{
    struct timespec time;
    time.tv_sec = (time_t)(ms / 1000u);
    time.tv_nsec = (long)(ms % 1000u) * 1000000L;
    if (ms != 0u) {
        (void)nanosleep(&time, NULL);
    }
}

static int flash_erase(void *context, uint32_t at)
{
    host_flash_t *flash = &((host_device_t *)context)->flash;
    uint32_t i, whole;
    int how;
    if (at % AG_SECTOR_BYTES != 0u || AG_SECTOR_BYTES > flash->size || at > flash->size - AG_SECTOR_BYTES) {
        flash->violations++;
        return -1;
    }
    pass(flash->erase_ms);
    how = begin(flash);
    whole = how == 1 ? AG_SECTOR_BYTES : how == 2 ? AG_SECTOR_BYTES / 2u : 0u;
    memset(flash->bytes + at, 0xFF, whole);
    if (how == 2) {
        for (i = 0; i < AG_SECTOR_BYTES / 4u; i++) {
            flash->bytes[at + whole + i] |= 0xA5u; /* cells that were still being erased */
        }
    }
    flash->erases[at / AG_SECTOR_BYTES] += how != 0;
    return how == 1 ? 0 : -1;
}

static void line_send(void *context, const uint8_t *bytes, uint32_t n)
{
    host_device_t *device = context;
    if (n <= device->sent_capacity - device->sent_bytes) {
        memcpy(device->sent + device->sent_bytes, bytes, n);
        device->sent_bytes += n;
    }
}

static void line_reset(void *context)
{
    ((host_device_t *)context)->resets++;
}

static int run_self_test(void *context, unsigned slot)
{
    (void)slot;
    return ((host_device_t *)context)->self_test_result;
}

static uint32_t read_adv(void *context, int16_t adv_q14[3])
{
    const host_device_t *device = context;
    unsigned i;
    for (i = 0; i < 3u; i++) {
        adv_q14[i] = (int16_t)device->adv[i];
    }
    return device->heard;
}

static uint32_t read_battery(void *context)
{
    return ((const host_device_t *)context)->millivolts;
}

static void lay_out(host_device_t *device)
{
    ag_region_t *regions = device->config.flash.layout.regions;
    regions[AG_JOURNAL].bytes = 2u * AG_SECTOR_BYTES;
    regions[AG_FITTING].at = 2u * AG_SECTOR_BYTES;
    regions[AG_FITTING].bytes = device->options.fitting_bytes;
    regions[0].at = regions[AG_FITTING].at + regions[AG_FITTING].bytes;
    regions[0].bytes = device->options.slot_bytes;
    regions[1].at = regions[0].at + regions[0].bytes;
    regions[1].bytes = device->options.slot_bytes;
    device->flash.size = regions[1].at + regions[1].bytes;
}

host_device_t *host_device_new(const host_options_t *options)
{
    host_device_t *device = calloc(1, sizeof *device);
    if (device == NULL) {
        return NULL;
    }
    device->options = *options;
    lay_out(device);
    device->sent_capacity = 4096;
    device->flash.bytes = malloc(device->flash.size);
    device->flash.erases = calloc(device->flash.size / AG_SECTOR_BYTES + 1u, sizeof *device->flash.erases);
    device->sent = malloc(device->sent_capacity);
    if (device->flash.bytes == NULL || device->flash.erases == NULL || device->sent == NULL) {
        host_device_free(device);
        return NULL;
    }
    memset(device->flash.bytes, 0xFF, device->flash.size);
    device->flash.cut_at = UINT32_MAX;
    device->config.context = device;
    device->config.flash.context = device;
    device->config.flash.read = flash_read;
    device->config.flash.write = flash_write;
    device->config.flash.erase = flash_erase;
    device->config.device = device->options.device;
    device->config.firmware = device->options.firmware;
    device->config.send = line_send;
    device->config.reset = line_reset;
    device->config.self_test = run_self_test;
    device->config.read_adv = read_adv;
    device->config.battery = read_battery;
    return device;
}

void host_device_free(host_device_t *device)
{
    if (device != NULL) {
        free(device->flash.bytes);
        free(device->flash.erases);
        free(device->sent);
        free(device);
    }
}

unsigned host_device_start(host_device_t *device)
{
    return agent_init(&device->agent, &device->config);
}

uint32_t host_device_feed(host_device_t *device, const uint8_t *bytes, uint32_t n)
{
    device->sent_bytes = 0;
    while (n-- > 0u) {
        if (agent_receive(&device->agent, *bytes++)) {
            agent_poll(&device->agent);
        }
    }
    return device->sent_bytes;
}

const ag_flash_t *host_device_access(const host_device_t *device) { return &device->config.flash; }
uint8_t *host_device_flash(host_device_t *device) { return device->flash.bytes; }
uint32_t host_device_flash_bytes(const host_device_t *device) { return device->flash.size; }
const uint8_t *host_device_sent(const host_device_t *device) { return device->sent; }
uint32_t host_device_resets(const host_device_t *device) { return device->resets; }
uint32_t host_device_operations(const host_device_t *device) { return device->flash.operations; }
uint32_t host_device_violations(const host_device_t *device) { return device->flash.violations; }
uint32_t host_device_dead(const host_device_t *device) { return device->flash.dead; }

uint32_t host_device_erases(const host_device_t *device, uint32_t sector)
{
    return sector < device->flash.size / AG_SECTOR_BYTES ? device->flash.erases[sector] : 0u;
}

void host_device_cut(host_device_t *device, uint32_t at, uint32_t torn)
{
    device->flash.operations = 0;
    device->flash.cut_at = at;
    device->flash.torn = torn;
    device->flash.dead = 0;
}

void host_device_set_self_test(host_device_t *device, int32_t result)
{
    device->self_test_result = result;
}

void host_device_set_adv(host_device_t *device, const int32_t adv[3], uint32_t heard)
{
    memcpy(device->adv, adv, sizeof device->adv);
    device->heard = heard;
}

void host_device_set_battery(host_device_t *device, uint32_t millivolts)
{
    device->millivolts = millivolts;
}
