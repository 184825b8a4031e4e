/*
 * Commit records in two sectors of flash, used in turns.
 *
 * Layout: a record is 24 bytes (ag_record_t, in the byte order of the device): magic, slot, state, boots left, sequence
 *         number u32, floor u32, digest 8 bytes, CRC-32 of all that u32. The highest sequence number wins.
 * Cuts:   a record that was cut short fails its CRC, and the next one goes behind it. A sector is erased only when the
 *         last record lies in the other one.
 * Owner:  the caller owns the journal's state; nothing but this file writes the two sectors.
 */
#include "ag_journal.h"

#include <string.h>

#define MAGIC 0xE6u
#define RECORDS (AG_SECTOR_BYTES / AG_RECORD_BYTES)

typedef char record_has_its_size[sizeof(ag_record_t) == AG_RECORD_BYTES ? 1 : -1];

/* By half bytes: a sector full of torn records must not delay a start, which is waited for. */
static uint32_t crc32(const ag_record_t *record)
{
    static const uint32_t remainders[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
        0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    const uint8_t *byte = (const uint8_t *)record, *end = (const uint8_t *)&record->crc;
    uint32_t crc = UINT32_MAX;
    while (byte != end) {
        crc ^= *byte++;
        crc = (crc >> 4) ^ remainders[crc & 15u];
        crc = (crc >> 4) ^ remainders[crc & 15u];
    }
    return ~crc;
}

static int is_blank(const ag_record_t *record)
{
    const uint8_t *byte = (const uint8_t *)record, *end = byte + sizeof *record;
    while (byte != end && *byte == 0xFFu) {
        byte++;
    }
    return byte == end;
}

static int holds(const ag_record_t *record)
{
    return record->magic == MAGIC && record->slot < AG_SLOTS && record->state >= AG_TEST &&
           record->state <= AG_GIVEN_UP && record->crc == crc32(record);
}

static uint32_t place(const ag_flash_t *flash, unsigned sector, unsigned record)
{
    return flash->layout.regions[AG_JOURNAL].at + sector * AG_SECTOR_BYTES + record * AG_RECORD_BYTES;
}

/* Take the last record of a sector if it is later than the one known. */
static int search(ag_journal_t *journal, const ag_flash_t *flash, unsigned sector)
{
    ag_record_t record;
    unsigned i, used = 0;
    for (i = RECORDS; i-- > 0u;) {
        if (ag_flash_read(flash, place(flash, sector, i), &record, sizeof record) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        if (used == 0u && !is_blank(&record)) {
            used = i + 1u;
        }
        if (used != 0u && holds(&record)) {
            if (record.sequence > journal->last.sequence) {
                journal->last = record;
                journal->sector = (uint8_t)sector;
                journal->next = (uint8_t)used;
            }
            break;
        }
    }
    return AG_OK;
}

int ag_journal_open(ag_journal_t *journal, const ag_flash_t *flash)
{
    memset(journal, 0, sizeof *journal);
    /* Without any record the first one goes to the start of sector 0, which is then erased. */
    journal->sector = 1;
    journal->next = RECORDS;
    if (search(journal, flash, 0) != AG_OK || search(journal, flash, 1) != AG_OK) {
        return AG_FLASH_ERROR;
    }
    return AG_OK;
}

static int write_record(ag_journal_t *journal, const ag_flash_t *flash, const ag_record_t *record)
{
    ag_record_t back;
    uint32_t at;
    if (journal->next >= RECORDS) {
        journal->sector ^= 1u;
        journal->next = 0;
        if (ag_flash_erase(flash, place(flash, journal->sector, 0)) != AG_OK) {
            return AG_FLASH_ERROR;
        }
    }
    at = place(flash, journal->sector, journal->next);
    if (ag_flash_write(flash, at, record, sizeof *record) != AG_OK ||
        ag_flash_read(flash, at, &back, sizeof back) != AG_OK || memcmp(&back, record, sizeof back) != 0) {
        return AG_FLASH_ERROR;
    }
    journal->next++;
    return AG_OK;
}

int ag_journal_append(ag_journal_t *journal, const ag_flash_t *flash, const ag_record_t *record)
{
    ag_record_t next = *record;
    next.magic = MAGIC;
    next.sequence = journal->last.sequence + 1u;
    next.crc = crc32(&next);
    if (write_record(journal, flash, &next) != AG_OK) {
        /* Whatever the flash holds now decides what is the last record. */
        (void)ag_journal_open(journal, flash);
        return AG_FLASH_ERROR;
    }
    journal->last = next;
    return AG_OK;
}
