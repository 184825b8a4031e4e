/* Which slot runs after a reset, and what changes that. */
#ifndef EDGEKIT_AG_BOOT_H
#define EDGEKIT_AG_BOOT_H

#include "ag_image.h"
#include "ag_journal.h"

#define AG_NO_SLOT 0xFFu
#define AG_TEST_BOOTS 3u

/* The caller owns it. */
typedef struct {
    ag_journal_t journal;
    uint8_t running; /* slot 0 or 1, or AG_NO_SLOT */
    uint8_t failed;  /* the journal cannot be read or written */
    const ag_flash_t *flash;
    const ag_device_t *device;
} ag_boot_t;

/* Decide which slot runs; flash and device stay constant from here on. */
void ag_boot_start(ag_boot_t *boot, const ag_flash_t *flash, const ag_device_t *device);

/* 1 if the running image is on trial. */
int ag_boot_on_trial(const ag_boot_t *boot);

/* The slot that is erased or written now, or AG_NO_SLOT: the other one is running, on trial or what a trial falls back
   to. Where nothing runs, a record that vouches for an image is given up first. */
unsigned ag_boot_free_slot(ag_boot_t *boot);

/* Check the image in the free slot and have it run at the next reset. */
int ag_boot_test(ag_boot_t *boot, unsigned slot);

/* Keep the image on trial; its security counter becomes the floor. */
int ag_boot_confirm(ag_boot_t *boot);

/* Give up the image that is on trial or waits for it. */
int ag_boot_revert(ag_boot_t *boot);

#endif
