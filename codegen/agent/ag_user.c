/*
 * The user group 64: what edgekit's host asks beyond the standard.
 *
 * Layout: commands 0 info, 1 block hashes, 2 self-test, 3 live arousal, dominance and valence, 4 revert, 5 fitting guard.
 * Ranges: at most 16 block hashes are computed for one answer.
 * Owner:  nothing is kept here.
 */
#include "ag_server.h"

#include <string.h>

#define HASH_BYTES 8u
#define MOST_HASHES 16u
#define USER(code) AG_ERROR(AG_USER_GROUP, (code))

static int info(const ag_agent_t *agent, ag_writer_t *writer)
{
    const ag_config_t *config = agent->config;
    const ag_device_t *device = &config->device;
    const ag_layout_t *layout = &config->flash.layout;
    const uint32_t millivolts = config->battery == NULL ? 0u : config->battery(config->context);
    uint8_t digest[AG_SHA256_BYTES];
    ag_put_map(writer, millivolts == 0u ? 12u : 13u);
    ag_put_named_uint(writer, "v", 1);
    ag_put_named_bytes(writer, "class", device->kind, sizeof device->kind);
    ag_put_named_bytes(writer, "vendor", device->vendor, sizeof device->vendor);
    ag_put_text(writer, "abi");
    ag_put_array(writer, 3);
    ag_put_uint(writer, device->abi_major);
    ag_put_uint(writer, device->abi_minor);
    ag_put_uint(writer, device->kernels);
    ag_put_named_bytes(writer, "graph", device->graph, sizeof device->graph);
    ag_put_named_uint(writer, "floor", agent->boot.journal.last.floor);
    ag_put_named_uint(writer, "slot", layout->regions[0].bytes);
    ag_put_named_uint(writer, "ram", device->ram);
    ag_put_text(writer, "fw");
    ag_put_text(writer, config->firmware);
    ag_key_hash(device->key, digest);
    ag_put_named_bytes(writer, "key", digest, sizeof digest);
    ag_put_named_bytes(writer, "pub", device->key, sizeof device->key);
    if (ag_flash_digest(&config->flash, layout->regions[AG_FITTING].at, layout->regions[AG_FITTING].bytes, digest) != AG_OK) {
        return USER(AG_FLASH_ERROR);
    }
    ag_put_named_bytes(writer, "fit", digest, sizeof digest);
    if (millivolts != 0u) {
        ag_put_named_uint(writer, "mv", millivolts);
    }
    return AG_OK;
}

static int block_hashes(const ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[] = {{"slot", AG_UINT}, {"off", AG_UINT}};
    const ag_flash_t *flash = &agent->config->flash;
    uint8_t hashes[MOST_HASHES * HASH_BYTES], digest[AG_SHA256_BYTES];
    const uint32_t slot_bytes = flash->layout.regions[0].bytes;
    ag_value_t fields[2];
    uint32_t n, blocks, offset;
    if (ag_cbor_read(request->body, request->bytes, names, 2, fields) != 0 || fields[0].number >= AG_SLOTS) {
        return AG_INVALID;
    }
    offset = fields[1].number;
    if (offset % AG_SECTOR_BYTES != 0u || offset > slot_bytes) {
        return AG_INVALID;
    }
    blocks = (slot_bytes - offset) / AG_SECTOR_BYTES;
    for (n = 0; n < blocks && n < MOST_HASHES; n++) {
        const uint32_t at = flash->layout.regions[fields[0].number].at + offset + n * AG_SECTOR_BYTES;
        if (ag_flash_digest(flash, at, AG_SECTOR_BYTES, digest) != AG_OK) {
            return USER(AG_FLASH_ERROR);
        }
        memcpy(hashes + n * HASH_BYTES, digest, HASH_BYTES);
    }
    ag_put_map(writer, 4);
    ag_put_named_uint(writer, "bs", AG_SECTOR_BYTES);
    ag_put_named_uint(writer, "off", offset);
    ag_put_named_bytes(writer, "h", hashes, n * HASH_BYTES);
    ag_put_named_uint(writer, "n", slot_bytes / AG_SECTOR_BYTES);
    return AG_OK;
}

/* The golden vector of an image: only of one that passes every check. */
static int self_test(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[] = {{"slot", AG_UINT}};
    ag_value_t slot;
    ag_image_t image;
    int result;
    if (ag_cbor_read(request->body, request->bytes, names, 1, &slot) != 0 || !slot.present || slot.number >= AG_SLOTS) {
        return AG_INVALID;
    }
    result = ag_image_check(&image, &agent->config->flash, slot.number, &agent->config->device,
                            agent->boot.journal.last.floor);
    if (result == AG_OK) {
        result = ag_self_test(agent, slot.number);
    }
    ag_put_map(writer, 2);
    ag_put_named_bool(writer, "ok", result == 0);
    ag_put_text(writer, "rc");
    ag_put_int(writer, result);
    return AG_OK;
}

static int live(const ag_agent_t *agent, ag_writer_t *writer)
{
    int16_t adv_q14[3];
    const uint32_t heard = agent->config->read_adv(agent->config->context, adv_q14);
    unsigned i;
    ag_put_map(writer, heard == 0u ? 1u : 2u);
    if (heard != 0u) {
        ag_put_text(writer, "adv");
        ag_put_array(writer, 3);
        for (i = 0; i < 3u; i++) {
            ag_put_int(writer, adv_q14[i]);
        }
    }
    ag_put_named_uint(writer, "heard", heard);
    return AG_OK;
}

/* Asked again, because the answer got lost, it does nothing more. */
static int revert(ag_agent_t *agent, ag_writer_t *writer)
{
    const unsigned state = agent->boot.journal.last.state;
    if (state < AG_TEST || state == AG_CONFIRMED) {
        return AG_BAD_STATE;
    }
    if (state == AG_TEST && ag_boot_revert(&agent->boot) != AG_OK) {
        return USER(AG_FLASH_ERROR);
    }
    ag_put_map(writer, 0);
    return AG_OK;
}

static int guard(const ag_agent_t *agent, ag_writer_t *writer)
{
    ag_put_map(writer, 1);
    ag_put_named_bool(writer, "lock", ag_flash_layout_holds(&agent->config->flash.layout));
    return AG_OK;
}

int ag_user_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    if (request->op == AG_READ) {
        switch (request->command) {
        case 0:
            return info(agent, writer);
        case 1:
            return block_hashes(agent, request, writer);
        case 3:
            return live(agent, writer);
        case 5:
            return guard(agent, writer);
        default:
            return AG_NOT_SUPPORTED;
        }
    }
    if (request->command == 2u) {
        return self_test(agent, request, writer);
    }
    return request->command == 4u ? revert(agent, writer) : AG_NOT_SUPPORTED;
}
