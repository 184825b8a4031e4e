/*
 * Uploads of model images.
 *
 * Order:  length and header are checked by the first packet, before anything is erased. Each sector is cleared when the first
 *         byte for it comes. Behind the last byte the file's SHA-256 and the whole image are checked in the flash.
 * Resume: a first packet with the SHA-256 of the upload under way is answered with the offset reached. A packet with
 *         "len" and "sha" whose offset is a sector's start goes on from there: what lies before is in the slot already,
 *         which the host knows from the block hashes, and which the checks at the end prove.
 * Owner:  the state of the upload is in the agent's; a reset forgets it.
 */
#include "ag_server.h"

#include <string.h>

enum { IMAGE, OFF, LEN, DATA, SHA, UPGRADE, FIELDS };

/* Errors of the image group. */
enum { NO_FREE_SLOT = 9, INVALID_SLOT = 14, INVALID_OFFSET = 20, INVALID_HASH = 24, IS_NEWER = 27, OVERRUN = 31 };

#define USER(code) AG_ERROR(AG_USER_GROUP, (code))
#define GROUP(code) AG_ERROR(AG_IMAGE_GROUP, (code))

static uint32_t address_of(const ag_agent_t *agent, unsigned slot)
{
    return agent->config->flash.layout.regions[slot].at;
}

/* Is the header one of an image that this upload may bring? */
static int check_header(const ag_agent_t *agent, const uint8_t *header, uint32_t length, int upgrade)
{
    ag_image_t image, running;
    const int result = ag_image_header(&image, header, length);
    if (result != AG_OK) {
        return USER(result);
    }
    if (image.total != length) {
        return USER(AG_BAD_IMAGE);
    }
    if (upgrade && agent->boot.running != AG_NO_SLOT &&
        ag_image_read(&running, &agent->config->flash, agent->boot.running) == AG_OK &&
        !ag_version_above(&image.version, &running.version)) {
        return GROUP(IS_NEWER);
    }
    return AG_OK;
}

/* Check what a packet with the file's length says; nothing has changed if this fails. */
static int check_start(const ag_agent_t *agent, const ag_value_t *fields, unsigned slot)
{
    const uint32_t length = fields[LEN].number, offset = fields[OFF].number;
    const int upgrade = fields[UPGRADE].number != 0u;
    uint8_t header[AG_HEADER_BYTES];
    if (length > agent->config->flash.layout.regions[0].bytes) {
        return USER(AG_TOO_BIG);
    }
    if (length < AG_HEADER_BYTES) {
        return USER(AG_BAD_IMAGE);
    }
    if (fields[SHA].present && fields[SHA].number != 32u) {
        return GROUP(INVALID_HASH);
    }
    if (offset != 0u) {
        if (!fields[SHA].present || offset % AG_SECTOR_BYTES != 0u || offset >= length) {
            return GROUP(INVALID_OFFSET);
        }
        if (ag_flash_read(&agent->config->flash, address_of(agent, slot), header, sizeof header) != AG_OK) {
            return USER(AG_FLASH_ERROR);
        }
        return check_header(agent, header, length, upgrade);
    }
    /* A first packet too small for the header leaves its check to the end. */
    return fields[DATA].number < AG_HEADER_BYTES ? AG_OK : check_header(agent, fields[DATA].bytes, length, upgrade);
}

/* Begin an upload, or go on with the one under way; `*again` says that the latter answers without data. */
static int start(ag_agent_t *agent, const ag_value_t *fields, unsigned slot, int *again)
{
    ag_upload_t *upload = &agent->upload;
    const uint32_t length = fields[LEN].number;
    const int result = check_start(agent, fields, slot);
    if (result != AG_OK) {
        return result;
    }
    if (fields[OFF].number == 0u && upload->length == length && upload->has_sha && fields[SHA].present &&
        memcmp(upload->sha, fields[SHA].bytes, sizeof upload->sha) == 0 && upload->result == AG_OK) {
        *again = upload->offset != 0u;
        return AG_OK;
    }
    memset(upload, 0, sizeof *upload);
    upload->length = length;
    upload->offset = fields[OFF].number;
    upload->slot = (uint8_t)slot;
    upload->has_sha = fields[SHA].present;
    if (upload->has_sha) {
        memcpy(upload->sha, fields[SHA].bytes, sizeof upload->sha);
    }
    return AG_OK;
}

