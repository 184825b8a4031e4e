/*
 * Fuzzing of the update agent (libFuzzer): what comes in on the line, in packets and as images.
 *
 * Layout: the first byte of an input chooses: 0 bytes of the line; 1 packets, each behind its length (u16, little-endian), a
 *         length of 0 is a reset; 2 the contents of the free slot, which is then listed, hashed, tested and confirmed.
 * Holds:  the flash is used as hardware allows, fitting bytes stay, and the device still starts with an image.
 */
#include "host_device.h"
#include "ag_server.h"

#include <stdlib.h>
#include <string.h>

#include "good_image.h"

#define FITTING_AT (2u * AG_SECTOR_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) {
        abort();
    }
}

static host_device_t *make_device(void)
{
    host_options_t options;
    host_device_t *device;
    unsigned i;
    memset(&options, 0, sizeof options);
    options.slot_bytes = 2u * AG_SECTOR_BYTES;
    options.fitting_bytes = AG_SECTOR_BYTES;
    memcpy(options.device.key, good_key, sizeof good_key);
    memcpy(options.device.vendor, good_image + GOOD_TLVS + AG_VENDOR, 16);
    memcpy(options.device.kind, good_image + GOOD_TLVS + AG_KIND, 16);
    memcpy(options.device.graph, good_image + GOOD_TLVS + AG_GRAPH, 32);
    options.device.abi_major = 1;
    options.device.abi_minor = 2;
    options.device.kernels = 7;
    options.device.ram = 65536;
    options.device.outputs = 3;
    options.device.firmware.release = 1u << 24;
    memcpy(options.firmware, "1.0.0", 6);
    device = host_device_new(&options);
    demand(device != NULL);
    for (i = 0; i < AG_SECTOR_BYTES; i++) {
        device->flash.bytes[FITTING_AT + i] = (uint8_t)(i * 31u);
    }
    memcpy(device->flash.bytes + device->config.flash.layout.regions[0].at, good_image, sizeof good_image);
    demand(host_device_start(device) == 0u);
    return device;
}

static void serve(host_device_t *device, const uint8_t *packet, uint32_t n)
{
    const uint32_t answer = ag_serve(&device->agent, packet, n);
    demand(answer <= AG_REPLY_BYTES);
}

static void take_packets(host_device_t *device, const uint8_t *data, size_t size)
{
    while (size >= 2u) {
        uint32_t n = ag_read_u16(data);
        data += 2;
        size -= 2u;
        n = n <= size ? n : (uint32_t)size;
        if (n == 0u) {
            (void)host_device_start(device);
        } else {
            /* A copy of its own length: reading behind it is found. */
            uint8_t *packet = malloc(n);
            demand(packet != NULL);
            memcpy(packet, data, n);
            serve(device, packet, n);
            free(packet);
        }
        data += n;
        size -= n;
    }
}

static void take_image(host_device_t *device, const uint8_t *data, size_t size)
{
    static const uint8_t list[] = {0x08, 0, 0, 1, 0, 1, 0, 0, 0xA0};
    static const uint8_t self_test[] = {0x0A, 0, 0, 7, 0, 64, 0, 2, 0xA1, 0x64, 's', 'l', 'o', 't', 0x01};
    const ag_region_t *slot = &device->config.flash.layout.regions[1];
    ag_image_t image;
    memcpy(device->flash.bytes + slot->at, data, size < slot->bytes ? size : slot->bytes);
    serve(device, list, sizeof list);
    serve(device, self_test, sizeof self_test);
    if (ag_image_check(&image, &device->config.flash, 1, &device->config.device,
                       device->agent.boot.journal.last.floor) == AG_OK) {
        demand(image.total <= slot->bytes && image.hashed < image.total && image.payload < image.hashed);
        demand(ag_boot_test(&device->agent.boot, 1) == AG_OK);
        demand(host_device_start(device) == 1u);
        demand(ag_boot_confirm(&device->agent.boot) == AG_OK);
    }
}

/* The one device, as it was made: its first start checks a signature, which would take most of the time. */
static host_device_t *fresh_device(void)
{
    static host_device_t *device;
    static uint8_t *flash;
    if (device == NULL) {
        device = make_device();
        flash = malloc(device->flash.size);
        demand(flash != NULL);
        memcpy(flash, device->flash.bytes, device->flash.size);
    }
    memcpy(device->flash.bytes, flash, device->flash.size);
    demand(host_device_start(device) == 0u);
    return device;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_device_t *device;
    unsigned i;
    if (size == 0u) {
        return 0;
    }
    device = fresh_device();
    if (data[0] == 0u) {
        (void)host_device_feed(device, data + 1, (uint32_t)size - 1u);
    } else if (data[0] == 1u) {
        take_packets(device, data + 1, size - 1u);
    } else {
        take_image(device, data + 1, size - 1u);
    }
    demand(host_device_start(device) != AG_NO_SLOT);
    demand(device->flash.violations == 0u);
    for (i = 0; i < AG_SECTOR_BYTES; i++) {
        demand(device->flash.bytes[FITTING_AT + i] == (uint8_t)(i * 31u));
    }
    return 0;
}
