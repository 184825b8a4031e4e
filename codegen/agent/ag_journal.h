/* Commit records: which slot runs. */
#ifndef EDGEKIT_AG_JOURNAL_H
#define EDGEKIT_AG_JOURNAL_H

#include "ag_flash.h"

#define AG_RECORD_BYTES 24u

enum {
    AG_TEST = 1,      /* the slot may run `boots` times more, then the other one again */
    AG_CONFIRMED = 2, /* the slot runs */
    AG_REVERTED = 3,  /* the slot runs, because an image in the other one was given up */
    AG_GIVEN_UP = 4   /* no slot runs: the image in this one was given up, and there is no other */
};

/* As it lies in flash; `floor` is the security counter that no image taken from now on may be below. */
typedef struct {
    uint8_t magic;
    uint8_t slot;
    uint8_t state;
    uint8_t boots;
    uint32_t sequence; /* counts from 1 */
    uint32_t floor;
    uint8_t digest[8]; /* the first bytes of the image's SHA-256 */
    uint32_t crc;
} ag_record_t;

/* The caller owns it. */
typedef struct {
    ag_record_t last; /* sequence 0: there is none */
    uint8_t sector;   /* where the next record goes, */
    uint8_t next;     /* and as which one */
} ag_journal_t;

/* Find the last record. */
int ag_journal_open(ag_journal_t *journal, const ag_flash_t *flash);

/* Write a record behind the last one; once this returns AG_OK it is the last one. Magic, sequence and CRC are filled in. */
int ag_journal_append(ag_journal_t *journal, const ag_flash_t *flash, const ag_record_t *record);

#endif
