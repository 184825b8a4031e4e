/* The part of the C library that compilers rely on, for firmware without one; memory.c implements it. */
#ifndef EDGEKIT_BOARD_STRING_H
#define EDGEKIT_BOARD_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* A freestanding compiler does not know these functions: the built-in names let it inline small sizes. */
#define memcpy(to, from, n) __builtin_memcpy((to), (from), (n))
#define memmove(to, from, n) __builtin_memmove((to), (from), (n))
#define memset(to, value, n) __builtin_memset((to), (value), (n))

#endif
