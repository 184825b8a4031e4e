/* The part of CBOR (RFC 8949) that SMP needs. */
#ifndef EDGEKIT_AG_CBOR_H
#define EDGEKIT_AG_CBOR_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} ag_reader_t;

/* What a field of a map may hold: major types of CBOR. */
enum { AG_UINT = 0, AG_BYTES = 2, AG_TEXT = 3, AG_BOOL = 7 };

typedef struct {
    const char *name;
    uint8_t kind;
} ag_field_name_t;

/* A value: a number (AG_UINT, AG_BOOL), or bytes within the message. */
typedef struct {
    uint8_t present;
    uint32_t number; /* or how many bytes */
    const uint8_t *bytes;
} ag_value_t;

/* Read a map into `values`, one for each of `count` names, at most 32; fields of other names are skipped, a null counts
   as absent. Returns 0 if the message is one map and nothing else, each field at most once and of its kind. */
int ag_cbor_read(const uint8_t *message, size_t n, const ag_field_name_t *names, unsigned count, ag_value_t *values);

/* Where a message is written; what does not fit is dropped and sets `full`. */
typedef struct {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t used;
    uint8_t full;
} ag_writer_t;

void ag_put_map(ag_writer_t *writer, uint32_t pairs);
void ag_put_array(ag_writer_t *writer, uint32_t items);
void ag_put_uint(ag_writer_t *writer, uint32_t value);
void ag_put_int(ag_writer_t *writer, int32_t value);
void ag_put_text(ag_writer_t *writer, const char *text);
void ag_put_text_of(ag_writer_t *writer, const uint8_t *text, uint32_t n);

/* A field of a map. */
void ag_put_named_uint(ag_writer_t *writer, const char *name, uint32_t value);
void ag_put_named_bool(ag_writer_t *writer, const char *name, int value);
void ag_put_named_bytes(ag_writer_t *writer, const char *name, const uint8_t *bytes, uint32_t n);

#endif
