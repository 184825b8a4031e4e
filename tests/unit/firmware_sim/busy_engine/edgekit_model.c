#include "edgekit_model.h"

const int32_t edgekit_model_data[1] = {0};

void edgekit_reset(edgekit_t *e)
{
    e->blocks = 0;
    e->sum = 0;
}

void edgekit_init(edgekit_t *e, const void *model)
{
    (void)model;
    edgekit_reset(e);
}

/* Eight cycles a turn: one for each instruction, and two for the branch; all registers that an interrupt stacks change. */
static uint32_t turn(uint32_t turns, uint32_t sum)
{
#if defined(__arm__)
    __asm__ volatile("mov r0, %1\n\tmov r1, %1\n\tmov r2, #0\n\tmov r3, #0\n\tmov r12, #0\n"
                     "1:\n\tadds r2, r2, r0\n\tadcs r3, r3, r1\n\tadd r12, r12, #1\n\tadd r1, r1, r3\n"
                     "\tsubs r0, r0, #1\n\tbne 1b\n"
                     "\tadd %0, %0, r1\n\tadd %0, %0, r2\n\tadd %0, %0, r3\n\tadd %0, %0, r12"
                     : "+r"(sum)
                     : "r"(turns)
                     : "r0", "r1", "r2", "r3", "r12", "cc");
#endif
    return sum;
}

int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n)
{
    uint32_t sum = e->sum;
    for (size_t i = 0; i < n; i++) {
        sum = sum * 31u + (uint32_t)pcm[i];
    }
    e->sum = turn((uint32_t)(uint16_t)pcm[0] + 1u, sum);
    e->blocks++;
    return 0;
}

int edgekit_finish(edgekit_t *e)
{
    if (e->blocks == 0u) {
        return -1;
    }
    e->blocks++;
    return 0;
}

int edgekit_read(const edgekit_t *e, int16_t adv_q14[3])
{
    adv_q14[0] = (int16_t)(e->sum & 0x7FFFu);
    adv_q14[1] = (int16_t)(e->sum >> 15 & 0x7FFFu);
    adv_q14[2] = (int16_t)e->blocks;
    return 0;
}

uint32_t edgekit_heard(const edgekit_t *e)
{
    return e->blocks;
}
