/*
 * SHA-256 (FIPS 180-4).
 *
 * Ranges: messages below 2^61 bytes, in pieces of any length.
 * Layout: digests as FIPS writes them, big-endian words.
 * Owner:  the caller owns the state; constants are 256 bytes of flash.
 */
#include "ag_sha256.h"

#include <string.h>

static const uint32_t rounds[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

static uint32_t turn(uint32_t x, unsigned n)
{
    return (x >> n) | (x << (32u - n));
}

static void mix(ag_sha256_t *hash)
{
    uint32_t w[16], v[8];
    unsigned i;
    memcpy(v, hash->state, sizeof v);
    for (i = 0; i < 64u; i++) {
        uint32_t a, b;
        if (i < 16u) {
            const uint8_t *p = hash->block + 4u * i;
            w[i] = ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
        } else {
            const uint32_t early = w[(i + 1u) & 15u], late = w[(i + 14u) & 15u];
            w[i & 15u] += (turn(early, 7) ^ turn(early, 18) ^ (early >> 3)) + w[(i + 9u) & 15u] +
                          (turn(late, 17) ^ turn(late, 19) ^ (late >> 10));
        }
        a = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + (v[6] ^ (v[4] & (v[5] ^ v[6]))) + rounds[i] +
            w[i & 15u];
        b = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) | (v[2] & (v[0] | v[1])));
        memmove(v + 1, v, 7u * sizeof v[0]);
        v[4] += a;
        v[0] = a + b;
    }
    for (i = 0; i < 8u; i++) {
        hash->state[i] += v[i];
    }
}

void ag_sha256_init(ag_sha256_t *hash)
{
    static const uint32_t start[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                      0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    memcpy(hash->state, start, sizeof start);
    hash->bytes = 0;
}

void ag_sha256_update(ag_sha256_t *hash, const void *data, size_t n)
{
    const uint8_t *from = data;
    while (n > 0u) {
        const size_t have = (size_t)(hash->bytes & 63u);
        const size_t take = n < 64u - have ? n : 64u - have;
        memcpy(hash->block + have, from, take);
        hash->bytes += take;
        from += take;
        n -= take;
        if (have + take == 64u) {
            mix(hash);
        }
    }
}

void ag_sha256_final(ag_sha256_t *hash, uint8_t digest[AG_SHA256_BYTES])
{
    const uint64_t bits = hash->bytes * 8u;
    const uint8_t one = 0x80u, zero = 0;
    uint8_t length[8];
    unsigned i;
    for (i = 0; i < 8u; i++) {
        length[i] = (uint8_t)(bits >> (56u - 8u * i));
    }
    ag_sha256_update(hash, &one, 1);
    while ((hash->bytes & 63u) != 56u) {
        ag_sha256_update(hash, &zero, 1);
    }
    ag_sha256_update(hash, length, 8);
    for (i = 0; i < AG_SHA256_BYTES; i++) {
        digest[i] = (uint8_t)(hash->state[i / 4u] >> (24u - 8u * (i & 3u)));
    }
}