/* Write whole units from the tail or the data; clears sectors that they begin. */
static int write_units(const ag_agent_t *agent, uint32_t offset, const uint8_t *from, uint32_t n)
{
    const ag_flash_t *flash = &agent->config->flash;
    uint32_t at = address_of(agent, agent->upload.slot) + offset;
    while (n > 0u) {
        const uint32_t to_end = AG_SECTOR_BYTES - at % AG_SECTOR_BYTES;
        const uint32_t here = n < to_end ? n : to_end;
        if (to_end == AG_SECTOR_BYTES && ag_flash_clear(flash, at) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        if (ag_flash_write(flash, at, from, here) != AG_OK) {
            return AG_FLASH_ERROR;
        }
        at += here;
        from += here;
        n -= here;
    }
    return AG_OK;
}

/* Take data at the upload's offset. */
static int take(ag_agent_t *agent, const uint8_t *data, uint32_t n)
{
    ag_upload_t *upload = &agent->upload;
    while (n > 0u) {
        const uint32_t have = upload->offset % AG_WRITE_BYTES;
        const uint32_t begin = upload->offset - have;
        uint32_t some = n - n % AG_WRITE_BYTES;
        if (have == 0u && some != 0u) {
            if (write_units(agent, begin, data, some) != AG_OK) {
                return AG_FLASH_ERROR;
            }
        } else {
            some = n < AG_WRITE_BYTES - have ? n : AG_WRITE_BYTES - have;
            memcpy(upload->tail + have, data, some);
            if (have + some == AG_WRITE_BYTES &&
                write_units(agent, begin, upload->tail, AG_WRITE_BYTES) != AG_OK) {
                return AG_FLASH_ERROR;
            }
        }
        upload->offset += some;
        data += some;
        n -= some;
    }
    return AG_OK;
}

/* All bytes are there: write the last ones and check the whole. `*matches` is whether the file is the promised one. */
static int finish(ag_agent_t *agent, int *matches)
{
    ag_upload_t *upload = &agent->upload;
    const ag_flash_t *flash = &agent->config->flash;
    const uint32_t have = upload->length % AG_WRITE_BYTES;
    uint8_t digest[AG_SHA256_BYTES];
    ag_image_t image;
    int result;
    if (have != 0u) {
        memset(upload->tail + have, 0xFF, AG_WRITE_BYTES - have);
        if (write_units(agent, upload->length - have, upload->tail, AG_WRITE_BYTES) != AG_OK) {
            return AG_FLASH_ERROR;
        }
    }
    if (ag_flash_digest(flash, address_of(agent, upload->slot), upload->length, digest) != AG_OK) {
        return AG_FLASH_ERROR;
    }
    *matches = !upload->has_sha || memcmp(digest, upload->sha, sizeof digest) == 0;
    if (!*matches) {
        return AG_OK;
    }
    result = ag_image_check(&image, flash, upload->slot, &agent->config->device, agent->boot.journal.last.floor);
    return result == AG_OK && image.total != upload->length ? AG_BAD_IMAGE : result;
}

static int put_offset(const ag_agent_t *agent, ag_writer_t *writer, int matches)
{
    const ag_upload_t *upload = &agent->upload;
    const int with_match = upload->length != 0u && upload->offset == upload->length && upload->has_sha;
    if (upload->result != AG_OK) {
        return USER(upload->result);
    }
    ag_put_map(writer, with_match ? 2 : 1);
    ag_put_named_uint(writer, "off", upload->offset);
    if (with_match) {
        ag_put_named_bool(writer, "match", matches);
    }
    return AG_OK;
}

int ag_upload(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[FIELDS] = {{"image", AG_UINT}, {"off", AG_UINT},   {"len", AG_UINT},
                                                  {"data", AG_BYTES}, {"sha", AG_BYTES}, {"upgrade", AG_BOOL}};
    ag_upload_t *upload = &agent->upload;
    ag_value_t fields[FIELDS];
    unsigned slot;
    int again = 0, matches = 1, result;
    if (ag_cbor_read(request->body, request->bytes, names, FIELDS, fields) != 0 || !fields[OFF].present ||
        !fields[DATA].present || (fields[OFF].number == 0u && !fields[LEN].present)) {
        return AG_INVALID;
    }
    if (fields[LEN].present && fields[IMAGE].number != 1u) {
        return GROUP(INVALID_SLOT);
    }
    /* Asked for every packet: what an image was tested for must not change behind that test. */
    slot = ag_boot_free_slot(&agent->boot);
    if (slot == AG_NO_SLOT) {
        return agent->boot.failed ? USER(AG_FLASH_ERROR) : GROUP(NO_FREE_SLOT);
    }
    if (fields[LEN].present) {
        result = start(agent, fields, slot, &again);
        if (result != AG_OK) {
            return result;
        }
    }
    if (again || upload->length == 0u || fields[OFF].number != upload->offset || upload->offset == upload->length) {
        return put_offset(agent, writer, 1);
    }
    if (fields[DATA].number > upload->length - upload->offset) {
        return GROUP(OVERRUN);
    }
    result = take(agent, fields[DATA].bytes, fields[DATA].number);
    if (result == AG_OK && upload->offset == upload->length) {
        result = finish(agent, &matches);
    }
    upload->result = (uint8_t)result;
    result = put_offset(agent, writer, matches);
    if (!matches || upload->result == AG_FLASH_ERROR) {
        upload->length = 0; /* nothing to go on with */
        upload->offset = 0;
        upload->result = AG_OK;
    }
    return result;
}
