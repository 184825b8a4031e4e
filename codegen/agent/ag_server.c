/*
 * Packets of SMP, and the OS group.
 *
 * Layout: header of 8 bytes: operation and version u8, flags u8, length u16, group u16, sequence u8, command u8, big-endian;
 *         then one CBOR map. Errors of version 2 are {"err": {"group", "rc"}}, of version 1 {"rc"}.
 * Ranges: any packet; one that is no request gets no answer.
 * Owner:  the answer lies in the agent's state until the next one.
 */
#include "ag_server.h"

#include <string.h>

#define HEADER_BYTES 8u
#define VERSION_2 1u

static void put_error(ag_writer_t *writer, int error, unsigned version)
{
    const uint32_t group = (uint32_t)error >> 8;
    uint32_t code = (uint32_t)error & 0xFFu;
    ag_put_map(writer, 1);
    if (group != 0u) {
        if (version < VERSION_2) {
            code = AG_UNKNOWN;
        } else {
            ag_put_text(writer, "err");
            ag_put_map(writer, 2);
            ag_put_named_uint(writer, "group", group);
        }
    }
    ag_put_named_uint(writer, "rc", code);
}

static int dispatch(ag_agent_t *agent, uint32_t group, const ag_request_t *request, ag_writer_t *writer)
{
    switch (group) {
    case AG_OS_GROUP:
        return ag_os_group(agent, request, writer);
    case AG_IMAGE_GROUP:
        return ag_image_group(agent, request, writer);
    case AG_USER_GROUP:
        return ag_user_group(agent, request, writer);
    default:
        return AG_NOT_SUPPORTED;
    }
}

uint32_t ag_serve(ag_agent_t *agent, const uint8_t *packet, uint32_t n)
{
    ag_request_t request;
    ag_writer_t writer;
    uint8_t *reply = agent->framed + 2;
    unsigned version;
    int error;
    if (n < HEADER_BYTES || (((uint32_t)packet[2] << 8) | packet[3]) != n - HEADER_BYTES || (packet[0] & 5u) != 0u) {
        return 0;
    }
    version = (packet[0] >> 3) & 3u;
    request.op = packet[0] & 7u;
    request.command = packet[7];
    request.body = packet + HEADER_BYTES;
    request.bytes = n - HEADER_BYTES;
    writer.bytes = reply;
    writer.capacity = AG_REPLY_BYTES;
    writer.used = HEADER_BYTES;
    writer.full = 0;
    memcpy(reply, packet, HEADER_BYTES);
    error = version > VERSION_2 ? AG_TOO_NEW
                                : dispatch(agent, ((uint32_t)packet[4] << 8) | packet[5], &request, &writer);
    if (error == AG_OK && writer.full) {
        error = AG_TOO_LONG;
    }
    if (error != AG_OK) {
        writer.used = HEADER_BYTES;
        writer.full = 0;
        put_error(&writer, error, version);
    }
    reply[0] = (uint8_t)((version > VERSION_2 ? VERSION_2 : version) << 3 | request.op | 1u);
    reply[1] = 0;
    reply[2] = (uint8_t)((writer.used - HEADER_BYTES) >> 8);
    reply[3] = (uint8_t)(writer.used - HEADER_BYTES);
    return writer.used;
}

static int echo(const ag_request_t *request, ag_writer_t *writer)
{
    static const ag_field_name_t names[] = {{"d", AG_TEXT}};
    ag_value_t text;
    if (ag_cbor_read(request->body, request->bytes, names, 1, &text) != 0) {
        return AG_INVALID;
    }
    ag_put_map(writer, 1);
    ag_put_text(writer, "r");
    ag_put_text_of(writer, text.bytes, text.present ? text.number : 0u);
    return AG_OK;
}

int ag_os_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer)
{
    if (request->command == 0u) {
        return echo(request, writer);
    }
    if (request->command == 5u && request->op == AG_WRITE) {
        agent->reset = 1;
        ag_put_map(writer, 0);
        return AG_OK;
    }
    if (request->command == 6u && request->op == AG_READ) {
        ag_put_map(writer, 2);
        ag_put_named_uint(writer, "buf_size", AG_PACKET_BYTES);
        ag_put_named_uint(writer, "buf_count", 1);
        return AG_OK;
    }
    return AG_NOT_SUPPORTED;
}
