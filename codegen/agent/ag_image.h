/* Model images: MCUboot's format, of which exactly one form is taken. */
#ifndef EDGEKIT_AG_IMAGE_H
#define EDGEKIT_AG_IMAGE_H

#include "ag_flash.h"
#include "ag_sha256.h"

#define AG_HEADER_BYTES 32u

typedef struct {
    uint32_t release; /* major, minor and 16 bits of revision, major in the highest byte */
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

/* Where values lie in the TLVs, which are the same in every image, and how many bytes these have. */
enum {
    AG_COUNTER = 8,
    AG_DEPENDENCY = 16,
    AG_VENDOR = 32,
    AG_KIND = 52,
    AG_ABI = 72,
    AG_GRAPH = 84,
    AG_NEEDS = 120,
    AG_PROTECTED_BYTES = 168,
    AG_DIGEST = 176,
    AG_KEY_HASH = 212,
    AG_SIGNATURE = 248,
    AG_TLV_BYTES = 312
};

/* Header and TLVs. */
typedef struct {
    ag_version_t version;
    uint32_t payload; /* bytes behind the header */
    uint32_t hashed;  /* bytes that the SHA-256 covers */
    uint32_t total;   /* bytes of the image */
    uint8_t tlvs[AG_TLV_BYTES];
} ag_image_t;

int ag_version_above(const ag_version_t *a, const ag_version_t *b);

/* Read a header of an image in a file of at most `limit` bytes; fills in all but the TLVs. */
int ag_image_header(ag_image_t *image, const uint8_t header[AG_HEADER_BYTES], uint32_t limit);

/* Read header and TLVs of the image in a slot; checks their form alone. */
int ag_image_read(ag_image_t *image, const ag_flash_t *flash, unsigned slot);

/* Read the image in a slot and check everything: hash, signature, target, fit, and counter against `floor`. */
int ag_image_check(ag_image_t *image, const ag_flash_t *flash, unsigned slot, const ag_device_t *device,
                   uint32_t floor);

/* The SHA-256 of `n` bytes of flash. */
int ag_flash_digest(const ag_flash_t *flash, uint32_t at, uint32_t n, uint8_t digest[AG_SHA256_BYTES]);

/* The hash that names a key: of its DER SubjectPublicKeyInfo. */
void ag_key_hash(const uint8_t key[32], uint8_t digest[AG_SHA256_BYTES]);

#endif
