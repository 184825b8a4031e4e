/* Helium loops in assembly, so that their instructions can be counted by hand; each runs once per audio block. */
#include "board.h"

int main(void);
int32_t loop_products(const int8_t *a, const int8_t *b);
int32_t loop_scalar(void);

/* 40 products, 16 at a time: the last eight under predication. */
__attribute__((naked, noinline)) int32_t loop_products(const int8_t *a, const int8_t *b)
{
    __asm__ volatile("push {r4, lr}\n"
                     "movs r2, #0\n"
                     "movs r3, #40\n"
                     "dlstp.8 lr, r3\n"
                     "1: vldrb.s8 q0, [r0], #16\n"
                     "vldrb.s8 q1, [r1], #16\n"
                     "vmladava.s8 r2, q0, q1\n"
                     "letp lr, 1b\n"
                     "mov r0, r2\n"
                     "pop {r4, pc}\n");
}

/* None of it is a vector instruction: what looks most like one. */
__attribute__((naked, noinline)) int32_t loop_scalar(void)
{
    __asm__ volatile("movs r0, #0\n"
                     "mov r12, #5\n"
                     "push {r4, lr}\n"
                     "dls lr, r12\n"
                     "1: smlad r0, r12, r12, r0\n"
                     "csinc r0, r0, r0, eq\n"
                     "le lr, 1b\n"
                     "pop {r4, pc}\n");
}

static int16_t block[64];

int main(void)
{
    static int8_t a[48], b[48];
    int32_t i, sum = 0;
    for (i = 0; i < 48; i++) {
        a[i] = (int8_t)(i - 20);
        b[i] = (int8_t)(3 * i - 60);
    }
    while (board_read_audio(block, 64) > 0) {
        const int32_t products = loop_products(a, b);
        sum += products + loop_scalar();
        {
            const int16_t result[3] = {(int16_t)products, (int16_t)(products >> 16), (int16_t)sum};
            board_write_adv(result);
        }
    }
    board_exit(0);
}
