/* Packets of SMP on a serial console: lines of base64 among other text. */
#ifndef EDGEKIT_AG_FRAME_H
#define EDGEKIT_AG_FRAME_H

#include <stdint.h>

#ifndef AG_PACKET_BYTES
#define AG_PACKET_BYTES 1024u
#endif
/* The longest packet taken: SMP header and body. The host asks for it (MCUmgr parameters). */

/* The caller owns it. */
typedef struct {
    uint8_t packet[AG_PACKET_BYTES + 2u]; /* and its CRC */
    uint32_t received;                    /* bytes of this packet so far, its length's two included */
    uint32_t length;                      /* what it says of itself: packet and CRC */
    uint32_t bits;                        /* of a group of four characters */
    uint8_t characters;                   /* of that group, so far */
    uint8_t padding;                      /* of them '=' */
    uint8_t state;
    uint8_t complete; /* a packet is there; nothing more is taken until ag_frame_clear */
} ag_frame_t;

void ag_frame_clear(ag_frame_t *frame);

/* Take a byte; returns 1 once a packet with a good CRC is there. */
int ag_frame_receive(ag_frame_t *frame, uint8_t byte);

/* The bytes of the packet that is there, without its CRC. */
uint32_t ag_frame_bytes(const ag_frame_t *frame);

#define AG_FRAMED_BYTES(n) ((n) + 4u)

/* Send a packet of `n` bytes as lines of at most 127 bytes, each by one call. `framed` has AG_FRAMED_BYTES(n), and the
   packet from the third byte on; what lies before and behind it is overwritten by length and CRC. */
void ag_frame_send(uint8_t *framed, uint32_t n, void (*send)(void *context, const uint8_t *bytes, uint32_t n),
                   void *context);

#endif
