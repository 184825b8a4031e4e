/* Integers modulo p = 2^255 - 19, for ag_ed25519.c. */
#ifndef EDGEKIT_AG_FIELD_H
#define EDGEKIT_AG_FIELD_H

#include <stdint.h>

/* Eight words, lowest first; any value below 2^256. Results may be arguments. */
typedef uint32_t ag_field_t[8];

void ag_field_add(ag_field_t out, const ag_field_t a, const ag_field_t b);
void ag_field_sub(ag_field_t out, const ag_field_t a, const ag_field_t b);
void ag_field_mul(ag_field_t out, const ag_field_t a, const ag_field_t b);

/* a to the power of p - 2: its inverse, and zero of zero. */
void ag_field_invert(ag_field_t out, const ag_field_t a);

/* a to the power of (p - 5) / 8. */
void ag_field_root_power(ag_field_t out, const ag_field_t a);

/* Make the value the one below p. */
void ag_field_reduce(ag_field_t a);

int ag_field_equal(const ag_field_t a, const ag_field_t b);

#endif
