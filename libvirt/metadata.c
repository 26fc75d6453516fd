/* A guest's title, description, and what other programs have written beside it: looked at and changed alone (domain_xml_metadata.h). */
#include <errno.h>
#include <stdlib.h>

#include "libvirt/call.h"
#include "libvirt/domain_xml_metadata.h"
#include "libvirt/procedures.h"

#define IMPACT (LIBVIRT_LIVE | LIBVIRT_CONFIG)
#define MOST_TEXT 65536

static bool check_kind(struct rpc_call *call, uint32_t kind)
{
	if (kind <= DOMAIN_XML_ELEMENT)
		return true;
	libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "metadata of kind %u: is not known", kind);
	return false;
}

static void run_get(struct rpc_call *call)
{
	struct libvirt_domain domain;
	struct error err;
	char uri[1024], *text;
	libvirt_get_domain(&call->in, &domain);
	uint32_t kind = xdr_get_u32(&call->in);
	bool has_uri = xdr_get_optional_string(&call->in, uri, sizeof(uri));
	uint32_t flags = xdr_get_u32(&call->in);
	const struct guest *g = libvirt_find(call, &domain);
	if (!g || !libvirt_check_flags(call, flags, IMPACT) || !check_kind(call, kind))
		return;
	const struct definition *d = libvirt_look(call, g, flags);
	if (!d)
		return;
	int ret = domain_xml_metadata_get(d->json, (enum domain_xml_metadata)kind, has_uri ? uri : NULL, &text, &err);
	if (ret == -ENOENT) {
		rpc_refuse(call, RPC_NO_METADATA, err.text);
	} else if (ret) {
		libvirt_refuse(call, &err);
	} else {
		libvirt_answer_string(call, text);
		free(text);
	}
}

static void set(struct rpc_call *call, struct guest *g, uint32_t kind, const char *key, const char *uri, const char *text,
		uint32_t flags)
{
	const struct definition *d = flags & LIBVIRT_CONFIG ? g->definition : guest_in_force(g);
	struct error err;
	char *xml;
	if (domain_xml_metadata_set(d->json, (enum domain_xml_metadata)kind, key, uri, text, &xml, &err)) {
		libvirt_refuse(call, &err);
		return;
	}
	libvirt_tune(call, g, json_pack("{s:s}", "xml", xml), flags);
	free(xml);
}

static void run_set(struct rpc_call *call)
{
	struct libvirt_domain domain;
	char key[256], uri[1024], *text = NULL;
	libvirt_get_domain(&call->in, &domain);
	uint32_t kind = xdr_get_u32(&call->in), is_there = xdr_get_u32(&call->in);
	if (is_there > 1)
		call->in.bad = true;
	if (is_there == 1)
		text = xdr_get_long_string(&call->in, MOST_TEXT);
	bool has_key = xdr_get_optional_string(&call->in, key, sizeof(key));
	bool has_uri = xdr_get_optional_string(&call->in, uri, sizeof(uri));
	uint32_t flags = xdr_get_u32(&call->in);
	struct guest *g = libvirt_find(call, &domain);
	if (g && libvirt_check_flags(call, flags, IMPACT) && check_kind(call, kind))
		set(call, g, kind, has_key ? key : NULL, has_uri ? uri : NULL, text, flags);
	free(text);
}

static const struct rpc_procedure procedures[] = {
	{.number = 264, .name = "set-metadata", .changes = true, .run = run_set},
	{.number = 265, .name = "metadata", .run = run_get},
};
const struct libvirt_procedures libvirt_metadata_procedures = LIBVIRT_PROCEDURES(procedures);
