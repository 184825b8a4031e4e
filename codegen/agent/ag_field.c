/*
 * Integers modulo p = 2^255 - 19.
 *
 * Ranges: 2^256 is 38 modulo p, so a carry out of the eighth word comes back as 38. Sums, differences and products stay
 *         below 2^256; only ag_field_reduce makes the value the one below p.
 * Layout: eight 32-bit words, lowest first. A product of two words and two more words fit 64 bits exactly.
 * Owner:  the caller owns all values.
 */
#include "ag_field.h"

#include <string.h>

/* Add carry * 38; a carry out of that comes back once more, and then no further. */
static void fold(ag_field_t a, uint32_t carry)
{
    while (carry != 0u) {
        uint64_t sum = (uint64_t)carry * 38u;
        unsigned i;
        for (i = 0; i < 8u; i++) {
            sum += a[i];
            a[i] = (uint32_t)sum;
            sum >>= 32;
        }
        carry = (uint32_t)sum;
    }
}

void ag_field_add(ag_field_t out, const ag_field_t a, const ag_field_t b)
{
    uint64_t sum = 0;
    unsigned i;
    for (i = 0; i < 8u; i++) {
        sum += (uint64_t)a[i] + b[i];
        out[i] = (uint32_t)sum;
        sum >>= 32;
    }
    fold(out, (uint32_t)sum);
}

void ag_field_sub(ag_field_t out, const ag_field_t a, const ag_field_t b)
{
    uint32_t borrow = 0;
    unsigned i;
    for (i = 0; i < 8u; i++) {
        const uint64_t difference = (uint64_t)a[i] - b[i] - borrow;
        out[i] = (uint32_t)difference;
        borrow = (uint32_t)(difference >> 32) & 1u;
    }
    while (borrow != 0u) {
        uint32_t less = 38;
        for (i = 0; i < 8u; i++) {
            const uint64_t difference = (uint64_t)out[i] - less;
            out[i] = (uint32_t)difference;
            less = (uint32_t)(difference >> 32) & 1u;
        }
        borrow = less;
    }
}

void ag_field_mul(ag_field_t out, const ag_field_t a, const ag_field_t b)
{
    uint32_t product[16];
    uint64_t sum;
    unsigned i, j;
    memset(product, 0, sizeof product);
    for (i = 0; i < 8u; i++) {
        sum = 0;
        for (j = 0; j < 8u; j++) {
            sum += (uint64_t)a[i] * b[j] + product[i + j];
            product[i + j] = (uint32_t)sum;
            sum >>= 32;
        }
        product[i + 8u] = (uint32_t)sum;
    }
    sum = 0;
    for (i = 0; i < 8u; i++) {
        sum += (uint64_t)product[i + 8u] * 38u + product[i];
        out[i] = (uint32_t)sum;
        sum >>= 32;
    }
    fold(out, (uint32_t)sum);
}

/* a to the power of a number of `bits` ones, but zeros at the places set in `zeros`. */
static void power(ag_field_t out, const ag_field_t a, unsigned bits, uint32_t zeros)
{
    ag_field_t result;
    memcpy(result, a, sizeof result);
    while (--bits > 0u) {
        const unsigned place = bits - 1u;
        ag_field_mul(result, result, result);
        if (place >= 32u || ((zeros >> place) & 1u) == 0u) {
            ag_field_mul(result, result, a);
        }
    }
    memcpy(out, result, sizeof result);
}

void ag_field_invert(ag_field_t out, const ag_field_t a)
{
    power(out, a, 255, (1u << 2) | (1u << 4)); /* 2^255 - 1 - 4 - 16 */
}

void ag_field_root_power(ag_field_t out, const ag_field_t a)
{
    power(out, a, 252, 1u << 1); /* 2^252 - 1 - 2 */
}

void ag_field_reduce(ag_field_t a)
{
    unsigned pass;
    /* First the highest bit, worth 19; then once more if the value is still p or above: if adding 19 sets that bit. */
    for (pass = 0; pass < 2u; pass++) {
        ag_field_t plus;
        uint64_t sum = pass == 0u ? (uint64_t)(a[7] >> 31) * 19u : 19u;
        unsigned i;
        memcpy(plus, a, sizeof plus);
        if (pass == 0u) {
            plus[7] &= 0x7FFFFFFFu;
        }
        for (i = 0; i < 8u; i++) {
            sum += plus[i];
            plus[i] = (uint32_t)sum;
            sum >>= 32;
        }
        if (pass == 0u || (plus[7] >> 31) != 0u) {
            memcpy(a, plus, sizeof plus);
            /* Of the first pass the bit may be set anew: the value is then p to p + 18, and the second clears it. */
            a[7] &= pass == 0u ? 0xFFFFFFFFu : 0x7FFFFFFFu;
        }
    }
}

int ag_field_equal(const ag_field_t a, const ag_field_t b)
{
    ag_field_t x, y;
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    ag_field_reduce(x);
    ag_field_reduce(y);
    return memcmp(x, y, sizeof x) == 0;
}
