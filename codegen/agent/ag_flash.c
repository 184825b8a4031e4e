/*
 * The only way of the update agent to its flash.
 *
 * Ranges: any address and length. Changes must be aligned and lie whole in the journal or in one slot, reads in one region;
 *         anything else is refused and reaches no flash function.
 * Owner:  the caller owns the flash description, which stays constant.
 */
#include "ag_flash.h"

static int apart(uint32_t a, uint32_t a_bytes, uint32_t b, uint32_t b_bytes)
{
    return a < b ? a_bytes <= b - a : b_bytes <= a - b;
}

int ag_flash_layout_holds(const ag_layout_t *layout)
{
    unsigned i, j;
    for (i = 0; i < AG_REGIONS; i++) {
        const ag_region_t *one = &layout->regions[i];
        if ((one->at | one->bytes) % AG_SECTOR_BYTES != 0u || one->bytes == 0u || one->bytes > UINT32_MAX - one->at) {
            return 0;
        }
        for (j = 0; j < i; j++) {
            if (!apart(one->at, one->bytes, layout->regions[j].at, layout->regions[j].bytes)) {
                return 0;
            }
        }
    }
    return layout->regions[AG_JOURNAL].bytes == 2u * AG_SECTOR_BYTES &&
           layout->regions[0].bytes == layout->regions[1].bytes;
}

/* Do these bytes lie in one of the first regions? */
static int inside(const ag_layout_t *layout, unsigned regions, uint32_t at, uint32_t n)
{
    const ag_region_t *region;
    for (region = layout->regions; regions-- > 0u; region++) {
        if (n <= region->bytes && at >= region->at && at - region->at <= region->bytes - n) {
            return 1;
        }
    }
    return 0;
}

/* May these bytes change? Of a layout that does not hold the fitting region may overlap others: it is asked for apart. */
static int allowed(const ag_layout_t *layout, uint32_t at, uint32_t n, uint32_t unit)
{
    const ag_region_t *fitting = &layout->regions[AG_FITTING];
    return (at | n) % unit == 0u && inside(layout, AG_FITTING, at, n) && apart(at, n, fitting->at, fitting->bytes);
}

int ag_flash_read(const ag_flash_t *flash, uint32_t at, void *to, uint32_t n)
{
    const int known = inside(&flash->layout, AG_REGIONS, at, n);
    return known && flash->read(flash->context, at, to, n) == 0 ? AG_OK : AG_FLASH_ERROR;
}

int ag_flash_write(const ag_flash_t *flash, uint32_t at, const void *from, uint32_t n)
{
    const int known = allowed(&flash->layout, at, n, AG_WRITE_BYTES);
    return known && flash->write(flash->context, at, from, n) == 0 ? AG_OK : AG_FLASH_ERROR;
}

int ag_flash_erase(const ag_flash_t *flash, uint32_t at)
{
    const int known = allowed(&flash->layout, at, AG_SECTOR_BYTES, AG_SECTOR_BYTES);
    return known && flash->erase(flash->context, at) == 0 ? AG_OK : AG_FLASH_ERROR;
}

/* An erase takes far longer than reading, and wears the flash. Cells of an erase that was cut short may read as blank:
   only slots are cleared, whose contents are proved by their digest, never the journal. */
int ag_flash_clear(const ag_flash_t *flash, uint32_t at)
{
    uint32_t offset, word = UINT32_MAX;
    for (offset = 0; offset < AG_SECTOR_BYTES && word == UINT32_MAX; offset += (uint32_t)sizeof word) {
        if (ag_flash_read(flash, at + offset, &word, sizeof word) != AG_OK) {
            return AG_FLASH_ERROR;
        }
    }
    return word == UINT32_MAX ? AG_OK : ag_flash_erase(flash, at);
}

uint32_t ag_read_u16(const uint8_t *p)
{
    return p[0] | ((uint32_t)p[1] << 8);
}

uint32_t ag_read_u32(const uint8_t *p)
{
    return ag_read_u16(p) | (ag_read_u16(p + 2) << 16);
}
