/* See message.h. */
#include "rpc/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FROM_HYPERVISOR 10 /* the protocol's number for QEMU's driver: clients know what to make of its errors */
#define LEVEL_ERROR 2

uint8_t *rpc_input_room(struct rpc_input *in, size_t least)
{
	if (in->start) {
		in->len -= in->start;
		memmove(in->data, in->data + in->start, in->len);
		in->start = 0;
	}
	if (in->size - in->len < least) {
		uint8_t *more = realloc(in->data, in->len + least);
		if (!more)
			return NULL;
		in->data = more;
		in->size = in->len + least;
	}
	return in->data + in->len;
}

void rpc_input_add(struct rpc_input *in, size_t len)
{
	in->len += len;
}

int rpc_input_next(struct rpc_input *in, struct rpc_header *header, struct xdr_reader *payload)
{
	struct xdr_reader r = {.at = in->data + in->start, .left = in->len - in->start};
	if (r.left < 4)
		return 0;
	uint32_t len = xdr_get_u32(&r);
	if (len < RPC_HEADER_BYTES || len > RPC_MOST_IN)
		return -EBADMSG;
	if (in->len - in->start < len)
		return 0;
	r.left = len - 4;
	header->program = xdr_get_u32(&r);
	header->version = xdr_get_u32(&r);
	header->procedure = xdr_get_u32(&r);
	header->type = xdr_get_u32(&r);
	header->serial = xdr_get_u32(&r);
	header->status = xdr_get_u32(&r);
	*payload = r;
	in->start += len;
	return 1;
}

void rpc_input_free(struct rpc_input *in)
{
	free(in->data);
	*in = (struct rpc_input){.data = NULL};
}

void rpc_begin(struct xdr_writer *w)
{
	static const uint8_t none[RPC_HEADER_BYTES];
	w->len = 0;
	w->failed = false;
	xdr_put_fixed(w, none, sizeof(none));
}

void rpc_end(struct xdr_writer *w, const struct rpc_header *h)
{
	const uint32_t words[] = {(uint32_t)w->len, h->program, h->version, h->procedure, h->type, h->serial, h->status};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		xdr_set_u32(w, 4 * i, words[i]);
}

void rpc_put_error(struct xdr_writer *w, enum rpc_error code, const char *text)
{
	xdr_put_i32(w, (int32_t)code);
	xdr_put_i32(w, FROM_HYPERVISOR);
	xdr_put_optional_string(w, text);
	xdr_put_i32(w, LEVEL_ERROR);
	xdr_put_u32(w, 0);                /* no domain */
	xdr_put_optional_string(w, "%s"); /* how the next is to be printed */
	xdr_put_optional_string(w, text);
	xdr_put_optional_string(w, NULL);
	xdr_put_i32(w, -1);
	xdr_put_i32(w, -1);
	xdr_put_u32(w, 0); /* no network */
}
