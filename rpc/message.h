/*
 * Messages of libvirt's remote protocol: how a stream is cut into them, and what is in front of each.
 *
 *   length (counts itself) | program | version | procedure | type | serial | status | payload
 */
#ifndef RPC_MESSAGE_H
#define RPC_MESSAGE_H

#include "rpc/xdr.h"

#define RPC_PROGRAM 0x20008086u
#define RPC_VERSION 1
#define RPC_KEEPALIVE_PROGRAM 0x6b656570u
#define RPC_HEADER_BYTES 28
#define RPC_MOST_IN (1u << 20) /* the protocol allows 32 MiB; the largest that a client has to say is a guest's XML */

enum rpc_type {
	RPC_CALL,
	RPC_REPLY,
	RPC_EVENT,
	RPC_STREAM,
};

enum rpc_status {
	RPC_OK,
	RPC_ERROR,
	RPC_CONTINUE,
};

/* The protocol's numbers for what went wrong, as far as we say them. */
enum rpc_error {
	RPC_INTERNAL = 1,
	RPC_NO_MEMORY = 2,
	RPC_NO_SUPPORT = 3,
	RPC_INVALID_ARGUMENT = 8,
	RPC_OPERATION_FAILED = 9,
	RPC_XML_ERROR = 27,
	RPC_DOMAIN_EXISTS = 28,
	RPC_OPERATION_DENIED = 29,
	RPC_BROKEN = 39,
	RPC_NO_DOMAIN = 42,
	RPC_AUTH_FAILED = 45,
	RPC_NO_POOL = 49,
	RPC_NO_VOLUME = 50,
	RPC_OPERATION_INVALID = 55,
	RPC_CONFIG_UNSUPPORTED = 67,
	RPC_TIMEOUT = 68,
	RPC_NO_SNAPSHOT = 72,
	RPC_ARGUMENT_UNSUPPORTED = 74,
	RPC_AUTH_CANCELLED = 79,
	RPC_NO_METADATA = 80,
	RPC_UNSUPPORTED = 84,
	RPC_BUSY = 87,
	RPC_AUTH_UNAVAILABLE = 94,
};

struct rpc_header {
	uint32_t program, version, procedure, type, serial, status;
};

/* What has come of a stream, and not been looked at yet. All zero is empty. */
struct rpc_input {
	uint8_t *data;
	size_t len, size, start;
};

/* Room for bytes that are to be read, at least least. NULL without memory. Then rpc_input_add() says how many came. */
uint8_t *rpc_input_room(struct rpc_input *in, size_t least);
void rpc_input_add(struct rpc_input *in, size_t len);
/*
 * The next message; its payload is there until the next call. Returns 1, 0 when it is not whole yet, -EBADMSG for a length that cannot be: then there is
 * no going on. Memory is taken for bytes that have come, never for a length that was said.
 */
int rpc_input_next(struct rpc_input *in, struct rpc_header *header, struct xdr_reader *payload);
void rpc_input_free(struct rpc_input *in);

/* Leaves room for the header of a message, which is to be the first in w; rpc_end() fills it in when the payload is there. */
void rpc_begin(struct xdr_writer *w);
void rpc_end(struct xdr_writer *w, const struct rpc_header *header);
/* The payload of an error. */
void rpc_put_error(struct xdr_writer *w, enum rpc_error code, const char *text);

#endif
