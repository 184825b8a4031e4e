/*
 * Memory functions that compilers call by themselves, with the names of the Arm run-time ABI.
 * Compiled freestanding: the compiler must not turn these loops back into calls of the same functions.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
void __aeabi_memcpy(void *to, const void *from, size_t n);
void __aeabi_memcpy4(void *to, const void *from, size_t n);
void __aeabi_memcpy8(void *to, const void *from, size_t n);
void __aeabi_memmove(void *to, const void *from, size_t n);
void __aeabi_memmove4(void *to, const void *from, size_t n);
void __aeabi_memmove8(void *to, const void *from, size_t n);
void __aeabi_memset(void *to, size_t n, int value);
void __aeabi_memset4(void *to, size_t n, int value);
void __aeabi_memset8(void *to, size_t n, int value);
void __aeabi_memclr(void *to, size_t n);
void __aeabi_memclr4(void *to, size_t n);
void __aeabi_memclr8(void *to, size_t n);

static int aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

/* Copies upwards, so `to` may overlap `from` from below. */
static void copy_up(void *to, const void *from, size_t n)
{
    unsigned char *d = to;
    const unsigned char *s = from;
    if (aligned(d, s)) {
        for (; n >= 16; n -= 16, d += 16, s += 16) {
            const word_t a = ((const word_t *)(const void *)s)[0];
            const word_t b = ((const word_t *)(const void *)s)[1];
            const word_t c = ((const word_t *)(const void *)s)[2];
            const word_t e = ((const word_t *)(const void *)s)[3];
            ((word_t *)(void *)d)[0] = a;
            ((word_t *)(void *)d)[1] = b;
            ((word_t *)(void *)d)[2] = c;
            ((word_t *)(void *)d)[3] = e;
        }
        for (; n >= 4; n -= 4, d += 4, s += 4) {
            *(word_t *)(void *)d = *(const word_t *)(const void *)s;
        }
    }
    for (; n > 0; n--) {
        *d++ = *s++;
    }
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    copy_up(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    if ((uintptr_t)to <= (uintptr_t)from) {
        copy_up(to, from, n);
        return to;
    }
    unsigned char *d = (unsigned char *)to + n;
    const unsigned char *s = (const unsigned char *)from + n;
    if (aligned(d, s)) {
        for (; n >= 4; n -= 4) {
            d -= 4;
            s -= 4;
            *(word_t *)(void *)d = *(const word_t *)(const void *)s;
        }
    }
    for (; n > 0; n--) {
        *--d = *--s;
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    unsigned char *d = to;
    const unsigned char byte = (unsigned char)value;
    if (aligned(d, d)) {
        const word_t word = byte * 0x01010101u;
        for (; n >= 16; n -= 16, d += 16) {
            ((word_t *)(void *)d)[0] = word;
            ((word_t *)(void *)d)[1] = word;
            ((word_t *)(void *)d)[2] = word;
            ((word_t *)(void *)d)[3] = word;
        }
        for (; n >= 4; n -= 4, d += 4) {
            *(word_t *)(void *)d = word;
        }
    }
    for (; n > 0; n--) {
        *d++ = byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a;
    const unsigned char *y = b;
    for (; n > 0; n--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}

void __aeabi_memcpy(void *to, const void *from, size_t n) { (void)memcpy(to, from, n); }
void __aeabi_memcpy4(void *to, const void *from, size_t n) { (void)memcpy(to, from, n); }
void __aeabi_memcpy8(void *to, const void *from, size_t n) { (void)memcpy(to, from, n); }
void __aeabi_memmove(void *to, const void *from, size_t n) { (void)memmove(to, from, n); }
void __aeabi_memmove4(void *to, const void *from, size_t n) { (void)memmove(to, from, n); }
void __aeabi_memmove8(void *to, const void *from, size_t n) { (void)memmove(to, from, n); }
void __aeabi_memset(void *to, size_t n, int value) { (void)memset(to, value, n); }
void __aeabi_memset4(void *to, size_t n, int value) { (void)memset(to, value, n); }
void __aeabi_memset8(void *to, size_t n, int value) { (void)memset(to, value, n); }
void __aeabi_memclr(void *to, size_t n) { (void)memset(to, 0, n); }
void __aeabi_memclr4(void *to, size_t n) { (void)memset(to, 0, n); }
void __aeabi_memclr8(void *to, size_t n) { (void)memset(to, 0, n); }
