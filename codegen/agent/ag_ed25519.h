/* Checks of Ed25519 signatures (RFC 8032) and SHA-512, which they are made of. */
#ifndef EDGEKIT_AG_ED25519_H
#define EDGEKIT_AG_ED25519_H

#include <stddef.h>
#include <stdint.h>

/* The caller owns it; 208 bytes. */
typedef struct {
    uint64_t state[8];
    uint8_t block[128];
    uint64_t bytes;
} ag_sha512_t;

void ag_sha512_init(ag_sha512_t *hash);
void ag_sha512_update(ag_sha512_t *hash, const void *data, size_t n);
void ag_sha512_final(ag_sha512_t *hash, uint8_t digest[64]);

/* 1 if `signature` is the key's signature of the message; else 0. Time depends on its arguments: all are public. */
int ag_ed25519_verify(const uint8_t signature[64], const uint8_t key[32], const void *message, size_t n);

#endif
