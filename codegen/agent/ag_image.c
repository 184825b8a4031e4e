/*
 * Model images: reading and checking.
 *
 * Layout: header of 32 bytes, payload, protected TLVs (each of the known ones exactly once, in any order, nothing else),
 *         then SHA-256, key hash and signature, in this order, and nothing else. All integers little-endian.
 * Ranges: every byte may be hostile; lengths are compared before they are added or read.
 * Owner:  the caller owns the image's description, 280 bytes.
 */
#include "ag_image.h"
#include "ag_ed25519.h"

#include <string.h>

#define IMAGE_MAGIC 0x96F3B83Du
#define PROTECTED_MAGIC 0x6908u
#define TLV_MAGIC 0x6907u
#define NON_BOOTABLE 0x10u
#define NOWHERE UINT16_MAX
#define PLACE(field) ((uint16_t)offsetof(ag_image_t, field))

typedef struct {
    uint16_t type;
    uint16_t bytes;
    uint16_t place; /* in ag_image_t */
} tlv_t;

static const tlv_t protected_tlvs[] = {
    {0x50, 4, PLACE(counter)},     {0x40, 12, PLACE(dependency)}, {0x74, 16, PLACE(vendor)},
    {0x75, 16, PLACE(kind)},       {0xA0, 8, PLACE(abi)},         {0xA1, 32, PLACE(graph)},
    {0xA2, 12, PLACE(needs)},      {0xA3, 32, NOWHERE},
};
static const tlv_t plain_tlvs[] = {
    {0x10, 32, PLACE(digest)},
    {0x01, 32, PLACE(key_hash)},
    {0x24, 64, PLACE(signature)},
};

#define COUNT(table) ((unsigned)(sizeof(table) / sizeof(table)[0]))
#define ALL_PROTECTED ((1u << COUNT(protected_tlvs)) - 1u)
#define PLAIN_BYTES (4u + 4u * 3u + 32u + 32u + 64u)

int ag_version_compare(const ag_version_t *a, const ag_version_t *b)
{
    const uint64_t x = ((uint64_t)a->major << 56) | ((uint64_t)a->minor << 48) | ((uint64_t)a->revision << 32) | a->build;
    const uint64_t y = ((uint64_t)b->major << 56) | ((uint64_t)b->minor << 48) | ((uint64_t)b->revision << 32) | b->build;
    return x == y ? 0 : x < y ? -1 : 1;
}

static void read_version(ag_version_t *version, const uint8_t *bytes)
{
    version->major = bytes[0];
    version->minor = bytes[1];
    version->revision = (uint16_t)ag_read_u16(bytes + 2);
    version->build = ag_read_u32(bytes + 4);
}

int ag_image_header(ag_image_t *image, const uint8_t header[AG_HEADER_BYTES], uint32_t limit)
{
    const uint32_t payload = ag_read_u32(header + 12), protected_bytes = ag_read_u16(header + 10);
    if (ag_read_u32(header) != IMAGE_MAGIC || ag_read_u32(header + 4) != 0u ||
        ag_read_u16(header + 8) != AG_HEADER_BYTES || ag_read_u32(header + 16) != NON_BOOTABLE ||
        ag_read_u32(header + 28) != 0u || payload == 0u || protected_bytes < 4u ||
        limit < AG_HEADER_BYTES + protected_bytes + PLAIN_BYTES ||
        payload > limit - AG_HEADER_BYTES - protected_bytes - PLAIN_BYTES) {
        return AG_BAD_IMAGE;
    }
    read_version(&image->version, header + 20);
    image->payload = payload;
    image->hashed = AG_HEADER_BYTES + payload + protected_bytes;
    image->total = image->hashed + PLAIN_BYTES;
    return AG_OK;
}

/* Read the value of a TLV to its place. */
static int take(ag_image_t *image, const ag_flash_t *flash, unsigned slot, uint32_t offset, const tlv_t *tlv)
{
    if (tlv->place == NOWHERE) {
        return AG_OK;
    }
    return ag_flash_read(flash, &flash->layout.slots[slot], offset, (uint8_t *)image + tlv->place, tlv->bytes);
}

/* The known TLV at `offset`, or NULL; `*result` says whether that is the flash's fault. */
static const tlv_t *known(const ag_flash_t *flash, unsigned slot, uint32_t offset, const tlv_t *table, unsigned count,
                          int *result)
{
    uint8_t head[4];
    unsigned i;
    *result = ag_flash_read(flash, &flash->layout.slots[slot], offset, head, sizeof head);
    for (i = 0; *result == AG_OK && i < count; i++) {
        if (ag_read_u16(head) == table[i].type && ag_read_u16(head + 2) == table[i].bytes) {
            return &table[i];
        }
    }
    return NULL;
}

