/* See parameters.h. */
#include "rpc/parameters.h"

#include <string.h>

void rpc_get_parameter(struct xdr_reader *r, struct rpc_parameter *p)
{
	memset(p, 0, sizeof(*p));
	xdr_get_string(r, p->name, sizeof(p->name));
	uint32_t type = xdr_get_u32(r);
	if (type < RPC_INT || type > RPC_STRING) {
		r->bad = true;
		return;
	}
	p->type = (enum rpc_parameter_type)type;
	switch (p->type) {
	case RPC_INT:
		p->number = (uint64_t)(int64_t)xdr_get_i32(r);
		break;
	case RPC_UINT:
	case RPC_BOOLEAN:
		p->number = xdr_get_u32(r);
		break;
	case RPC_LLONG:
	case RPC_ULLONG:
		p->number = xdr_get_u64(r);
		break;
	case RPC_DOUBLE:
		p->number = xdr_get_u64(r);
		memcpy(&p->real, &p->number, sizeof(p->real));
		break;
	case RPC_STRING:
	default:
		xdr_get_string(r, p->text, sizeof(p->text));
	}
}

struct rpc_parameters rpc_parameters_begin(struct xdr_writer *out)
{
	return (struct rpc_parameters){.out = out, .place = xdr_put_later(out)};
}

static void put_head(struct rpc_parameters *list, const char *name, enum rpc_parameter_type type)
{
	xdr_put_string(list->out, name);
	xdr_put_u32(list->out, type);
	list->nr++;
}

void rpc_put_int(struct rpc_parameters *list, const char *name, int32_t value)
{
	put_head(list, name, RPC_INT);
	xdr_put_i32(list->out, value);
}

void rpc_put_uint(struct rpc_parameters *list, const char *name, uint32_t value)
{
	put_head(list, name, RPC_UINT);
	xdr_put_u32(list->out, value);
}

void rpc_put_ullong(struct rpc_parameters *list, const char *name, uint64_t value)
{
	put_head(list, name, RPC_ULLONG);
	xdr_put_u64(list->out, value);
}

void rpc_put_text(struct rpc_parameters *list, const char *name, const char *value)
{
	put_head(list, name, RPC_STRING);
	xdr_put_string(list->out, value);
}

void rpc_parameters_end(struct rpc_parameters *list)
{
	xdr_set_u32(list->out, list->place, list->nr);
}
