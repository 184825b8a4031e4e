/* SHA-256 (FIPS 180-4), in pieces of any length. */
#ifndef EDGEKIT_AG_SHA256_H
#define EDGEKIT_AG_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define AG_SHA256_BYTES 32u

/* The caller owns it; 112 bytes. */
typedef struct {
    uint32_t state[8];
    uint8_t block[64];
    uint64_t bytes; /* heard so far; below 2^61 */
} ag_sha256_t;

void ag_sha256_init(ag_sha256_t *hash);
void ag_sha256_update(ag_sha256_t *hash, const void *data, size_t n);
void ag_sha256_final(ag_sha256_t *hash, uint8_t digest[AG_SHA256_BYTES]);

#endif
