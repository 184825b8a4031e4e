/* Inside the update agent: packets and the groups that answer them. */
#ifndef EDGEKIT_AG_SERVER_H
#define EDGEKIT_AG_SERVER_H

#include "ag_agent.h"
#include "ag_cbor.h"

enum { AG_READ = 0, AG_WRITE = 2 };

/* Errors of SMP itself. */
enum { AG_UNKNOWN = 1, AG_INVALID = 3, AG_BAD_STATE = 6, AG_TOO_LONG = 7, AG_NOT_SUPPORTED = 8, AG_TOO_NEW = 13 };

enum { AG_OS_GROUP = 0, AG_IMAGE_GROUP = 1, AG_USER_GROUP = 64 };

/* An error of a group: what handlers return besides AG_OK and the errors above. */
#define AG_ERROR(group, code) ((int)(((unsigned)(group) << 8) | (unsigned)(code)))

typedef struct {
    uint8_t op;
    uint8_t command;
    const uint8_t *body;
    uint32_t bytes;
} ag_request_t;

/* Handlers write the answer's map, or return an error; what they have written is then dropped. */
int ag_os_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer);
int ag_image_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer);
int ag_user_group(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer);
int ag_upload(ag_agent_t *agent, const ag_request_t *request, ag_writer_t *writer);

/* Run the self-test of a slot; an image on trial that fails is given up. */
int ag_self_test(ag_agent_t *agent, unsigned slot);

/* Answer a packet of SMP: returns the answer's bytes in agent->framed, 0 if there is none. */
uint32_t ag_serve(ag_agent_t *agent, const uint8_t *packet, uint32_t n);

#endif
