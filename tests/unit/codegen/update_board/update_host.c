/* The board's part of the update agent on this machine: flash in a file, the serial line on standard input and output. */
#define _DEFAULT_SOURCE
#include "board.h"
#include "edgekit_update.h"
#include "update.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FLASH_BYTES (EDGEKIT_UPDATE_SLOT_1 + EDGEKIT_UPDATE_SLOT_BYTES - EDGEKIT_UPDATE_JOURNAL)
#define SECTOR_BYTES 4096u

int main(int argc, char **argv);

static const char *flash_file;
static int next_byte = EOF;

static uint8_t *flash(uint32_t at)
{
    return (uint8_t *)(uintptr_t)at;
}

static void end(int code)
{
    FILE *file = fopen(flash_file, "wb");
    if (file == NULL || fwrite(flash(EDGEKIT_UPDATE_JOURNAL), 1, FLASH_BYTES, file) != FLASH_BYTES || fclose(file) != 0) {
        exit(90);
    }
    exit(code);
}

void edgekit_init(edgekit_t *e, const void *model)
{
    const uint8_t *bytes = model;
    e->model = bytes[0] == (uint8_t)'E' ? bytes : NULL;
    e->heard = 0;
    e->sum = 0;
}

int edgekit_push(edgekit_t *e, const int16_t *pcm, size_t n)
{
    if (e->model == NULL) {
        return 1;
    }
    e->heard += (uint32_t)n;
    while (n-- > 0u) {
        const int32_t sample = *pcm++;
        e->sum += (uint32_t)sample;
    }
    return 0;
}

int edgekit_read(const edgekit_t *e, int16_t adv_q14[3])
{
    adv_q14[0] = (int16_t)(e->heard & 0x3FFFu);
    adv_q14[1] = (int16_t)(e->sum & 0x3FFFu);
    adv_q14[2] = (int16_t)e->model[99];
    return e->heard == 0u;
}

int board_serial_read(uint8_t *byte)
{
    if (next_byte == EOF) {
        return 0;
    }
    *byte = (uint8_t)next_byte;
    next_byte = EOF;
    return 1;
}

void board_serial_write(const uint8_t *bytes, size_t n)
{
    (void)fwrite(bytes, 1, n, stdout);
}

int board_flash_write(uint32_t at, const void *from, uint32_t n)
{
    const uint8_t *bytes = from;
    uint32_t i;
    for (i = 0; i < n; i++) {
        if (at % 8u != 0u || *flash(at + i) != 0xFFu) {
            exit(91);
        }
        *flash(at + i) = bytes[i];
    }
    return 0;
}

int board_flash_erase(uint32_t at)
{
    memset(flash(at), 0xFF, SECTOR_BYTES);
    return 0;
}

void board_start_serial(void)
{
}

void board_reset(void)
{
    end(0);
    abort();
}

/* update_host FLASH: exit code 0 if a model runs, else 1; 0 after a reset. */
int main(int argc, char **argv)
{
    static edgekit_t state;
    FILE *file;
    int runs;
    void *at = flash(EDGEKIT_UPDATE_JOURNAL);
    if (argc != 2 || mmap(at, FLASH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at) {
        return 92;
    }
    flash_file = argv[1];
    file = fopen(flash_file, "rb");
    if (file == NULL || fread(at, 1, FLASH_BYTES, file) != FLASH_BYTES || fclose(file) != 0) {
        return 93;
    }
    runs = update_start(&state);
    while ((next_byte = getchar()) != EOF) {
        serial_interrupt();
        update_poll();
    }
    end(runs ? 0 : 1);
}
