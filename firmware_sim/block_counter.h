/* The block counter: what a simulated core calls for every basic block that it enters. */
#ifndef EDGEKIT_BLOCK_COUNTER_H
#define EDGEKIT_BLOCK_COUNTER_H

#include <stdint.h>

#define SAME_REGION 0xFFFFu

typedef struct {
    uint64_t instructions;
    uint64_t cycles;
    uint64_t taken_branches;
    uint64_t flash_reads; /* loads from flash, a word each; counted where the target waits for them */
} region_count_t;

/* What happened at a halfword of the code. */
typedef struct {
    int64_t executions; /* more than at the halfword before: blocks that begin here, less those that end here */
    uint64_t entries;   /* of them, those that a taken branch led to */
    uint64_t exits;     /* branches taken by the instruction that ends here */
    uint64_t flash_reads; /* in blocks that begin here */
} place_count_t;

typedef struct {
    /* Set by the simulator; the arrays have an entry per halfword of code, the prefix sums and places one more. */
    uint32_t code_origin;
    uint32_t code_bytes;
    const uint32_t *instructions_before;
    const uint32_t *cycles_before;
    const uint8_t *entry_cycles;  /* what an instruction costs more when it is jumped to */
    const uint16_t *region_of;    /* region that starts here, or SAME_REGION */
    region_count_t *regions;
    place_count_t *places;
    uint32_t taken_branch_cycles;
    uint32_t limit_reached;
    uint64_t instruction_limit;
    uint64_t no_code_address; /* where the core was stopped, if no_code */
    int (*stop)(void *engine);
    double fetch_wait_cycles; /* added to the cycles for each taken branch, and */
    double data_wait_cycles;  /* for each load from flash */
    double interrupt_at;      /* cycles, waits included, at which an interrupt comes; infinite if none does */
    /* Running state. */
    uint64_t instructions;
    uint64_t cycles;
    uint64_t taken_branches;
    uint64_t flash_reads;
    uint64_t next_address; /* of the instruction behind the previous block */
    uint32_t region;
    uint32_t begin; /* halfword that the running block begins at */
    uint32_t no_code; /* set when a block begins where no instruction of the code does */
    uint32_t interrupted; /* set when the core was stopped for the interrupt; the block did not begin */
} block_counter_t;

void edgekit_count_block(void *engine, uint64_t address, uint32_t size, void *user);
void edgekit_count_read(void *engine, int type, uint64_t address, int size, int64_t value, void *user);

#endif
