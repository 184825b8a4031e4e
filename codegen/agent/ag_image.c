/*
 * Model images: reading and checking.
 *
 * Layout: header of 32 bytes, payload, protected TLVs (security counter, dependency, vendor, class, ABI, graph, needs,
 *         provenance), then SHA-256, key hash and signature: exactly these, each once, in this order, as imgtool writes
 *         them. All integers little-endian. Whatever else MCUboot allows is refused.
 * Ranges: every byte may be hostile; lengths are compared before they are added or read.
 * Owner:  the caller owns the image's description, 332 bytes.
 */
#include "ag_image.h"
#include "ag_ed25519.h"

#include <string.h>

#define IMAGE_MAGIC 0x96F3B83Du
#define NON_BOOTABLE 0x10u
#define TRAILER_BYTES ((uint32_t)AG_TLV_BYTES)

/* Types and lengths as they follow each other; the two heads of lists, 0x6908 and 0x6907, say the length of all. */
static const uint16_t tlv_heads[][2] = {
    {0x6908, 168}, {0x50, 4}, {0x40, 12}, {0x74, 16}, {0x75, 16}, {0xA0, 8},  {0xA1, 32},
    {0xA2, 12},    {0xA3, 32}, {0x6907, 144}, {0x10, 32}, {0x01, 32}, {0x24, 64},
};

int ag_version_above(const ag_version_t *a, const ag_version_t *b)
{
    return a->release != b->release ? a->release > b->release : a->build > b->build;
}

static void read_version(ag_version_t *version, const uint8_t *bytes)
{
    version->release = ((uint32_t)bytes[0] << 24) | ((uint32_t)bytes[1] << 16) | ag_read_u16(bytes + 2);
    version->build = ag_read_u32(bytes + 4);
}

int ag_image_header(ag_image_t *image, const uint8_t header[AG_HEADER_BYTES], uint32_t limit)
{
    const uint32_t payload = ag_read_u32(header + 12);
    if (ag_read_u32(header) != IMAGE_MAGIC || ag_read_u32(header + 4) != 0u ||
        ag_read_u32(header + 8) != (AG_HEADER_BYTES | ((uint32_t)AG_PROTECTED_BYTES << 16)) ||
        ag_read_u32(header + 16) != NON_BOOTABLE || ag_read_u32(header + 28) != 0u || payload == 0u ||
        limit < AG_HEADER_BYTES + TRAILER_BYTES || payload > limit - AG_HEADER_BYTES - TRAILER_BYTES) {
        return AG_BAD_IMAGE;
    }
    read_version(&image->version, header + 20);
    image->payload = payload;
    image->hashed = AG_HEADER_BYTES + payload + AG_PROTECTED_BYTES;
    image->total = AG_HEADER_BYTES + payload + TRAILER_BYTES;
    return AG_OK;
}

int ag_image_read(ag_image_t *image, const ag_flash_t *flash, unsigned slot)
{
    const uint32_t at = flash->layout.regions[slot].at;
    const uint8_t *head = image->tlvs;
    unsigned i;
    if (ag_flash_read(flash, at, image->tlvs, AG_HEADER_BYTES) != AG_OK) {
        return AG_FLASH_ERROR;
    }
    if (ag_image_header(image, image->tlvs, flash->layout.regions[0].bytes) != AG_OK) {
        return AG_BAD_IMAGE;
    }
    if (ag_flash_read(flash, at + AG_HEADER_BYTES + image->payload, image->tlvs, TRAILER_BYTES) != AG_OK) {
        return AG_FLASH_ERROR;
    }
    for (i = 0; i < sizeof tlv_heads / sizeof tlv_heads[0]; i++) {
        const uint32_t type = tlv_heads[i][0], bytes = tlv_heads[i][1];
        if (ag_read_u32(head) != (type | (bytes << 16))) {
            return AG_BAD_IMAGE;
        }
        head += type >= 0x6907u ? 4u : 4u + bytes;
    }
    return AG_OK;
}

int ag_flash_digest(const ag_flash_t *flash, uint32_t at, uint32_t n, uint8_t digest[AG_SHA256_BYTES])
{
    ag_sha256_t hash;
    uint8_t piece[64];
    ag_sha256_init(&hash);
    while (n > 0u) {
        const uint32_t some = n < sizeof piece ? n : (uint32_t)sizeof piece;
        if (ag_flash_read(flash, at, piece, some) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        ag_sha256_update(&hash, piece, some);
        at += some;
        n -= some;
    }
    ag_sha256_final(&hash, digest);
    return AG_OK;
}

void ag_key_hash(const uint8_t key[32], uint8_t digest[AG_SHA256_BYTES])
{
    /* Sequence of the algorithm id-Ed25519 (RFC 8410) and a bit string of 32 bytes. */
    static const uint8_t der[12] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    ag_sha256_t hash;
    ag_sha256_init(&hash);
    ag_sha256_update(&hash, der, sizeof der);
    ag_sha256_update(&hash, key, 32);
    ag_sha256_final(&hash, digest);
}

/* Does a signed image fit the device? */
static int check_fit(const ag_image_t *image, const ag_device_t *device, uint32_t floor)
{
    ag_version_t firmware;
    const uint32_t align = ag_read_u16(image->tlvs + AG_NEEDS + 8);
    read_version(&firmware, image->tlvs + AG_DEPENDENCY + 4);
    if (memcmp(image->tlvs + AG_VENDOR, device->vendor, 16) != 0 || memcmp(image->tlvs + AG_KIND, device->kind, 16) != 0) {
        return AG_WRONG_TARGET;
    }
    /* The weights run in place, 32 bytes into a sector. */
    if (ag_read_u16(image->tlvs + AG_ABI) != device->abi_major || ag_read_u16(image->tlvs + AG_ABI + 2) > device->abi_minor ||
        ag_read_u32(image->tlvs + AG_ABI + 4) != device->kernels || memcmp(image->tlvs + AG_GRAPH, device->graph, 32) != 0 ||
        ag_read_u32(image->tlvs + AG_DEPENDENCY) != 0u || ag_version_above(&firmware, &device->firmware) ||
        ag_read_u16(image->tlvs + AG_NEEDS + 10) != device->outputs || align == 0u || AG_HEADER_BYTES % align != 0u) {
        return AG_GRAPH_MISMATCH;
    }
    if (ag_read_u32(image->tlvs + AG_NEEDS) > device->ram || ag_read_u32(image->tlvs + AG_NEEDS + 4) > image->payload) {
        return AG_TOO_BIG;
    }
    return ag_read_u32(image->tlvs + AG_COUNTER) < floor ? AG_DOWNGRADE : AG_OK;
}

int ag_image_check(ag_image_t *image, const ag_flash_t *flash, unsigned slot, const ag_device_t *device,
                   uint32_t floor)
{
    uint8_t digest[AG_SHA256_BYTES];
    int result = ag_image_read(image, flash, slot);
    if (result != AG_OK) {
        return result;
    }
    ag_key_hash(device->key, digest);
    if (memcmp(digest, image->tlvs + AG_KEY_HASH, sizeof digest) != 0) {
        return AG_WRONG_KEY;
    }
    result = ag_flash_digest(flash, flash->layout.regions[slot].at, image->hashed, digest);
    if (result != AG_OK) {
        return result;
    }
    if (memcmp(digest, image->tlvs + AG_DIGEST, sizeof digest) != 0 ||
        !ag_ed25519_verify(image->tlvs + AG_SIGNATURE, device->key, digest, sizeof digest)) {
        return AG_BAD_IMAGE;
    }
    return check_fit(image, device, floor);
}
