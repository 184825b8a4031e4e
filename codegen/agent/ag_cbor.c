/*
 * The part of CBOR (RFC 8949) that SMP needs.
 *
 * Ranges: any bytes. Numbers below 2^32; the message itself may be a map of indefinite length, nothing else may; arrays, maps,
 *         tags and floats are skipped where nobody asks for them.
 * Owner:  values point into the message, which the caller keeps.
 */
#include "ag_cbor.h"

#include <string.h>

#define ENDLESS_MINOR 31u
#define ENDLESS UINT32_MAX

enum { UNSIGNED = AG_UINT, BYTES = AG_BYTES, TEXT = AG_TEXT, ARRAY = 4, MAP = 5, TAG = 6, SIMPLE = AG_BOOL };
enum { FALSE_VALUE = 20, TRUE_VALUE = 21, NULL_VALUE = 22 };

typedef struct {
    uint8_t major;
    uint8_t minor; /* ENDLESS_MINOR: of indefinite length, or the end of such */
    uint32_t argument;
} head_t;

static size_t left(const ag_reader_t *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* Read the head of an item; 0 if there is a good one. */
static int read_head(ag_reader_t *reader, head_t *head)
{
    unsigned bytes;
    uint32_t argument = 0, lost = 0; /* what is 2^32 or above */
    if (left(reader) == 0u) {
        return -1;
    }
    head->major = *reader->at >> 5;
    head->minor = *reader->at & 31u;
    reader->at++;
    head->argument = head->minor;
    if (head->minor < 24u) {
        return 0;
    }
    if (head->minor == ENDLESS_MINOR) {
        head->argument = ENDLESS;
        return head->major == MAP || head->major == SIMPLE ? 0 : -1;
    }
    if (head->minor > 27u) {
        return -1;
    }
    bytes = 1u << (head->minor - 24u);
    if (left(reader) < bytes) {
        return -1;
    }
    while (bytes-- > 0u) {
        lost |= argument >> 24;
        argument = (argument << 8) | *reader->at++;
    }
    head->argument = argument;
    /* Floats, and simple values that nobody asks for, are only stepped over. */
    return head->major == SIMPLE || (lost == 0u && argument != ENDLESS) ? 0 : -1;
}

/* Step over the bytes of a string; 0 if they are there. */
static int skip_bytes(ag_reader_t *reader, uint32_t n)
{
    if (n > left(reader)) {
        return -1;
    }
    reader->at += n;
    return 0;
}

/* Step over the rest of the item that `head` begins. */
static int skip(ag_reader_t *reader, head_t head)
{
    uint32_t items = 1; /* still to come, this one included */
    for (;;) {
        if (head.minor == ENDLESS_MINOR) {
            return -1;
        }
        items--;
        if (head.major == BYTES || head.major == TEXT) {
            if (skip_bytes(reader, head.argument) != 0) {
                return -1;
            }
        } else if (head.major == ARRAY || head.major == MAP) {
            /* Each item is a byte at least: more of them than bytes cannot follow, so the sum stays small. */
            if (head.argument > left(reader)) {
                return -1;
            }
            items += head.major == MAP ? 2u * head.argument : head.argument;
        } else if (head.major == TAG) {
            items++;
        }
        if (items == 0u) {
            return 0;
        }
        if (items > left(reader) || read_head(reader, &head) != 0) {
            return -1;
        }
    }
}

/* Read a value of a kind; 0 if it is one. */
static int read_value(ag_reader_t *reader, const head_t *head, unsigned kind, ag_value_t *value)
{
    if (head->major != kind) {
        return -1;
    }
    value->number = head->argument;
    value->bytes = reader->at;
    value->present = 1;
    if (kind == AG_BOOL) {
        value->number = head->minor == TRUE_VALUE;
        return head->minor == FALSE_VALUE || head->minor == TRUE_VALUE ? 0 : -1;
    }
    return kind == AG_UINT ? 0 : skip_bytes(reader, head->argument);
}

static uint32_t length_of(const char *text)
{
    uint32_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}

static const ag_field_name_t *find(const ag_field_name_t *names, unsigned count, const uint8_t *name, uint32_t n)
{
    unsigned i;
    for (i = 0; i < count; i++) {
        if (length_of(names[i].name) == n && memcmp(names[i].name, name, n) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

/* Read the value of the field of this name. */
static int read_field(ag_reader_t *reader, const uint8_t *name, uint32_t n, const ag_field_name_t *names,
                      unsigned count, ag_value_t *values)
{
    const ag_field_name_t *field = find(names, count, name, n);
    head_t head;
    if (read_head(reader, &head) != 0) {
        return -1;
    }
    if (field == NULL || (head.major == SIMPLE && head.minor == NULL_VALUE)) {
        return skip(reader, head);
    }
    if (values[field - names].present) {
        return -1;
    }
    return read_value(reader, &head, field->kind, &values[field - names]);
}

int ag_cbor_read(const uint8_t *message, size_t n, const ag_field_name_t *names, unsigned count, ag_value_t *values)
{
    ag_reader_t reader;
    head_t head;
    uint32_t pairs;
    reader.at = message;
    reader.end = message + n;
    memset(values, 0, count * sizeof *values);
    if (read_head(&reader, &head) != 0 || head.major != MAP) {
        return -1;
    }
    for (pairs = head.argument; pairs > 0u; pairs -= pairs != ENDLESS) {
        const uint8_t *name;
        if (read_head(&reader, &head) != 0) {
            return -1;
        }
        if (head.major == SIMPLE && head.minor == ENDLESS_MINOR && pairs == ENDLESS) {
            break;
        }
        name = reader.at;
        if (head.major != TEXT || skip_bytes(&reader, head.argument) != 0 ||
            read_field(&reader, name, head.argument, names, count, values) != 0) {
            return -1;
        }
    }
    return left(&reader) == 0u ? 0 : -1;
}

static void put(ag_writer_t *writer, const uint8_t *bytes, uint32_t n)
{
    if (writer->full || n > writer->capacity - writer->used) {
        writer->full = 1;
        return;
    }
    while (n-- > 0u) {
        writer->bytes[writer->used++] = *bytes++;
    }
}

static void put_head(ag_writer_t *writer, unsigned major, uint32_t argument)
{
    uint8_t head[5];
    unsigned bytes, i;
    if (argument < 24u) {
        bytes = 0;
        head[0] = (uint8_t)((major << 5) | argument);
    } else {
        bytes = argument < 0x100u ? 1u : argument < 0x10000u ? 2u : 4u;
        head[0] = (uint8_t)((major << 5) | (bytes == 1u ? 24u : bytes == 2u ? 25u : 26u));
    }
    for (i = 0; i < bytes; i++) {
        head[1u + i] = (uint8_t)(argument >> (8u * (bytes - 1u - i)));
    }
    put(writer, head, 1u + bytes);
}

void ag_put_map(ag_writer_t *writer, uint32_t pairs) { put_head(writer, MAP, pairs); }
void ag_put_array(ag_writer_t *writer, uint32_t items) { put_head(writer, ARRAY, items); }
void ag_put_uint(ag_writer_t *writer, uint32_t value) { put_head(writer, UNSIGNED, value); }

void ag_put_int(ag_writer_t *writer, int32_t value)
{
    const unsigned major = value < 0 ? 1u : 0u;
    put_head(writer, major, (uint32_t)(value < 0 ? -(value + 1) : value));
}

static void put_string(ag_writer_t *writer, unsigned major, const uint8_t *bytes, uint32_t n)
{
    put_head(writer, major, n);
    put(writer, bytes, n);
}

void ag_put_text_of(ag_writer_t *writer, const uint8_t *text, uint32_t n) { put_string(writer, TEXT, text, n); }

void ag_put_text(ag_writer_t *writer, const char *text)
{
    ag_put_text_of(writer, (const uint8_t *)text, length_of(text));
}

void ag_put_named_uint(ag_writer_t *writer, const char *name, uint32_t value)
{
    ag_put_text(writer, name);
    ag_put_uint(writer, value);
}

void ag_put_named_bool(ag_writer_t *writer, const char *name, int value)
{
    ag_put_text(writer, name);
    put_head(writer, SIMPLE, value ? TRUE_VALUE : FALSE_VALUE);
}

void ag_put_named_bytes(ag_writer_t *writer, const char *name, const uint8_t *bytes, uint32_t n)
{
    ag_put_text(writer, name);
    put_string(writer, BYTES, bytes, n);
}
