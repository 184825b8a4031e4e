/* Flash as the update agent sees it: regions, and writes and erases that cannot leave them. */
#ifndef EDGEKIT_AG_FLASH_H
#define EDGEKIT_AG_FLASH_H

#include <stdint.h>

#define AG_SECTOR_BYTES 4096u
#define AG_WRITE_BYTES 8u
#define AG_SLOTS 2u

/* What is wrong with an image or the device: error numbers of the user group, and exit codes of the host. */
enum {
    AG_OK = 0,
    AG_BAD_IMAGE = 20,
    AG_WRONG_KEY = 21,
    AG_WRONG_TARGET = 22,
    AG_GRAPH_MISMATCH = 23,
    AG_TOO_BIG = 24,
    AG_DOWNGRADE = 25,
    AG_FLASH_ERROR = 31,
    AG_HAS_REVERTED = 32
};

/* Whole sectors. */
typedef struct {
    uint32_t at;
    uint32_t bytes;
} ag_region_t;

enum {
    AG_JOURNAL = AG_SLOTS, /* two sectors, behind the slots in the list of regions */
    AG_FITTING,            /* the agent reads it, and that is all */
    AG_REGIONS
};

typedef struct {
    ag_region_t regions[AG_REGIONS]; /* the two slots, journal, fitting */
} ag_layout_t;

/* Functions return 0 if they did it all. */
typedef struct {
    void *context;
    ag_layout_t layout;
    int (*read)(void *context, uint32_t at, void *to, uint32_t n);
    /* `at` and `n` are multiples of AG_WRITE_BYTES, and the cells are erased. */
    int (*write)(void *context, uint32_t at, const void *from, uint32_t n);
    /* The sector at `at`. */
    int (*erase)(void *context, uint32_t at);
} ag_flash_t;

/* 1 if regions are whole sectors, and each of them is apart from all others. */
int ag_flash_layout_holds(const ag_layout_t *layout);

/* These return AG_OK or AG_FLASH_ERROR: also for what lies in no region, and for changes outside journal and slots. */
int ag_flash_read(const ag_flash_t *flash, uint32_t at, void *to, uint32_t n);
int ag_flash_write(const ag_flash_t *flash, uint32_t at, const void *from, uint32_t n);
int ag_flash_erase(const ag_flash_t *flash, uint32_t at);

/* Have a sector blank: it is erased unless it reads as blank. */
int ag_flash_clear(const ag_flash_t *flash, uint32_t at);

uint32_t ag_read_u16(const uint8_t *p);
uint32_t ag_read_u32(const uint8_t *p);

#endif
