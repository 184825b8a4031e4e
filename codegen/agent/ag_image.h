/* Model images: MCUboot's format, of which exactly one form is taken. */
#ifndef EDGEKIT_AG_IMAGE_H
#define EDGEKIT_AG_IMAGE_H

#include "ag_flash.h"
#include "ag_sha256.h"

#define AG_HEADER_BYTES 32u

typedef struct {
    uint8_t major;
    uint8_t minor;
    uint16_t revision;
    uint32_t build;
} ag_version_t;

/* What an image has to fit; constant. */
typedef struct {
    uint8_t key[32]; /* the Ed25519 key that signs images */
    uint8_t vendor[16];
    uint8_t kind[16]; /* the device class */
    uint8_t graph[32];
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t kernels;
    uint32_t ram; /* bytes that a model may need */
    uint16_t outputs;
    ag_version_t firmware;
} ag_device_t;

/* The contents of header and TLVs, as they stand in the image. */
typedef struct {
    ag_version_t version;
    uint32_t payload;     /* bytes behind the header */
    uint32_t hashed;      /* bytes that the SHA-256 covers */
    uint32_t total;       /* bytes of the image */
    uint8_t digest[32];
    uint8_t key_hash[32];
    uint8_t signature[64];
    uint8_t counter[4];
    uint8_t dependency[12];
    uint8_t vendor[16];
    uint8_t kind[16];
    uint8_t abi[8];
    uint8_t graph[32];
    uint8_t needs[12];
} ag_image_t;

int ag_version_compare(const ag_version_t *a, const ag_version_t *b);

/* Read a header of an image in a file of `limit` bytes; fills in version and payload. */
int ag_image_header(ag_image_t *image, const uint8_t header[AG_HEADER_BYTES], uint32_t limit);

/* Read header and TLVs of the image in a slot; checks their form alone. */
int ag_image_read(ag_image_t *image, const ag_flash_t *flash, unsigned slot);

/* Read the image in a slot and check everything: hash, signature, target, fit, and counter against `floor`. */
int ag_image_check(ag_image_t *image, const ag_flash_t *flash, unsigned slot, const ag_device_t *device,
                   uint32_t floor);

/* The SHA-256 of bytes of a region. */
int ag_flash_digest(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset, uint32_t n,
                    uint8_t digest[AG_SHA256_BYTES]);

/* The hash that names a key: of its DER SubjectPublicKeyInfo. */
void ag_key_hash(const uint8_t key[32], uint8_t digest[AG_SHA256_BYTES]);

#endif
