/*
 * The image group: state of images, upload, erase.
 *
 * Layout: as Zephyr's: read state is a list of {image, slot, version, hash, bootable, pending, confirmed, active, permanent}.
 *         The model is image 1, its slots are 0 and 1.
 * Order:  a test needs an image that passes every check; confirming one needs its self-test first.
 * Owner:  nothing is kept here.
 */
#include "ag_server.h"

#include <string.h>

enum {
    HASH_NOT_FOUND = 8,
    INVALID_SLOT = 14,
    INVALID_HASH = 24,
    ALREADY_PENDING = 28,
    CONFIRMATION_DENIED = 32,
    TEST_OF_ACTIVE_DENIED = 33
};

#define USER(code) AG_ERROR(AG_USER_GROUP, (code))
#define GROUP(code) AG_ERROR(AG_IMAGE_GROUP, (code))

/* As text, written from its end: major, minor, revision and, unless it is 0, the build. */
static void put_version(ag_writer_t *writer, const ag_version_t *version)
{
    uint32_t numbers[4];
    char text[28], *start = text + sizeof text - 1;
    unsigned i = version->build != 0u ? 4u : 3u;
    numbers[0] = version->release >> 24;
    numbers[1] = (version->release >> 16) & 0xFFu;
    numbers[2] = version->release & 0xFFFFu;
    numbers[3] = version->build;
    *start = '\0';
    for (;;) {
        i--;
        do {
            *--start = (char)('0' + (char)(numbers[i] % 10u));
            numbers[i] /= 10u;
        } while (numbers[i] != 0u);
        if (i == 0u) {
            break;
        }
        *--start = '.';
    }
    ag_put_text(writer, start);
}

static void put_image(const ag_boot_t *boot, unsigned slot, const ag_image_t *image, ag_writer_t *writer)
{
    const ag_record_t *last = &boot->journal.last;
    const int recorded = last->state != 0u && last->state != AG_GIVEN_UP && last->slot == slot;
    /* What would run if a trial failed is confirmed. */
    const int trial = last->state == AG_TEST, active = boot->running == slot;
    ag_put_map(writer, 9);
    ag_put_named_uint(writer, "image", 1);
    ag_put_named_uint(writer, "slot", slot);
    ag_put_text(writer, "version");
    put_version(writer, &image->version);
    ag_put_named_bytes(writer, "hash", image->tlvs + AG_DIGEST, 32);
    ag_put_named_bool(writer, "bootable", 0);
    ag_put_named_bool(writer, "pending", recorded && !active);
    ag_put_named_bool(writer, "confirmed", trial ? last->slot != slot : recorded);
    ag_put_named_bool(writer, "active", active);
    ag_put_named_bool(writer, "permanent", recorded && !active && !trial);
}

static int read_state(const ag_agent_t *agent, ag_writer_t *writer)
{
    ag_image_t image;
    unsigned slot;
    uint32_t list;
    ag_put_map(writer, 2);
    ag_put_text(writer, "images");
    list = writer->used;
    ag_put_array(writer, 0);
    for (slot = 0; slot < AG_SLOTS; slot++) {
        if (ag_image_read(&image, &agent->config->flash, slot) == AG_OK) {
            writer->bytes[list]++;
            put_image(&agent->boot, slot, &image, writer);
        }
    }
    ag_put_named_uint(writer, "splitStatus", 0);
    return AG_OK;
}

/* Keep the image that runs. */
static int confirm(ag_agent_t *agent)
{
    int result;
    if (agent->boot.running == AG_NO_SLOT) {
        return GROUP(CONFIRMATION_DENIED);
    }
    if (!ag_boot_on_trial(&agent->boot)) {
        return agent->boot.journal.last.slot == agent->boot.running ? AG_OK : USER(AG_HAS_REVERTED);
    }
    if (!agent->tested && ag_self_test(agent, agent->boot.running) != 0) {
        return USER(AG_HAS_REVERTED);
    }
    result = ag_boot_confirm(&agent->boot);
    return result == AG_OK ? AG_OK : USER(result);
}

