/*
 * The decision of which slot runs, by the last commit record.
 *
 * States: no record -> CONFIRMED (the first slot with a good image); CONFIRMED or REVERTED -> TEST (a new image in the
 *         other slot) -> CONFIRMED, or after three starts, a failed self-test or on demand -> REVERTED (the old slot).
 *         A first image that fails has no old one: GIVEN_UP, until another is tested; so is one that was lost, before
 *         its slot is written.
 * Cost:   where the record's image is there, header and TLVs are read and the digest compared: the signature was
 *         checked before the record was written. Only without a record or image are signatures checked at start.
 * Owner:  the caller owns the state; records are written by ag_journal.c alone.
 */
#include "ag_boot.h"

#include <string.h>

/* Is the record's image in its slot? */
static int is_there(const ag_boot_t *boot, ag_image_t *image)
{
    const ag_record_t *record = &boot->journal.last;
    return ag_image_read(image, boot->flash, record->slot) == AG_OK &&
           memcmp(image->tlvs + AG_DIGEST, record->digest, sizeof record->digest) == 0;
}

static int append(ag_boot_t *boot, unsigned slot, unsigned state, uint32_t floor, const ag_image_t *image)
{
    ag_record_t record;
    record.slot = (uint8_t)slot;
    record.state = (uint8_t)state;
    record.boots = state == AG_TEST ? AG_TEST_BOOTS : 0u;
    record.floor = floor;
    memcpy(record.digest, image->tlvs + AG_DIGEST, sizeof record.digest);
    return ag_journal_append(&boot->journal, boot->flash, &record);
}

static int give_up(ag_boot_t *boot)
{
    ag_record_t record = boot->journal.last;
    record.state = AG_GIVEN_UP;
    return ag_journal_append(&boot->journal, boot->flash, &record);
}

/* Run the first good image of these slots. */
static void rescue(ag_boot_t *boot, unsigned first, unsigned count)
{
    const int known = boot->journal.last.sequence != 0u;
    const uint32_t floor = boot->journal.last.floor;
    ag_image_t image;
    unsigned slot;
    for (slot = first; slot < first + count; slot++) {
        if (ag_image_check(&image, boot->flash, slot, boot->device, floor) == AG_OK) {
            const uint32_t counter = ag_read_u32(image.tlvs + AG_COUNTER);
            boot->running = (uint8_t)slot;
            if (append(boot, slot, known ? AG_REVERTED : AG_CONFIRMED, known ? floor : counter, &image) != AG_OK) {
                boot->failed = 1;
            }
            return;
        }
    }
    /* Without an image the trial is over: another may be written. */
    if (boot->journal.last.state == AG_TEST && give_up(boot) != AG_OK) {
        boot->failed = 1;
    }
}

/* Count a start of an image on trial, or give it up; returns the slot that runs. */
static unsigned try_once(ag_boot_t *boot)
{
    ag_record_t record = boot->journal.last;
    const unsigned other = record.slot ^ 1u;
    ag_image_t image;
    if (record.boots-- == 0u) {
        boot->failed = ag_boot_revert(boot) != AG_OK;
    } else if (ag_journal_append(&boot->journal, boot->flash, &record) == AG_OK) {
        return record.slot;
    } else {
        /* A trial that cannot be counted might never end. */
        boot->failed = 1;
    }
    return ag_image_read(&image, boot->flash, other) == AG_OK ? other : AG_NO_SLOT;
}

void ag_boot_start(ag_boot_t *boot, const ag_flash_t *flash, const ag_device_t *device)
{
    ag_record_t record;
    ag_image_t image;
    memset(boot, 0, sizeof *boot);
    boot->running = AG_NO_SLOT;
    boot->flash = flash;
    boot->device = device;
    if (ag_journal_open(&boot->journal, flash) != AG_OK) {
        boot->failed = 1;
        return;
    }
    if (boot->journal.last.sequence == 0u) {
        rescue(boot, 0, AG_SLOTS);
        return;
    }
    record = boot->journal.last;
    if (record.state == AG_GIVEN_UP) {
        return;
    }
    if (!is_there(boot, &image)) {
        rescue(boot, record.slot ^ 1u, 1);
        return;
    }
    boot->running = (uint8_t)(record.state == AG_TEST ? try_once(boot) : record.slot);
}

int ag_boot_on_trial(const ag_boot_t *boot)
{
    return boot->journal.last.state == AG_TEST &&
           boot->journal.last.slot == boot->running;
}

unsigned ag_boot_free_slot(ag_boot_t *boot)
{
    const ag_record_t *last = &boot->journal.last;
    if (boot->failed || last->state == AG_TEST) {
        return AG_NO_SLOT;
    }
    if (boot->running != AG_NO_SLOT) {
        return last->slot != boot->running ? AG_NO_SLOT : boot->running ^ 1u;
    }
    /* No record may vouch for what is written from here on. */
    if (last->state != 0u && last->state != AG_GIVEN_UP && give_up(boot) != AG_OK) {
        return AG_NO_SLOT;
    }
    return 0;
}

int ag_boot_test(ag_boot_t *boot, unsigned slot)
{
    const uint32_t floor = boot->journal.last.floor;
    ag_image_t image;
    int result = ag_image_check(&image, boot->flash, slot, boot->device, floor);
    if (result == AG_OK && boot->running == AG_NO_SLOT) {
        /* Nobody has checked what is in the other slot: the trial must not fall back to it. */
        result = ag_flash_clear(boot->flash, boot->flash->layout.regions[slot ^ 1u].at);
    }
    return result != AG_OK ? result : append(boot, slot, AG_TEST, floor, &image);
}

int ag_boot_confirm(ag_boot_t *boot)
{
    const ag_record_t record = boot->journal.last;
    ag_image_t image;
    uint32_t counter;
    if (!is_there(boot, &image)) {
        return AG_BAD_IMAGE;
    }
    counter = ag_read_u32(image.tlvs + AG_COUNTER);
    return append(boot, record.slot, AG_CONFIRMED, counter > record.floor ? counter : record.floor, &image);
}

int ag_boot_revert(ag_boot_t *boot)
{
    const unsigned other = boot->journal.last.slot ^ 1u;
    ag_image_t image;
    if (ag_image_read(&image, boot->flash, other) == AG_OK) {
        return append(boot, other, AG_REVERTED, boot->journal.last.floor, &image);
    }
    return give_up(boot);
}
