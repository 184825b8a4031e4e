/*
 * Checks of Ed25519 signatures (RFC 8032).
 *
 * Ranges: messages below 2^61 bytes. Refused: S of L or above, a key whose y is p or above or on no point, x = 0 with
 *         the sign bit. Without cofactor: [S]B - [k]A must be encoded exactly as the signature's R.
 * Layout: points in extended coordinates (X : Y : Z : T), x = X/Z, y = Y/Z, x y = T/Z.
 * Owner:  the caller owns all arguments; about 1,400 bytes of stack.
 */
#include "ag_ed25519.h"
#include "ag_field.h"

#include <string.h>

typedef struct {
    ag_field_t x, y, z, t;
} point_t;

static const ag_field_t curve_d = {0x135978a3u, 0x75eb4dcau, 0x4141d8abu, 0x00700a4du,
                                   0x7779e898u, 0x8cc74079u, 0x2b6ffe73u, 0x52036ceeu};
static const ag_field_t root_of_minus_one = {0x4a0ea0b0u, 0xc4ee1b27u, 0xad2fe478u, 0x2f431806u,
                                             0x3dfbd7a7u, 0x2b4d0099u, 0x4fc1df0bu, 0x2b832480u};
static const ag_field_t base_x = {0x8f25d51au, 0xc9562d60u, 0x9525a7b2u, 0x692cc760u,
                                  0xfdd6dc5cu, 0xc0a4e231u, 0xcd6e53feu, 0x216936d3u};
static const ag_field_t base_y = {0x66666658u, 0x66666666u, 0x66666666u, 0x66666666u,
                                  0x66666666u, 0x66666666u, 0x66666666u, 0x66666666u};
static const uint32_t order[8] = {0x5cf5d3edu, 0x5812631au, 0xa2f79cd6u, 0x14def9deu, 0, 0, 0, 0x10000000u};
static const ag_field_t zero = {0}, one = {1};

static void load(uint32_t words[8], const uint8_t bytes[32])
{
    unsigned i;
    for (i = 0; i < 8u; i++) {
        const uint8_t *p = bytes + 4u * i;
        words[i] = p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) | ((uint32_t)p[3] << 24);
    }
}

static void store(uint8_t bytes[32], const uint32_t words[8])
{
    unsigned i;
    for (i = 0; i < 32u; i++) {
        bytes[i] = (uint8_t)(words[i / 4u] >> (8u * (i & 3u)));
    }
}

/* a = a - order if that is not negative; returns 1 if it was not. */
static int take_order(uint32_t a[8])
{
    uint32_t rest[8], borrow = 0;
    unsigned i;
    for (i = 0; i < 8u; i++) {
        const uint64_t difference = (uint64_t)a[i] - order[i] - borrow;
        rest[i] = (uint32_t)difference;
        borrow = (uint32_t)(difference >> 32) & 1u;
    }
    if (borrow == 0u) {
        memcpy(a, rest, sizeof rest);
    }
    return borrow == 0u;
}

/* A number of 512 bits, lowest byte first, modulo the order. */
static void modulo_order(uint32_t out[8], const uint8_t number[64])
{
    unsigned i, j;
    memset(out, 0, 32);
    for (i = 512; i-- > 0u;) {
        uint32_t carry = (uint32_t)(number[i / 8u] >> (i & 7u)) & 1u;
        for (j = 0; j < 8u; j++) {
            const uint32_t high = out[j] >> 31;
            out[j] = (out[j] << 1) | carry;
            carry = high;
        }
        (void)take_order(out);
    }
}

/* The point whose x, y, t and z are the products ef, gh, eh and fg. */
static void multiply_out(point_t *out, const ag_field_t e, const ag_field_t f, const ag_field_t g, const ag_field_t h)
{
    ag_field_mul(out->x, e, f);
    ag_field_mul(out->y, g, h);
    ag_field_mul(out->t, e, h);
    ag_field_mul(out->z, f, g);
}

/* out = a + b, for any two points; `out` may be one of them. */
static void add(point_t *out, const point_t *a, const point_t *b)
{
    ag_field_t e, f, g, h, t;
    ag_field_sub(e, a->y, a->x);
    ag_field_sub(t, b->y, b->x);
    ag_field_mul(e, e, t);
    ag_field_add(f, a->y, a->x);
    ag_field_add(t, b->y, b->x);
    ag_field_mul(f, f, t);
    ag_field_add(h, f, e);
    ag_field_sub(e, f, e);
    ag_field_mul(t, a->t, b->t);
    ag_field_mul(t, t, curve_d);
    ag_field_add(t, t, t);
    ag_field_mul(g, a->z, b->z);
    ag_field_add(g, g, g);
    ag_field_sub(f, g, t);
    ag_field_add(g, g, t);
    multiply_out(out, e, f, g, h);
}

