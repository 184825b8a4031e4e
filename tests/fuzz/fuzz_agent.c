/*
 * Fuzzing of the update agent (libFuzzer): what comes in on the line, in packets and as images.
 *
 * Layout: the first byte of an input chooses: 0 bytes of the line; 1 packets, each behind its length (u16, little-endian), a
 *         length of 0 is a reset; 2 the contents of the free slot, which is then listed, hashed, tested and confirmed;
 *         3 a message of CBOR, read for fields of every kind; 4 a packet, which is framed and must come back the same; the two
 *         bytes before it damage one bit of the line, which must not make another packet of it.
 * Holds:  the flash is used as hardware allows, fitting bytes stay, and the device still starts with an image that is signed.
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
    if (size >= AG_HEADER_BYTES && ag_image_header(&image, data, (uint32_t)size) == AG_OK) {
        demand(image.payload < image.hashed && image.hashed < image.total && image.total <= size);
    }
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

/* Values must lie in the message: a copy of its own length shows it. */
static void take_message(const uint8_t *data, size_t size)
{
    static const ag_field_name_t names[] = {{"d", AG_TEXT}, {"off", AG_UINT}, {"data", AG_BYTES}, {"confirm", AG_BOOL}};
    ag_value_t fields[4];
    unsigned i;
    uint8_t *message = malloc(size + 1u);
    demand(message != NULL);
    memcpy(message, data, size);
    message = realloc(message, size == 0u ? 1u : size);
    if (ag_cbor_read(message, size, names, 4, fields) == 0) {
        for (i = 0; i < 4u; i++) {
            const uint8_t *bytes = fields[i].bytes;
            const int is_string = names[i].kind == AG_TEXT || names[i].kind == AG_BYTES;
            demand(!fields[i].present || !is_string ||
                   (bytes >= message && fields[i].number <= (size_t)(message + size - bytes)));
            demand(names[i].kind != AG_BOOL || fields[i].number <= 1u);
        }
    }
    free(message);
}

typedef struct {
    ag_frame_t frame;
    uint8_t flip; /* damages one bit of the first line */
    uint8_t at;
} line_t;

static void carry(void *context, const uint8_t *bytes, uint32_t n)
{
    line_t *line = context;
    uint32_t i;
    demand(n <= 127u && bytes[n - 1u] == (uint8_t)'\n');
    for (i = 0; i < n; i++) {
        const int damaged = line->flip != 0u && i == line->at % n;
        (void)ag_frame_receive(&line->frame, damaged ? bytes[i] ^ line->flip : bytes[i]);
        line->flip = damaged ? 0u : line->flip;
    }
}

/* What is framed comes back; with a bit of it damaged it does not, or is the same. */
static void take_frame(const uint8_t *data, size_t size)
{
    static line_t line;
    static uint8_t framed[AG_FRAMED_BYTES(AG_PACKET_BYTES)];
    const uint32_t n = size - 2u < AG_PACKET_BYTES ? (uint32_t)size - 2u : AG_PACKET_BYTES;
    int whole;
    memset(&line, 0, sizeof line);
    line.flip = (uint8_t)(data[0] == 0u ? 0u : 1u << (data[0] & 7u));
    line.at = data[1];
    whole = line.flip == 0u;
    memcpy(framed + 2, data + 2, n);
    ag_frame_send(framed, n, carry, &line);
    demand(!whole || line.frame.complete);
    demand(!line.frame.complete ||
           (ag_frame_bytes(&line.frame) == n && memcmp(line.frame.packet, data + 2, n) == 0));
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

/* A start trusts its record: what runs must be signed all the same. */
static int runs_what_is_signed(const host_device_t *device)
{
    const ag_flash_t *flash = &device->config.flash;
    const unsigned slot = device->agent.boot.running;
    ag_image_t image;
    if (slot == 0u && memcmp(device->flash.bytes + flash->layout.regions[0].at, good_image, sizeof good_image) == 0) {
        return 1; /* known, which is faster */
    }
    return slot != AG_NO_SLOT && ag_image_check(&image, flash, slot, &device->config.device, 0) == AG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_device_t *device;
    unsigned i;
    if (size == 0u) {
        return 0;
    }
    if (data[0] == 3u) {
        take_message(data + 1, size - 1u);
        return 0;
    }
    if (data[0] == 4u) {
        if (size >= 3u) {
            take_frame(data + 1, size - 1u);
        }
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
    (void)host_device_start(device);
    demand(runs_what_is_signed(device));
    demand(device->flash.violations == 0u);
    for (i = 0; i < AG_SECTOR_BYTES; i++) {
        demand(device->flash.bytes[FITTING_AT + i] == (uint8_t)(i * 31u));
    }
    return 0;
}