static int read_protected(ag_image_t *image, const ag_flash_t *flash, unsigned slot)
{
    const uint32_t end = image->hashed;
    uint32_t offset = AG_HEADER_BYTES + image->payload;
    unsigned seen = 0;
    uint8_t head[4];
    int result = ag_flash_read(flash, &flash->layout.slots[slot], offset, head, sizeof head);
    if (result != AG_OK) {
        return result;
    }
    if (ag_read_u16(head) != PROTECTED_MAGIC || ag_read_u16(head + 2) != end - offset) {
        return AG_BAD_IMAGE;
    }
    for (offset += 4u; offset < end;) {
        const tlv_t *tlv =
            end - offset < 4u ? NULL : known(flash, slot, offset, protected_tlvs, COUNT(protected_tlvs), &result);
        unsigned bit;
        if (tlv == NULL || tlv->bytes > end - offset - 4u) {
            return result != AG_OK ? result : AG_BAD_IMAGE;
        }
        bit = 1u << (unsigned)(tlv - protected_tlvs);
        if ((seen & bit) != 0u) {
            return AG_BAD_IMAGE;
        }
        seen |= bit;
        if (take(image, flash, slot, offset + 4u, tlv) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        offset += 4u + tlv->bytes;
    }
    return seen == ALL_PROTECTED ? AG_OK : AG_BAD_IMAGE;
}

static int read_plain(ag_image_t *image, const ag_flash_t *flash, unsigned slot)
{
    uint32_t offset = image->hashed;
    uint8_t head[4];
    unsigned i;
    int result = ag_flash_read(flash, &flash->layout.slots[slot], offset, head, sizeof head);
    if (result != AG_OK) {
        return result;
    }
    if (ag_read_u16(head) != TLV_MAGIC || ag_read_u16(head + 2) != PLAIN_BYTES) {
        return AG_BAD_IMAGE;
    }
    offset += 4u;
    for (i = 0; i < COUNT(plain_tlvs); i++) {
        const tlv_t *tlv = known(flash, slot, offset, &plain_tlvs[i], 1, &result);
        if (tlv == NULL) {
            return result != AG_OK ? result : AG_BAD_IMAGE;
        }
        if (take(image, flash, slot, offset + 4u, tlv) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        offset += 4u + tlv->bytes;
    }
    return AG_OK;
}

int ag_image_read(ag_image_t *image, const ag_flash_t *flash, unsigned slot)
{
    uint8_t header[AG_HEADER_BYTES];
    int result = ag_flash_read(flash, &flash->layout.slots[slot], 0, header, sizeof header);
    if (result == AG_OK) {
        result = ag_image_header(image, header, flash->layout.slots[slot].bytes);
    }
    if (result == AG_OK) {
        result = read_protected(image, flash, slot);
    }
    return result == AG_OK ? read_plain(image, flash, slot) : result;
}

int ag_flash_digest(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset, uint32_t n,
                    uint8_t digest[AG_SHA256_BYTES])
{
    ag_sha256_t hash;
    uint8_t piece[64];
    ag_sha256_init(&hash);
    while (n > 0u) {
        const uint32_t some = n < sizeof piece ? n : (uint32_t)sizeof piece;
        if (ag_flash_read(flash, region, offset, piece, some) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        ag_sha256_update(&hash, piece, some);
        offset += some;
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
    const uint32_t align = ag_read_u16(image->needs + 8);
    read_version(&firmware, image->dependency + 4);
    if (memcmp(image->vendor, device->vendor, 16) != 0 || memcmp(image->kind, device->kind, 16) != 0) {
        return AG_WRONG_TARGET;
    }
    /* The weights run in place, 32 bytes into a sector. */
    if (ag_read_u16(image->abi) != device->abi_major || ag_read_u16(image->abi + 2) > device->abi_minor ||
        ag_read_u32(image->abi + 4) != device->kernels || memcmp(image->graph, device->graph, 32) != 0 ||
        ag_read_u32(image->dependency) != 0u || ag_version_compare(&firmware, &device->firmware) > 0 ||
        ag_read_u16(image->needs + 10) != device->outputs || align == 0u || AG_HEADER_BYTES % align != 0u) {
        return AG_GRAPH_MISMATCH;
    }
    if (ag_read_u32(image->needs) > device->ram || ag_read_u32(image->needs + 4) > image->payload) {
        return AG_TOO_BIG;
    }
    return ag_read_u32(image->counter) < floor ? AG_DOWNGRADE : AG_OK;
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
    if (memcmp(digest, image->key_hash, sizeof digest) != 0) {
        return AG_WRONG_KEY;
    }
    result = ag_flash_digest(flash, &flash->layout.slots[slot], 0, image->hashed, digest);
    if (result != AG_OK) {
        return result;
    }
    if (memcmp(digest, image->digest, sizeof digest) != 0 ||
        !ag_ed25519_verify(image->signature, device->key, digest, sizeof digest)) {
        return AG_BAD_IMAGE;
    }
    return check_fit(image, device, floor);
}
