/*
 * The only way of the update agent to its flash.
 *
 * Ranges: offsets and lengths of any value; what leaves the region, is not aligned, or touches the fitting region is
 *         refused and reaches no flash function.
 * Owner:  the caller owns the flash description, which stays constant.
 */
#include "ag_flash.h"

static int whole_sectors(const ag_region_t *region)
{
    return region->at % AG_SECTOR_BYTES == 0u && region->bytes % AG_SECTOR_BYTES == 0u &&
           region->bytes <= UINT32_MAX - region->at;
}

static int apart(const ag_region_t *a, uint32_t at, uint32_t bytes)
{
    return at + bytes <= a->at || a->at + a->bytes <= at;
}

int ag_flash_layout_holds(const ag_layout_t *layout)
{
    const ag_region_t *all[4];
    unsigned i, j;
    all[0] = &layout->journal;
    all[1] = &layout->fitting;
    all[2] = &layout->slots[0];
    all[3] = &layout->slots[1];
    for (i = 0; i < 4u; i++) {
        if (!whole_sectors(all[i])) {
            return 0;
        }
        for (j = 0; j < i; j++) {
            if (!apart(all[j], all[i]->at, all[i]->bytes)) {
                return 0;
            }
        }
    }
    return layout->journal.bytes == 2u * AG_SECTOR_BYTES && layout->slots[0].bytes == layout->slots[1].bytes &&
           layout->slots[0].bytes != 0u;
}

static int inside(const ag_region_t *region, uint32_t offset, uint32_t n)
{
    return n <= region->bytes && offset <= region->bytes - n;
}

/* May these bytes change? */
static int allowed(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset, uint32_t n, uint32_t unit)
{
    return inside(region, offset, n) && offset % unit == 0u && n % unit == 0u &&
           apart(&flash->layout.fitting, region->at + offset, n);
}

int ag_flash_read(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset, void *to, uint32_t n)
{
    if (!inside(region, offset, n) || flash->read(flash->context, region->at + offset, to, n) != 0) {
        return AG_FLASH_ERROR;
    }
    return AG_OK;
}

int ag_flash_write(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset, const void *from, uint32_t n)
{
    if (!allowed(flash, region, offset, n, AG_WRITE_BYTES) ||
        flash->write(flash->context, region->at + offset, from, n) != 0) {
        return AG_FLASH_ERROR;
    }
    return AG_OK;
}

int ag_flash_erase(const ag_flash_t *flash, const ag_region_t *region, uint32_t offset)
{
    if (!allowed(flash, region, offset, AG_SECTOR_BYTES, AG_SECTOR_BYTES) ||
        flash->erase(flash->context, region->at + offset) != 0) {
        return AG_FLASH_ERROR;
    }
    return AG_OK;
}

uint32_t ag_read_u16(const uint8_t *p)
{
    return p[0] | ((uint32_t)p[1] << 8);
}

uint32_t ag_read_u32(const uint8_t *p)
{
    return ag_read_u16(p) | (ag_read_u16(p + 2) << 16);
}
