/*
 * Commit records in two sectors of flash, used in turns.
 *
 * Layout of a record, 24 bytes, little-endian: magic u8, slot u8, state u8, boots left u8, sequence number u32, floor of
 *         the security counter u32, digest 8 bytes, CRC-32 of all that u32. The highest sequence number wins.
 * Cuts:   a record that was cut short fails its CRC, and the next one goes behind it. A sector is erased only when the
 *         last record lies in the other one.
 * Owner:  the caller owns the journal's state; nothing but this file writes the two sectors.
 */
#include "ag_journal.h"

#include <string.h>

#define MAGIC 0xE6u
#define RECORDS (AG_SECTOR_BYTES / AG_RECORD_BYTES)

static uint32_t crc32(const uint8_t *data, uint32_t n)
{
    uint32_t crc = UINT32_MAX;
    while (n-- > 0u) {
        unsigned bit;
        crc ^= *data++;
        for (bit = 0; bit < 8u; bit++) {
            crc = (crc >> 1) ^ ((crc & 1u) != 0u ? 0xEDB88320u : 0u);
        }
    }
    return ~crc;
}

static void put_u32(uint8_t *p, uint32_t value)
{
    unsigned i;
    for (i = 0; i < 4u; i++) {
        p[i] = (uint8_t)(value >> (8u * i));
    }
}

static int is_blank(const uint8_t *bytes)
{
    unsigned i;
    for (i = 0; i < AG_RECORD_BYTES; i++) {
        if (bytes[i] != 0xFFu) {
            return 0;
        }
    }
    return 1;
}

static int is_record(const uint8_t *bytes)
{
    return bytes[0] == MAGIC && bytes[1] < AG_SLOTS && bytes[2] >= AG_TEST && bytes[2] <= AG_REVERTED &&
           ag_read_u32(bytes + 20) == crc32(bytes, 20);
}

static uint32_t place(const ag_flash_t *flash, unsigned sector, unsigned record)
{
    return flash->layout.regions[AG_JOURNAL].at + sector * AG_SECTOR_BYTES + record * AG_RECORD_BYTES;
}

/* Take the last record of a sector if it is later than the one known. */
static int search(ag_journal_t *journal, const ag_flash_t *flash, unsigned sector)
{
    uint8_t bytes[AG_RECORD_BYTES];
    unsigned i, used = 0;
    for (i = RECORDS; i-- > 0u;) {
        if (ag_flash_read(flash, place(flash, sector, i), bytes, sizeof bytes) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        if (used == 0u && !is_blank(bytes)) {
            used = i + 1u;
        }
        if (used != 0u && is_record(bytes)) {
            const uint32_t sequence = ag_read_u32(bytes + 4);
            if (sequence > journal->sequence) {
                journal->sequence = sequence;
                journal->sector = (uint8_t)sector;
                journal->next = (uint8_t)used;
                journal->last.slot = bytes[1];
                journal->last.state = bytes[2];
                journal->last.boots = bytes[3];
                journal->last.floor = ag_read_u32(bytes + 8);
                memcpy(journal->last.digest, bytes + 12, sizeof journal->last.digest);
            }
            return AG_OK;
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

static int write_record(ag_journal_t *journal, const ag_flash_t *flash, const uint8_t *bytes)
{
    uint8_t back[AG_RECORD_BYTES];
    uint32_t at;
    if (journal->next >= RECORDS) {
        journal->sector ^= 1u;
        journal->next = 0;
        if (ag_flash_erase(flash, place(flash, journal->sector, 0)) != AG_OK) {
            return AG_FLASH_ERROR;
        }
    }
    at = place(flash, journal->sector, journal->next);
    if (ag_flash_write(flash, at, bytes, AG_RECORD_BYTES) != AG_OK ||
        ag_flash_read(flash, at, back, sizeof back) != AG_OK || memcmp(back, bytes, sizeof back) != 0) {
        return AG_FLASH_ERROR;
    }
    journal->next++;
    return AG_OK;
}

int ag_journal_append(ag_journal_t *journal, const ag_flash_t *flash, const ag_record_t *record)
{
    uint8_t bytes[AG_RECORD_BYTES];
    bytes[0] = MAGIC;
    bytes[1] = record->slot;
    bytes[2] = record->state;
    bytes[3] = record->boots;
    put_u32(bytes + 4, journal->sequence + 1u);
    put_u32(bytes + 8, record->floor);
    memcpy(bytes + 12, record->digest, sizeof record->digest);
    put_u32(bytes + 20, crc32(bytes, 20));
    if (write_record(journal, flash, bytes) != AG_OK) {
        /* Whatever the flash holds now decides what is the last record. */
        (void)ag_journal_open(journal, flash);
        return AG_FLASH_ERROR;
    }
    journal->sequence++;
    journal->last = *record;
    return AG_OK;
}
