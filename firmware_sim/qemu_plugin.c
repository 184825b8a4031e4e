/*
 * Counts what QEMU executes: hands every translated block to the block counter (block_counter.c).
 *
 * Compiled for the host at first use and loaded by qemu-system-arm, which calls it directly. Its tables come in a
 * file, its counts go to another. The declarations below are of QEMU's plugin interface, version 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block_counter.h"

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;

extern int qemu_plugin_version;
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*call)(unsigned int cpu, void *user),
                                          int flags, void *user);
void qemu_plugin_register_vcpu_idle_cb(uint64_t id, void (*call)(uint64_t id, unsigned int cpu));
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t id, void *user), void *user);

int qemu_plugin_version = 1;

/* The head of the tables' file (firmware_sim/qemu.py writes it). */
typedef struct {
    uint32_t code_origin;
    uint32_t halfwords;
    uint32_t regions;
    uint32_t taken_branch_cycles;
    uint32_t entry;
    uint32_t begin_block; /* its first instruction begins a block of audio */
    uint32_t fault;       /* the handler that every fault ends in */
    uint32_t reserved;
    uint64_t block_instruction_limit;
} head_t;

static head_t head;
static block_counter_t counter;
static uint64_t last_address;
static FILE *report;

/* A translated block in a pointer: its address above, its bytes in the low 16 bits. */
typedef char pointers_have_64_bits[sizeof(void *) == 8 ? 1 : -1];

static void write_report(const char *end)
{
    uint32_t region;
    (void)fprintf(report, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", end, counter.instructions, counter.cycles,
                  last_address);
    for (region = 0; region < head.regions; region++) {
        const region_count_t *count = &counter.regions[region];
        (void)fprintf(report, "region %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count->instructions, count->cycles,
                      count->taken_branches);
    }
    (void)fclose(report);
}

static void stop(const char *end)
{
    write_report(end);
    _Exit(0);
}

static int stop_at_limit(void *engine)
{
    (void)engine;
    stop("limit");
    return 0;
}

static void on_block(unsigned int cpu, void *user)
{
    const uint64_t packed = (uintptr_t)user, address = packed >> 16;
    (void)cpu;
    if (address == head.fault) {
        stop("fault");
    }
    if (address == head.begin_block) {
        (void)fprintf(report, "block %" PRIu64 " %" PRIu64 "\n", counter.instructions, counter.cycles);
        counter.instruction_limit = counter.instructions + head.block_instruction_limit;
    }
    last_address = address;
    edgekit_count_block(NULL, address, (uint32_t)(packed & 0xFFFFu), &counter);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    const struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);
    const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, qemu_plugin_tb_n_insns(tb) - 1);
    const uint64_t address = qemu_plugin_insn_vaddr(first);
    const uint64_t bytes = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last) - address;
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, (void *)(uintptr_t)(address << 16 | bytes));
}

/* No interrupt is enabled: a core that sleeps never wakes. */
static void on_sleep(uint64_t id, unsigned int cpu)
{
    (void)id;
    (void)cpu;
    if (counter.instructions != 0) { /* it also sleeps until its reset */
        stop("sleep");
    }
}

static void on_exit_of_qemu(uint64_t id, void *user)
{
    (void)id;
    (void)user;
    write_report("end");
}

/* The next array of the tables' file. */
static const void *read_array(FILE *file, size_t size, size_t count)
{
    void *values = malloc(size * count);
    if (values == NULL || fread(values, size, count, file) != count) {
        abort();
    }
    return values;
}

/* argv: tables=PATH, report=PATH. */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    FILE *tables = argc == 2 ? fopen(argv[0] + strlen("tables="), "rb") : NULL;
    (void)info;
    report = argc == 2 ? fopen(argv[1] + strlen("report="), "w") : NULL;
    if (tables == NULL || report == NULL || fread(&head, sizeof head, 1, tables) != 1) {
        return -1;
    }
    counter.code_origin = head.code_origin;
    counter.code_bytes = 2u * head.halfwords;
    counter.instructions_before = read_array(tables, sizeof(uint32_t), head.halfwords + 1u);
    counter.cycles_before = read_array(tables, sizeof(uint32_t), head.halfwords + 1u);
    counter.region_of = read_array(tables, sizeof(uint16_t), head.halfwords);
    counter.entry_cycles = read_array(tables, sizeof(uint8_t), head.halfwords);
    counter.regions = calloc(head.regions, sizeof *counter.regions);
    counter.taken_branch_cycles = head.taken_branch_cycles;
    counter.instruction_limit = head.block_instruction_limit;
    counter.stop = stop_at_limit;
    counter.next_address = head.entry;
    (void)fclose(tables);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_idle_cb(id, on_sleep);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
