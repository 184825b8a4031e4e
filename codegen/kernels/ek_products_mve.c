#include "ek_mve.h"

#if EK_MVE

/* A function of nothing but assembly: its parameters are registers. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Three positions (r1, r3, r5) with a vector of two channels' weights (r7): the sums are r0, r2, r4 and r6, r8, r10. */
#define MULTIPLY(vmladav)                 \
    "vldrb.8 q0, [r7], #16\n"             \
    "vldrb.8 q2, [r1], #16\n"             \
    vmladav " r0, q2, q0\n"               \
    "vldrb.8 q1, [r7], #16\n"             \
    vmladav " r6, q2, q1\n"               \
    "vldrb.8 q3, [r3], #16\n"             \
    vmladav " r2, q3, q0\n"               \
    vmladav " r8, q3, q1\n"               \
    "vldrb.8 q2, [r5], #16\n"             \
    vmladav " r4, q2, q0\n"               \
    vmladav " r10, q2, q1\n"

/* Where what was pushed lies, in compilations that say so of their own functions too. */
#if defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define FOR_DEBUGGERS(text) text
#else
#define FOR_DEBUGGERS(text)
#endif

/*
 * r9: from the end of a patch to the patch three positions on, r11, r12: where the sums of the two channels go.
 * On the stack: the end of the first channel's sums, the weights, the vectors but one.
 */
__attribute__((naked)) void ek_products_mve(const int8_t *patches, uint32_t step, const int8_t *weights,
                                            uint32_t vectors, uint32_t count, int32_t *sums)
{
    __asm__ volatile(
        "push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
        FOR_DEBUGGERS(".cfi_def_cfa_offset 36\n"
                      ".cfi_offset 14, -4\n"
                      ".cfi_offset 11, -8\n"
                      ".cfi_offset 10, -12\n"
                      ".cfi_offset 9, -16\n"
                      ".cfi_offset 8, -20\n"
                      ".cfi_offset 7, -24\n"
                      ".cfi_offset 6, -28\n"
                      ".cfi_offset 5, -32\n"
                      ".cfi_offset 4, -36\n")
        "ldrd r12, r11, [sp, #36]\n"
        "add r12, r11, r12, lsl #2\n"
        "mov r6, r12\n"
        "mov r7, r2\n"
        "sub lr, r3, #1\n"
        "push {r6, r7, lr}\n"
        FOR_DEBUGGERS(".cfi_def_cfa_offset 48\n")
        "add r5, r1, r1, lsl #1\n"
        "sub r9, r5, r3, lsl #4\n"
        "add r5, r0, r1, lsl #1\n"
        "add r3, r0, r1\n"
        "mov r1, r0\n"
        "1:\n"
        MULTIPLY("vmladav.s8")
        "wls lr, lr, 3f\n"
        "2:\n"
        MULTIPLY("vmladava.s8")
        "le lr, 2b\n"
        "3:\n"
        "stm r11!, {r0, r2, r4}\n"
        "stm r12!, {r6, r8, r10}\n"
        "add r1, r1, r9\n"
        "add r3, r3, r9\n"
        "add r5, r5, r9\n"
        "ldm sp, {r0, r7, lr}\n"
        "cmp r11, r0\n"
        "bne 1b\n"
        "add sp, #12\n"
        FOR_DEBUGGERS(".cfi_def_cfa_offset 36\n")
        "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}

#else

/*
 * Sums of products of two channels with a row of patches, three at a time.
 *
 * patches: [count] patches of 16 * vectors int8, `step` bytes apart; what lies behind the window of a patch meets
 *          weights of 0, and what lies behind the row's width may be anything.
 * weights: [vectors][2][16] int8.
 * vectors: at least 1.
 * count:   a multiple of 3.
 * sums:    [2][count] result.
 */
void ek_products_mve(const int8_t *patches, uint32_t step, const int8_t *weights, uint32_t vectors, uint32_t count,
                     int32_t *sums)
{
    uint32_t channel, position, vector, i;
    for (channel = 0; channel < 2u; channel++) {
        for (position = 0; position < count; position++) {
            const int8_t *patch = patches + (size_t)position * step, *weight = weights + EK_VECTOR * channel;
            int32_t sum = 0;
            for (vector = 0; vector < vectors; vector++) {
                for (i = 0; i < EK_VECTOR; i++) {
                    sum += patch[i] * weight[i];
                }
                patch += EK_VECTOR;
                weight += 2u * EK_VECTOR;
            }
            *sums++ = sum;
        }
    }
}

#endif
