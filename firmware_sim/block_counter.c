/*
 * Counts instructions and cycles of every basic block that the simulated core enters.
 *
 * A Python callback per block costs microseconds, this one nanoseconds: it is compiled for the host at first
 * use, and the simulator core calls it directly. Costs come as prefix sums over the code, one entry per
 * halfword, so that a block of any address and size costs one subtraction, however the core cuts its blocks.
 */
#include "block_counter.h"

/* Whether a block begins with an instruction of the code, and ends in the code. */
static int is_code(const block_counter_t *counter, uint64_t offset, uint32_t size)
{
    const uint64_t begin = offset >> 1;
    return offset < counter->code_bytes && size <= counter->code_bytes - offset &&
           counter->instructions_before[begin + 1u] != counter->instructions_before[begin];
}

static int is_interrupted(const block_counter_t *counter)
{
    const double waits = counter->fetch_wait_cycles * (double)counter->taken_branches +
                         counter->data_wait_cycles * (double)counter->flash_reads;
    return (double)counter->cycles + waits >= counter->interrupt_at;
}

void edgekit_count_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    block_counter_t *counter = user;
    const uint64_t offset = address - counter->code_origin;
    if (is_interrupted(counter)) {
        counter->interrupted = 1;
        (void)counter->stop(engine);
        return;
    }
    if (!is_code(counter, offset, size)) {
        /* Counted by nobody, it might run for ever. */
        counter->no_code = 1;
        counter->no_code_address = address;
        (void)counter->stop(engine);
        return;
    }
    const uint32_t begin = (uint32_t)offset >> 1;
    const uint32_t end = ((uint32_t)offset + size) >> 1;
    uint32_t cycles = counter->cycles_before[end] - counter->cycles_before[begin];
    const uint32_t instructions = counter->instructions_before[end] - counter->instructions_before[begin];

    if (address != counter->next_address) {
        /* The branch belongs to the code that took it. */
        region_count_t *from = &counter->regions[counter->region];
        from->cycles += counter->taken_branch_cycles;
        from->taken_branches++;
        counter->cycles += counter->taken_branch_cycles;
        counter->taken_branches++;
        counter->places[(counter->next_address - counter->code_origin) >> 1].exits++;
        counter->places[begin].entries++;
        cycles += counter->entry_cycles[begin];
    }
    counter->places[begin].executions++;
    counter->places[end].executions--;
    counter->next_address = address + size;
    counter->begin = begin;
    if (counter->region_of[begin] != SAME_REGION) {
        counter->region = counter->region_of[begin];
    }
    region_count_t *region = &counter->regions[counter->region];
    region->instructions += instructions;
    region->cycles += cycles;
    counter->instructions += instructions;
    counter->cycles += cycles;
    if (counter->instructions > counter->instruction_limit) {
        counter->limit_reached = 1;
        (void)counter->stop(engine);
    }
}

/* Called for every load from flash, within the block that was entered last. */
void edgekit_count_read(void *engine, int type, uint64_t address, int size, int64_t value, void *user)
{
    block_counter_t *counter = user;
    (void)engine, (void)type, (void)address, (void)size, (void)value;
    counter->flash_reads++;
    counter->regions[counter->region].flash_reads++;
    counter->places[counter->begin].flash_reads++;
}
