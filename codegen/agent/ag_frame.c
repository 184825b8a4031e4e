/*
 * Packets of SMP on a serial console.
 *
 * Layout: a packet is its length (u16, of body and CRC), the body, and the CRC-16/XMODEM of the body, big-endian, in base64
 *         lines: the first begins with 06 09, others with 04 14, all end with 0A. Between lines there may be any text.
 * Ranges: any bytes. 06 09 begins a packet wherever it stands; after anything wrong, bytes are dropped until the next one.
 * Owner:  the caller owns the state.
 */
#include "ag_frame.h"

#include <string.h>

#define LINE_BYTES 93u /* of a packet, in 124 characters */

enum { OUTSIDE, INSIDE, NEXT_MARK = 0x04, FIRST_MARK = 0x06 };

static uint32_t crc16(const uint8_t *bytes, uint32_t n)
{
    uint32_t crc = 0;
    while (n-- > 0u) {
        unsigned bit;
        crc ^= (uint32_t)*bytes++ << 8;
        for (bit = 0; bit < 8u; bit++) {
            crc = (crc << 1) ^ ((crc & 0x8000u) != 0u ? 0x11021u : 0u);
        }
    }
    return crc;
}

void ag_frame_clear(ag_frame_t *frame)
{
    frame->received = 0;
    frame->length = 0;
    frame->characters = 0;
    frame->padding = 0;
    frame->state = OUTSIDE;
    frame->complete = 0;
}

uint32_t ag_frame_bytes(const ag_frame_t *frame)
{
    return frame->length - 2u;
}

/* Take a byte of the packet; 0 if it has a place. */
static int store(ag_frame_t *frame, uint8_t byte)
{
    if (frame->received < 2u) {
        frame->length = (frame->length << 8) | byte;
        if (frame->received == 1u && (frame->length < 2u || frame->length > sizeof frame->packet)) {
            return -1;
        }
    } else if (frame->received - 2u < frame->length) {
        frame->packet[frame->received - 2u] = byte;
    } else {
        return -1;
    }
    frame->received++;
    return 0;
}

static uint32_t value_of(uint8_t character)
{
    if (character >= 'A' && character <= 'Z') {
        return character - (uint32_t)'A';
    }
    if (character >= 'a' && character <= 'z') {
        return character - (uint32_t)'a' + 26u;
    }
    if (character >= '0' && character <= '9') {
        return character - (uint32_t)'0' + 52u;
    }
    return character == '+' ? 62u : character == '/' ? 63u : character == '=' ? 0u : 64u;
}

/* Take a base64 character; 0 if it can stand here. */
static int take(ag_frame_t *frame, uint8_t character)
{
    const uint32_t value = value_of(character);
    unsigned i;
    /* Padding is the third and fourth character or the fourth, and a line's last. */
    if (value > 63u || (frame->padding != 0u && (character != '=' || frame->characters == 0u)) ||
        (character == '=' && frame->characters < 2u)) {
        return -1;
    }
    frame->padding = (uint8_t)(frame->padding + (character == '='));
    frame->bits = (frame->bits << 6) | value;
    if (++frame->characters < 4u) {
        return 0;
    }
    frame->characters = 0;
    for (i = 0; i < 3u - frame->padding; i++) {
        if (store(frame, (uint8_t)(frame->bits >> (16u - 8u * i))) != 0) {
            return -1;
        }
    }
    return 0;
}

/* A line has ended. */
static void end_line(ag_frame_t *frame)
{
    frame->state = OUTSIDE;
    frame->padding = 0;
    if (frame->characters != 0u) {
        ag_frame_clear(frame);
    } else if (frame->received >= 2u && frame->received == frame->length + 2u) {
        if (crc16(frame->packet, frame->length) == 0u) {
            frame->complete = 1;
        } else {
            ag_frame_clear(frame);
        }
    }
}

int ag_frame_receive(ag_frame_t *frame, uint8_t byte)
{
    if (frame->complete) {
        return 1;
    }
    if (byte == FIRST_MARK || byte == NEXT_MARK) {
        if (frame->characters != 0u) {
            ag_frame_clear(frame);
        }
        frame->state = byte;
    } else if (frame->state == FIRST_MARK) {
        ag_frame_clear(frame);
        frame->state = byte == 0x09u ? INSIDE : OUTSIDE;
    } else if (frame->state == NEXT_MARK) {
        frame->padding = 0;
        frame->state = byte == 0x14u && frame->received != 0u ? INSIDE : OUTSIDE;
    } else if (frame->state == INSIDE && byte == (uint8_t)'\n') {
        end_line(frame);
    } else if (frame->state == INSIDE && byte != (uint8_t)'\r' && take(frame, byte) != 0) {
        ag_frame_clear(frame);
    }
    return frame->complete;
}

static uint32_t character_of(uint32_t value)
{
    if (value < 52u) {
        return value + (value < 26u ? (uint32_t)'A' : (uint32_t)'a' - 26u);
    }
    return value < 62u ? value - 52u + (uint32_t)'0' : value == 62u ? (uint32_t)'+' : (uint32_t)'/';
}

/* Write up to 3 bytes as four characters. */
static void encode(uint8_t out[4], const uint8_t *bytes, uint32_t n)
{
    uint32_t bits = 0, i;
    for (i = 0; i < 3u; i++) {
        bits = (bits << 8) | (i < n ? bytes[i] : 0u);
    }
    for (i = 0; i < 4u; i++) {
        out[i] = i <= n ? (uint8_t)character_of((bits >> (18u - 6u * i)) & 63u) : (uint8_t)'=';
    }
}

static void put_u16(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

void ag_frame_send(uint8_t *framed, uint32_t n, void (*send)(void *context, const uint8_t *bytes, uint32_t n),
                   void *context)
{
    uint32_t left = AG_FRAMED_BYTES(n), mark = 0x0609u;
    put_u16(framed + 2u + n, crc16(framed + 2, n));
    put_u16(framed, n + 2u);
    while (left > 0u) {
        uint32_t here = left < LINE_BYTES ? left : LINE_BYTES, used = 2;
        uint8_t line[127];
        put_u16(line, mark);
        mark = 0x0414u;
        left -= here;
        while (here > 0u) {
            const uint32_t some = here < 3u ? here : 3u;
            encode(line + used, framed, some);
            used += 4u;
            framed += some;
            here -= some;
        }
        line[used++] = (uint8_t)'\n';
        send(context, line, used);
    }
}
