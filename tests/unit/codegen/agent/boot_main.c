/* What a start costs: one decision in each block of audio, then the whole check of an image; prints which slot runs. */
#include "ag_boot.h"
#include "board.h"
#include "boot_data.h"

#include <string.h>

int main(void);

static uint8_t journal[2u * AG_SECTOR_BYTES];

static int flash_read(void *context, uint32_t at, void *to, uint32_t n)
{
    (void)context;
    memcpy(to, at < sizeof journal ? journal + at : boot_flash + at, n);
    return 0;
}

static int flash_write(void *context, uint32_t at, const void *from, uint32_t n)
{
    (void)context;
    memcpy(journal + at, from, n);
    return 0;
}

static int flash_erase(void *context, uint32_t at)
{
    (void)context;
    memset(journal + at, 0xFF, AG_SECTOR_BYTES);
    return 0;
}

int main(void)
{
    static ag_boot_t boot;
    static ag_image_t image;
    static const ag_flash_t flash = {
        NULL,
        {{{BOOT_SLOT_0, BOOT_SLOT_BYTES}, {BOOT_SLOT_1, BOOT_SLOT_BYTES}, {0, 2u * AG_SECTOR_BYTES}, {BOOT_FITTING, AG_SECTOR_BYTES}}},
        flash_read,
        flash_write,
        flash_erase,
    };
    int16_t block[64], adv_q14[3];
    unsigned i;
    for (i = 0; i <= BOOT_JOURNALS; i++) {
        memset(adv_q14, 0, sizeof adv_q14);
        if (i < BOOT_JOURNALS) {
            memcpy(journal, boot_journals[i], sizeof journal);
        }
        (void)board_read_audio(block, 64);
        if (i < BOOT_JOURNALS) {
            ag_boot_start(&boot, &flash, &boot_device);
            adv_q14[0] = (int16_t)boot.running;
            adv_q14[1] = (int16_t)boot.journal.last.state;
        } else {
            adv_q14[0] = (int16_t)ag_image_check(&image, &flash, 0, &boot_device, 0);
        }
        board_write_adv(adv_q14);
    }
    (void)board_read_audio(block, 64);
    board_exit(0);
}