/* Have the image in a slot run at the next reset. */
static int test(ag_agent_t *agent, unsigned slot)
{
    ag_boot_t *boot = &agent->boot;
    int result;
    if (slot == boot->running) {
        return GROUP(TEST_OF_ACTIVE_DENIED);
    }
    if (boot->journal.last.state == AG_TEST) {
        return boot->journal.last.slot == slot && boot->journal.last.boots == AG_TEST_BOOTS ? AG_OK : GROUP(ALREADY_PENDING);
    }
    if (boot->failed) {
        return USER(AG_FLASH_ERROR);
    }
    result = ag_boot_test(boot, slot);
    return result == AG_OK ? AG_OK : USER(result);
}

/* The slot with this image; AG_NO_SLOT if none has it. */
static unsigned find(const ag_agent_t *agent, const uint8_t *hash)
{
    ag_image_t image;
    unsigned slot;
    /* The running image first: both slots may hold the same. */
    for (slot = 0; slot < AG_SLOTS; slot++) {
        const unsigned at = agent->boot.running == AG_NO_SLOT ? slot : slot ^ agent->boot.running;
        if (ag_image_read(&image, &agent->config->flash, at) == AG_OK &&
            memcmp(image.tlvs + AG_DIGEST, hash, 32) == 0) {
            return at;
        }
    }
    return AG_NO_SLOT;
}

static int write_state(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[] = {{"hash", AG_BYTES}, {"confirm", AG_BOOL}};
    ag_value_t fields[2];
    int result;
    if (ag_cbor_read(request->body, request->bytes, names, 2, fields) != 0) {
        return AG_INVALID;
    }
    if (fields[0].present ? fields[0].number != 32u : fields[1].number == 0u) {
        return GROUP(INVALID_HASH);
    }
    if (fields[0].present) {
        const unsigned slot = find(agent, fields[0].bytes);
        if (slot == AG_NO_SLOT) {
            return GROUP(HASH_NOT_FOUND);
        }
        if (fields[1].number == 0u) {
            result = test(agent, slot);
        } else if (slot == agent->boot.running) {
            result = confirm(agent);
        } else {
            /* Without a test nothing is confirmed; the host may not know that its test has failed. */
            result = agent->boot.journal.last.state == AG_REVERTED ? USER(AG_HAS_REVERTED) : GROUP(CONFIRMATION_DENIED);
        }
    } else {
        result = confirm(agent);
    }
    return result == AG_OK ? read_state(agent, writer) : result;
}

static int erase(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[] = {{"slot", AG_UINT}};
    const ag_flash_t *flash = &agent->config->flash;
    const unsigned slot = ag_boot_free_slot(&agent->boot);
    ag_value_t wanted;
    uint32_t offset;
    if (ag_cbor_read(request->body, request->bytes, names, 1, &wanted) != 0) {
        return AG_INVALID;
    }
    if (slot == AG_NO_SLOT) {
        return agent->boot.failed ? USER(AG_FLASH_ERROR) : GROUP(ALREADY_PENDING);
    }
    if (wanted.present && wanted.number != slot) {
        return GROUP(INVALID_SLOT);
    }
    memset(&agent->upload, 0, sizeof agent->upload);
    for (offset = 0; offset < flash->layout.regions[0].bytes; offset += AG_SECTOR_BYTES) {
        if (ag_flash_clear(flash, flash->layout.regions[slot].at + offset) != AG_OK) {
            return USER(AG_FLASH_ERROR);
        }
    }
    ag_put_map(writer, 0);
    return AG_OK;
}

int ag_image_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    switch (request->command) {
    case 0:
        return request->op == AG_READ ? read_state(agent, writer) : write_state(agent, request, writer);
    case 1:
        return request->op == AG_WRITE ? ag_upload(agent, request, writer) : AG_NOT_SUPPORTED;
    case 5:
        return request->op == AG_WRITE ? erase(agent, request, writer) : AG_NOT_SUPPORTED;
    default:
        return AG_NOT_SUPPORTED;
    }
}
