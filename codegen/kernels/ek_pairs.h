/*
 * Two int16 in a word, the first in the low half: what the DSP extension of Armv7-M and Armv8-M computes on.
 *
 * Each function is one instruction there and a few lines of C99 elsewhere, with the same result.
 */
#ifndef EK_PAIRS_H
#define EK_PAIRS_H

#include <stdint.h>
#include <string.h>

/* Define it as 0 to do without the extension where there is one. */
#ifndef EK_DSP
#if defined(__ARM_FEATURE_DSP) && __ARM_FEATURE_DSP
#define EK_DSP 1
#else
#define EK_DSP 0
#endif
#endif

#if EK_DSP
#include <arm_acle.h>
#endif

/* What generated assembly leaves to be done with the DSP extension is rare: small rather than fast. */
#if EK_DSP && defined(__clang__)
#define EK_RARE __attribute__((minsize, noinline))
#elif EK_DSP && defined(__GNUC__)
#define EK_RARE __attribute__((cold, noinline))
#else
#define EK_RARE
#endif

typedef uint32_t ek_pair_t;

/* A pair of two values in -32768..32767. */
static inline ek_pair_t ek_pair(int32_t first, int32_t second)
{
    return ((uint32_t)first & 0xFFFFu) | ((uint32_t)second << 16);
}

static inline int32_t ek_first(ek_pair_t pair)
{
    return (int16_t)(uint16_t)(pair & 0xFFFFu);
}

static inline int32_t ek_second(ek_pair_t pair)
{
    return (int16_t)(uint16_t)(pair >> 16);
}

/* Four bytes at any address. */
static inline uint32_t ek_bytes(const int8_t *address)
{
    uint32_t bytes;
    memcpy(&bytes, address, sizeof bytes);
    return bytes;
}

/* Zeros above the highest one of a value other than 0. */
static inline uint32_t ek_leading_zeros(uint32_t value)
{
#if defined(__GNUC__)
    return (uint32_t)__builtin_clz(value);
#else
    uint32_t zeros = 0;
    for (; value >> 31 == 0u; value <<= 1) {
        zeros++;
    }
    return zeros;
#endif
}

/* Two values one after another. */
static inline ek_pair_t ek_load_pair(const int16_t *values)
{
    ek_pair_t pair;
    memcpy(&pair, values, sizeof pair);
    return pair;
}

/* The first of two pairs each, or the second. */
static inline ek_pair_t ek_low_halves(ek_pair_t a, ek_pair_t b)
{
    return (a & 0xFFFFu) | (b << 16);
}

static inline ek_pair_t ek_high_halves(ek_pair_t a, ek_pair_t b)
{
    return (a >> 16) | (b & 0xFFFF0000u);
}

#if EK_DSP

/* The first and the third of four int8. */
static inline ek_pair_t ek_even_bytes(uint32_t bytes)
{
    return (ek_pair_t)__sxtb16((int8x4_t)bytes);
}

/* The second and the fourth of four int8. */
static inline ek_pair_t ek_odd_bytes(uint32_t bytes)
{
    ek_pair_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(bytes));
    return pair;
}

/* Sums and differences within int16. */
static inline ek_pair_t ek_add(ek_pair_t a, ek_pair_t b)
{
    return (ek_pair_t)__sadd16((int16x2_t)a, (int16x2_t)b);
}

static inline ek_pair_t ek_subtract(ek_pair_t a, ek_pair_t b)
{
    return (ek_pair_t)__ssub16((int16x2_t)a, (int16x2_t)b);
}

/* Both products added to a sum. */
static inline int64_t ek_add_products(ek_pair_t a, ek_pair_t b, int64_t sum)
{
    return __smlald((int16x2_t)a, (int16x2_t)b, sum);
}

static inline int32_t ek_add_products_s32(ek_pair_t a, ek_pair_t b, int32_t sum)
{
    return __smlad((int16x2_t)a, (int16x2_t)b, sum);
}

/* The high half of a product, rounded, added to a number. */
static inline int32_t ek_high_product_plus(int32_t a, int32_t b, int32_t number)
{
    int32_t sum;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(number));
    return sum;
}

/* The larger of each two int8. */
static inline uint32_t ek_largest_bytes(uint32_t a, uint32_t b)
{
    (void)__ssub8((int8x4_t)a, (int8x4_t)b);
    return (uint32_t)__sel((uint8x4_t)a, (uint8x4_t)b);
}

#else

static inline ek_pair_t ek_even_bytes(uint32_t bytes)
{
    return ek_pair((int8_t)(uint8_t)bytes, (int8_t)(uint8_t)(bytes >> 16));
}

static inline ek_pair_t ek_odd_bytes(uint32_t bytes)
{
    return ek_even_bytes(bytes >> 8);
}

static inline ek_pair_t ek_add(ek_pair_t a, ek_pair_t b)
{
    return ek_pair(ek_first(a) + ek_first(b), ek_second(a) + ek_second(b));
}

static inline ek_pair_t ek_subtract(ek_pair_t a, ek_pair_t b)
{
    return ek_pair(ek_first(a) - ek_first(b), ek_second(a) - ek_second(b));
}

static inline int64_t ek_add_products(ek_pair_t a, ek_pair_t b, int64_t sum)
{
    return sum + (int64_t)ek_first(a) * ek_first(b) + (int64_t)ek_second(a) * ek_second(b);
}

static inline int32_t ek_add_products_s32(ek_pair_t a, ek_pair_t b, int32_t sum)
{
    return sum + ek_first(a) * ek_first(b) + ek_second(a) * ek_second(b);
}

static inline uint32_t ek_largest_bytes(uint32_t a, uint32_t b)
{
    uint32_t largest = 0, place;
    for (place = 0; place < 32u; place += 8u) {
        const int8_t x = (int8_t)(uint8_t)(a >> place), y = (int8_t)(uint8_t)(b >> place);
        largest |= (uint32_t)(uint8_t)(x > y ? x : y) << place;
    }
    return largest;
}

#endif

#endif
