/* The connection, and what the host is and can. Clients choose what they ask for by what the "hypervisor" is: we look like QEMU to them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define HYPERVISOR "QEMU"
#define HYPERVISOR_VERSION 8002000ull /* 8.2.0: graphical clients offer an older one less */
#define LIBRARY_VERSION 9000000ull    /* 9.0.0: whose protocol we speak */
#define MOST_VCPUS 255
#define OPEN_READ_ONLY 1u
#define AUTH_POLKIT 2u

/* What a server may be able to do, by the protocol's numbers. */
enum feature {
	FEATURE_STRINGS = 9, /* parameters that are strings */
	FEATURE_KEEPALIVE = 10,
	FEATURE_EVENT_CALLBACK = 14,
	FEATURE_CLOSE_CALLBACK = 15,
};

static void run_open(struct rpc_call *call)
{
	char name[1024];
	xdr_get_optional_string(&call->in, name, sizeof(name));
	uint32_t flags = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return;
	if (flags & OPEN_READ_ONLY)
		rpc_make_read_only(call->client);
	rpc_answer(call);
}

/* To what is said to nobody, or heard by nobody. */
static void run_nothing(struct rpc_call *call)
{
	if (libvirt_arguments_end(call))
		rpc_answer(call);
}

/* The socket's rights, or certificates, have said who may come in, unless polkit is to be asked. */
static void run_auth_list(struct rpc_call *call)
{
	if (!libvirt_arguments_end(call))
		return;
	bool outside = rpc_is_outside(call->client);
	xdr_put_u32(&call->out, outside);
	if (outside)
		xdr_put_u32(&call->out, AUTH_POLKIT);
	rpc_answer(call);
}

static void run_feature(struct rpc_call *call)
{
	int32_t feature = xdr_get_i32(&call->in);
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, feature == FEATURE_STRINGS || feature == FEATURE_KEEPALIVE ||
						 feature == FEATURE_EVENT_CALLBACK || feature == FEATURE_CLOSE_CALLBACK);
}

static void answer_text(struct rpc_call *call, const char *text)
{
	if (libvirt_arguments_end(call))
		libvirt_answer_string(call, text);
}

static void run_type(struct rpc_call *call)
{
	answer_text(call, HYPERVISOR);
}

static void run_uri(struct rpc_call *call)
{
	answer_text(call, "qemu:///system");
}

static void run_host_name(struct rpc_call *call)
{
	char name[256];
	if (gethostname(name, sizeof(name)) < 0)
		strcpy(name, "localhost");
	name[sizeof(name) - 1] = '\0';
	answer_text(call, name);
}

static void answer_version(struct rpc_call *call, uint64_t version)
{
	if (!libvirt_arguments_end(call))
		return;
	xdr_put_u64(&call->out, version);
	rpc_answer(call);
}

static void run_version(struct rpc_call *call)
{
	answer_version(call, HYPERVISOR_VERSION);
}

static void run_library_version(struct rpc_call *call)
{
	answer_version(call, LIBRARY_VERSION);
}

static void run_most_vcpus(struct rpc_call *call)
{
	char type[64];
	xdr_get_optional_string(&call->in, type, sizeof(type));
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, MOST_VCPUS);
}

/* Bytes go through no network, or by TLS. */
static void run_is_secure(struct rpc_call *call)
{
	if (libvirt_arguments_end(call))
		libvirt_answer_i32(call, 1);
}

static const struct rpc_procedure procedures[] = {
	{.number = 1, .name = "open", .run = run_open},
	{.number = 2, .name = "close", .run = run_nothing},
	{.number = 3, .name = "type", .run = run_type},
	{.number = 4, .name = "version", .run = run_version},
	{.number = 5, .name = "max-vcpus", .run = run_most_vcpus},
	{.number = 59, .name = "hostname", .run = run_host_name},
	{.number = 60, .name = "feature", .run = run_feature},
	{.number = 66, .name = "auth-list", .outside = true, .run = run_auth_list},
	{.number = 110, .name = "uri", .run = run_uri},
	{.number = 149, .name = "is-secure", .run = run_is_secure},
	{.number = 157, .name = "library-version", .run = run_library_version},
	{.number = 360, .name = "register-close-callback", .run = run_nothing},
	{.number = 361, .name = "deregister-close-callback", .run = run_nothing},
};
const struct libvirt_procedures libvirt_connect_procedures = LIBVIRT_PROCEDURES(procedures);