/* a = a + a. */
static void twice(point_t *a)
{
    ag_field_t e, f, g, h, t;
    ag_field_add(e, a->x, a->y);
    ag_field_mul(e, e, e);
    ag_field_mul(f, a->x, a->x);
    ag_field_mul(t, a->y, a->y);
    ag_field_add(h, f, t);
    ag_field_sub(e, h, e);
    ag_field_sub(g, f, t);
    ag_field_mul(t, a->z, a->z);
    ag_field_add(t, t, t);
    ag_field_add(f, t, g);
    multiply_out(a, e, f, g, h);
}

static void make_point(point_t *out, const ag_field_t x, const ag_field_t y)
{
    memmove(out->x, x, sizeof out->x);
    memmove(out->y, y, sizeof out->y);
    memcpy(out->z, one, sizeof one);
    ag_field_mul(out->t, out->x, out->y);
}

/* The point that 32 bytes encode; 0 if they encode none. */
static int decode(point_t *out, const uint8_t bytes[32])
{
    ag_field_t x, y, u, v, t;
    const uint32_t sign = bytes[31] >> 7;
    load(y, bytes);
    y[7] &= 0x7FFFFFFFu;
    memcpy(t, y, sizeof t);
    ag_field_reduce(t);
    if (memcmp(t, y, sizeof t) != 0) {
        return 0;
    }
    /* x^2 = u / v; its root, if there is one, is u v^3 (u v^7)^((p - 5) / 8), or that times the root of -1. */
    ag_field_mul(t, y, y);
    ag_field_sub(u, t, one);
    ag_field_mul(v, t, curve_d);
    ag_field_add(v, v, one);
    ag_field_mul(t, v, v);
    ag_field_mul(x, t, v);
    ag_field_mul(x, x, u);
    ag_field_mul(t, t, t);
    ag_field_mul(t, t, v);
    ag_field_mul(t, t, v);
    ag_field_mul(t, t, v);
    ag_field_mul(t, t, u);
    ag_field_root_power(t, t);
    ag_field_mul(x, x, t);
    ag_field_mul(t, x, x);
    ag_field_mul(t, t, v);
    if (!ag_field_equal(t, u)) {
        ag_field_sub(u, zero, u);
        if (!ag_field_equal(t, u)) {
            return 0;
        }
        ag_field_mul(x, x, root_of_minus_one);
    }
    ag_field_reduce(x);
    if (ag_field_equal(x, zero) && sign != 0u) {
        return 0;
    }
    if ((x[0] & 1u) != sign) {
        ag_field_sub(x, zero, x);
    }
    make_point(out, x, y);
    return 1;
}

static void encode(uint8_t bytes[32], const point_t *a)
{
    ag_field_t x, y, t;
    ag_field_invert(t, a->z);
    ag_field_mul(x, a->x, t);
    ag_field_mul(y, a->y, t);
    ag_field_reduce(x);
    ag_field_reduce(y);
    y[7] |= (x[0] & 1u) << 31;
    store(bytes, y);
}

/* out = [s] base + [k] a, both at once. */
static void two_products(point_t *out, const uint32_t s[8], const uint32_t k[8], const point_t *a)
{
    point_t base, both;
    unsigned i;
    make_point(&base, base_x, base_y);
    add(&both, &base, a);
    make_point(out, zero, one);
    for (i = 253; i-- > 0u;) {
        const uint32_t in_s = (s[i / 32u] >> (i & 31u)) & 1u, in_k = (k[i / 32u] >> (i & 31u)) & 1u;
        twice(out);
        if ((in_s | in_k) != 0u) {
            add(out, out, in_s == 0u ? a : in_k == 0u ? &base : &both);
        }
    }
}

int ag_ed25519_verify(const uint8_t signature[64], const uint8_t key[32], const void *message, size_t n)
{
    uint32_t s[8], k[8], rest[8];
    uint8_t digest[64];
    point_t a, sum;
    load(s, signature + 32);
    memcpy(rest, s, sizeof rest);
    if (take_order(rest) || !decode(&a, key)) {
        return 0;
    }
    ag_field_sub(a.x, zero, a.x);
    ag_field_sub(a.t, zero, a.t);
    {
        ag_sha512_t hash;
        ag_sha512_init(&hash);
        ag_sha512_update(&hash, signature, 32);
        ag_sha512_update(&hash, key, 32);
        ag_sha512_update(&hash, message, n);
        ag_sha512_final(&hash, digest);
    }
    modulo_order(k, digest);
    two_products(&sum, s, k, &a);
    encode(digest, &sum);
    return memcmp(digest, signature, 32) == 0;
}
