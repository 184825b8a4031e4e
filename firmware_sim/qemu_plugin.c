/*
 * Counts what QEMU executes: hands every translated block to the block counter (block_counter.c).
 *
 * Compiled for the host at first use and loaded by qemu-system-arm, which calls it directly. Its tables come in a
 * file, its counts go to another. The declarations below are of QEMU's plugin interface, version 1.
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "block_counter.h"

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;

extern int qemu_plugin_version;
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*call)(unsigned int cpu, void *user),
                                          int flags, void *user);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                            void (*call)(unsigned int cpu, void *user), int flags, void *user);
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
    uint32_t hold_ms;     /* not 0: nothing is reported; the block at `hold_at` waits so long for a debugger */
    uint64_t block_instruction_limit;
    uint64_t hold_at; /* instructions before it */
} head_t;

/* What the host can see at any time: QEMU's own count of instructions, and where it is. */
typedef struct {
    uint64_t instructions;
    uint64_t address;
    uint64_t holds;
} progress_t;

static head_t head;
static block_counter_t counter;
static progress_t *progress;
static uint64_t before_last, before_last_but_one; /* instructions before the last two blocks */
static FILE *report;

/* A translated block in a pointer: its instructions in the high 16 bits, its bytes in the low 16, its address
 * between them. */
typedef char pointers_have_64_bits[sizeof(void *) == 8 ? 1 : -1];

static void write_places(void)
{
    FILE *file = fopen("places", "wb");
    if (file == NULL || fwrite(counter.places, sizeof *counter.places, head.halfwords + 1u, file) != head.halfwords + 1u ||
        fclose(file) != 0) {
        abort();
    }
}

static void write_report(const char *end)
{
    uint32_t region;
    (void)fprintf(report, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", end, counter.instructions, counter.cycles,
                  progress->address);
    (void)fprintf(report, "own %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", progress->instructions, before_last,
                  before_last_but_one);
    for (region = 0; region < head.regions; region++) {
        const region_count_t *count = &counter.regions[region];
        (void)fprintf(report, "region %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", count->instructions, count->cycles,
                      count->taken_branches);
    }
    (void)fclose(report);
    write_places();
}

static void stop(const char *end)
{
    if (head.hold_ms == 0u) {
        write_report(end);
        _Exit(0);
    }
}

/* What the block counter calls. */
static int stop_here(void *engine)
{
    (void)engine;
    stop(counter.no_code != 0u ? "nowhere" : "limit");
    return 0;
}

/* A debugger that connects now stops the core in front of the next block. */
static void hold(void)
{
    const struct timespec time = {head.hold_ms / 1000u, (long)(head.hold_ms % 1000u) * 1000000L};
    progress->holds = 1;
    (void)nanosleep(&time, NULL);
}

static void on_block(unsigned int cpu, void *user)
{
    const uint64_t packed = (uintptr_t)user, address = packed >> 16 & 0xFFFFFFFFu;
    (void)cpu;
    if (address == head.fault) {
        stop("fault");
    }
    if (address == head.begin_block) {
        (void)fprintf(report, "block %" PRIu64 " %" PRIu64 "\n", counter.instructions, counter.cycles);
        counter.instruction_limit = counter.instructions + head.block_instruction_limit;
    }
    before_last_but_one = before_last;
    before_last = progress->instructions;
    progress->instructions += packed >> 48;
    progress->address = address;
    edgekit_count_block(NULL, address, (uint32_t)(packed & 0xFFFFu), &counter);
    if (head.hold_ms != 0u && before_last == head.hold_at) {
        hold();
    }
}

/* QEMU goes on after a WFE. Nothing here sends events: the core would wait, at that instruction of the block. */
static void on_wait(unsigned int cpu, void *user)
{
    (void)cpu;
    progress->instructions = before_last + (uintptr_t)user + 1u;
    stop("event");
}

/* What QEMU calls its size has bytes of the next one too, where that one crosses a page. */
static uint64_t size_of(const struct qemu_plugin_insn *instruction)
{
    const uint8_t *bytes = qemu_plugin_insn_data(instruction);
    return bytes[1] >= 0xE8u ? 4u : 2u;
}

static int is_wait(const struct qemu_plugin_insn *instruction)
{
    const uint8_t *bytes = qemu_plugin_insn_data(instruction);
    return (bytes[0] == 0x20u && bytes[1] == 0xBFu) ||
           (bytes[0] == 0xAFu && bytes[1] == 0xF3u && bytes[2] == 0x02u && bytes[3] == 0x80u);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    const uint64_t instructions = qemu_plugin_tb_n_insns(tb);
    const struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(tb, 0);
    const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, instructions - 1);
    const uint64_t address = qemu_plugin_insn_vaddr(first);
    const uint64_t bytes = qemu_plugin_insn_vaddr(last) + size_of(last) - address;
    const uint64_t packed = instructions << 48 | address << 16 | bytes;
    uint64_t index;
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, 0, (void *)(uintptr_t)packed);
    for (index = 0; index < instructions; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, index);
        if (is_wait(instruction)) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_wait, 0, (void *)(uintptr_t)index);
        }
    }
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

static int map_progress(void)
{
    const int file = open("progress", O_RDWR);
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return progress != MAP_FAILED;
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

/* Its files lie in the working folder: tables and progress to read, report and places to write. */
int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    FILE *tables = fopen("tables", "rb");
    (void)info;
    (void)argc;
    (void)argv;
    report = fopen("report", "w");
    if (tables == NULL || report == NULL || !map_progress() || fread(&head, sizeof head, 1, tables) != 1) {
        return -1;
    }
    counter.code_origin = head.code_origin;
    counter.code_bytes = 2u * head.halfwords;
    counter.instructions_before = read_array(tables, sizeof(uint32_t), head.halfwords + 1u);
    counter.cycles_before = read_array(tables, sizeof(uint32_t), head.halfwords + 1u);
    counter.region_of = read_array(tables, sizeof(uint16_t), head.halfwords);
    counter.entry_cycles = read_array(tables, sizeof(uint8_t), head.halfwords);
    counter.regions = calloc(head.regions, sizeof *counter.regions);
    counter.places = calloc(head.halfwords + 1u, sizeof *counter.places);
    counter.taken_branch_cycles = head.taken_branch_cycles;
    counter.instruction_limit = head.block_instruction_limit;
    counter.stop = stop_here;
    counter.interrupt_at = HUGE_VAL;
    counter.next_address = head.entry;
    (void)fclose(tables);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_idle_cb(id, on_sleep);
    qemu_plugin_register_atexit_cb(id, on_exit_of_qemu, NULL);
    return 0;
}
