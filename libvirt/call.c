/* See call.h. */
#include "libvirt/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* --- guests --- */

int32_t libvirt_id(const struct guest *g)
{
	return guest_has_vmm(g) ? (int32_t)(g->vmm_id & INT32_MAX) : -1;
}

static unsigned digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

void libvirt_uuid_bytes(const char *text, uint8_t bytes[LIBVIRT_UUID_BYTES])
{
	for (unsigned i = 0; i < LIBVIRT_UUID_BYTES; i++) {
		if (*text == '-')
			text++;
		bytes[i] = (uint8_t)(digit(text[0]) << 4 | digit(text[1]));
		text += 2;
	}
}

struct guest *libvirt_guest_of_uuid(struct guests *guests, const uint8_t uuid[LIBVIRT_UUID_BYTES])
{
	for (struct guest *g = guests->first; g; g = g->next) {
		uint8_t own[LIBVIRT_UUID_BYTES];
		libvirt_uuid_bytes(g->definition->uuid, own);
		if (!memcmp(own, uuid, sizeof(own)))
			return g;
	}
	return NULL;
}

void libvirt_get_domain(struct xdr_reader *r, struct libvirt_domain *d)
{
	xdr_get_string(r, d->name, sizeof(d->name));
	xdr_get_fixed(r, d->uuid, sizeof(d->uuid));
	d->id = xdr_get_i32(r);
}

void libvirt_put_guest(struct xdr_writer *w, const struct guest *g)
{
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	libvirt_uuid_bytes(g->definition->uuid, uuid);
	xdr_put_string(w, g->definition->name);
	xdr_put_fixed(w, uuid, sizeof(uuid));
	xdr_put_i32(w, libvirt_id(g));
}

/* --- arguments --- */

void libvirt_note(const struct rpc_call *call, const char *guest)
{
	if (call->procedure->changes)
		log_info("%s%s%.60s: asked for by %s, in libvirt's protocol", call->procedure->name, *guest ? " " : "", guest,
			 rpc_client_who(call->client));
}

bool libvirt_arguments_end(struct rpc_call *call)
{
	if (xdr_is_done(&call->in))
		return true;
	libvirt_refuse_text(call, RPC_BROKEN, "%s: the arguments are not those that it takes", call->procedure->name);
	return false;
}

struct guest *libvirt_find(struct rpc_call *call, const struct libvirt_domain *d)
{
	if (!libvirt_arguments_end(call))
		return NULL;
	struct guest *g = libvirt_guest_of_uuid(libvirt_server_of(call)->guests, d->uuid);
	if (!g)
		libvirt_refuse_text(call, RPC_NO_DOMAIN, "%.60s: there is no such guest", d->name);
	else
		libvirt_note(call, g->definition->name);
	return g;
}

bool libvirt_check_flags(struct rpc_call *call, uint32_t flags, uint32_t known)
{
	if (!(flags & ~known))
		return true;
	libvirt_refuse_text(call, RPC_ARGUMENT_UNSUPPORTED, "%s: flags 0x%x are not supported", call->procedure->name,
			    flags & ~known);
	return false;
}

struct guest *libvirt_guest(struct rpc_call *call)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	return libvirt_find(call, &d);
}

struct guest *libvirt_guest_flags(struct rpc_call *call, uint32_t known, uint32_t *flags)
{
	struct libvirt_domain d;
	libvirt_get_domain(&call->in, &d);
	*flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &d);
	return g && libvirt_check_flags(call, *flags, known) ? g : NULL;
}

/* --- answers --- */

static enum rpc_error error_code(int code)
{
	switch (code) {
	case ENOMEM:
		return RPC_NO_MEMORY;
	case EINVAL:
		return RPC_INVALID_ARGUMENT;
	case ESRCH:
		return RPC_NO_DOMAIN;
	case EBADFD:
		return RPC_OPERATION_INVALID;
	case ENOTSUP:
		return RPC_CONFIG_UNSUPPORTED;
	case ETIMEDOUT:
		return RPC_TIMEOUT;
	case EBUSY:
		return RPC_BUSY;
	default:
		return RPC_OPERATION_FAILED;
	}
}

void libvirt_refuse(struct rpc_call *call, const struct error *err)
{
	rpc_refuse(call, error_code(err->code), err->text);
}

void libvirt_done(struct rpc_call *call, int ret, const struct error *err)
{
	if (ret)
		libvirt_refuse(call, err);
	else
		rpc_answer(call);
}

void libvirt_answer_i32(struct rpc_call *call, int32_t value)
{
	xdr_put_i32(&call->out, value);
	rpc_answer(call);
}

void libvirt_answer_string(struct rpc_call *call, const char *text)
{
	xdr_put_string(&call->out, text);
	rpc_answer(call);
}

void libvirt_refuse_text(struct rpc_call *call, enum rpc_error code, const char *format, ...)
{
	char text[400];
	va_list values;
	va_start(values, format);
	vsnprintf(text, sizeof(text), format, values);
	va_end(values);
	rpc_refuse(call, code, text);
}

/* --- changes --- */

void libvirt_tune(struct rpc_call *call, struct guest *g, json_t *set, uint32_t flags)
{
	struct error err;
	json_t *result;
	bool runs = guest_has_vmm(g), live = flags & LIBVIRT_LIVE, config = flags & LIBVIRT_CONFIG;
	int ret = 0;
	if (!live && !config) {
		live = runs;
		config = !runs;
	}
	if (!set)
		ret = error_set(&err, ENOMEM, "out of memory");
	else if (live && !runs)
		ret = error_set(&err, EBADFD, "%s: is not running", g->definition->name);
	if (ret == 0)
		ret = guest_tune(g, set, live, config, &result, &err);
	if (ret == 0)
		json_decref(result);
	json_decref(set);
	libvirt_done(call, ret, &err);
}

const struct definition *libvirt_look(struct rpc_call *call, const struct guest *g, uint32_t flags)
{
	if (flags & LIBVIRT_LIVE && !guest_has_vmm(g)) {
		libvirt_refuse_text(call, RPC_OPERATION_INVALID, "%s: is not running", g->definition->name);
		return NULL;
	}
	return flags & LIBVIRT_CONFIG ? g->definition : guest_in_force(g);
}
