/* What is said in XML: a guest's definition, its devices, and what the host and its guests can be. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "libvirt/capabilities.h"
#include "libvirt/device_change.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "libvirt/lifecycle.h"
#include "libvirt/procedures.h"

#define MOST_XML (512u << 10)
#define XML_INACTIVE 2u
#define XML_FLAGS \
	15u /* also secrets, of which there are none, the CPU as the host has it, and what another host would understand */
#define DEFINE_VALIDATE 1u

static void run_xml(struct rpc_call *call)
{
	uint32_t flags;
	const struct guest *g = libvirt_guest_flags(call, XML_FLAGS, &flags);
	if (!g)
		return;
	const struct domain_xml_state state = {.id = libvirt_id(g)};
	bool inactive = flags & XML_INACTIVE || !guest_has_vmm(g);
	char *xml = domain_xml_write(inactive ? g->definition->json : guest_in_force(g)->json, inactive ? NULL : &state);
	if (xml)
		libvirt_answer_string(call, xml);
	else
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
	free(xml);
}

/* Reads a definition, which may change a guest that is there. *made: there was none. NULL: the call is answered. */
static struct guest *define(struct rpc_call *call, const char *xml, bool *made)
{
	struct guests *guests = libvirt_server_of(call)->guests;
	struct guest *g = NULL;
	struct error err, none;
	json_t *definition = NULL;
	char left_out[DOMAIN_XML_LEFT_OUT_BYTES];
	int ret = domain_xml_read_saying(xml, strlen(xml), &definition, left_out, sizeof(left_out), &err);
	const char *name = ret ? NULL : json_string_value(json_object_get(definition, "name"));
	*made = name && !guests_find(guests, name, &none);
	if (name)
		libvirt_note(call, name);
	if (ret == 0)
		ret = guests_define(guests, definition, true, &g, &err);
	if (definition)
		json_decref(definition);
	if (ret == 0) {
		if (*left_out)
			log_warning("%s: defined without devices that no guest has here: %s", g->definition->name, left_out);
		return g;
	}
	if (ret == -EINVAL)
		rpc_refuse(call, RPC_CONFIG_UNSUPPORTED, err.text);
	else
		libvirt_refuse(call, &err);
	return NULL;
}

/* Arguments that are XML and flags; NULL: the call is answered. For free(3). */
static char *get_xml(struct rpc_call *call, bool has_flags, uint32_t known, uint32_t *flags)
{
	char *xml = xdr_get_long_string(&call->in, MOST_XML);
	*flags = has_flags ? xdr_get_u32(&call->in) : 0;
	if (libvirt_arguments_end(call) && libvirt_check_flags(call, *flags, known))
		return xml;
	free(xml);
	return NULL;
}

static void answer_defined(struct rpc_call *call, bool has_flags)
{
	uint32_t flags;
	bool made;
	char *xml = get_xml(call, has_flags, DEFINE_VALIDATE, &flags);
	const struct guest *g = xml ? define(call, xml, &made) : NULL;
	free(xml);
	if (!g)
		return;
	libvirt_put_guest(&call->out, g);
	rpc_answer(call);
}

static void run_define(struct rpc_call *call)
{
	answer_defined(call, false);
}

static void run_define_flags(struct rpc_call *call)
{
	answer_defined(call, true);
}

/* Every guest is defined here: it stays when it has ended. */
static void run_create(struct rpc_call *call)
{
	uint32_t flags;
	bool made;
	char *xml = get_xml(call, true, LIBVIRT_START_FLAGS, &flags);
	struct guest *g = xml ? define(call, xml, &made) : NULL;
	free(xml);
	if (g)
		libvirt_start_defined(call, g, flags, made);
}

/* --- devices --- */

#define DEVICE_FORCE 4u /* a CD drive that the guest has locked: it is not asked */

/* Only for the next start: nothing is plugged into a guest that runs, or out of it. */
static void change_device(struct rpc_call *call, enum device_change change, bool has_flags)
{
	struct libvirt_domain d;
	struct error err;
	bool made;
	libvirt_get_domain(&call->in, &d);
	char *text = NULL, *device = xdr_get_long_string(&call->in, MOST_XML);
	uint32_t flags = has_flags ? xdr_get_u32(&call->in) : 0;
	const struct guest *g = libvirt_find(call, &d);
	if (!g || !libvirt_check_flags(call, flags, LIBVIRT_LIVE | LIBVIRT_CONFIG | DEVICE_FORCE)) {
		free(device);
		return;
	}
	bool live = flags & LIBVIRT_LIVE || (!(flags & LIBVIRT_CONFIG) && (guest_has_vmm(g) || !has_flags));
	char *domain = live ? NULL : domain_xml_write(g->definition->json, NULL);
	if (live)
		libvirt_refuse_text(call, RPC_UNSUPPORTED,
				    "%s: no device is plugged into a guest that runs, or out of it: change its definition "
				    "(--config), and start it again",
				    g->definition->name);
	else if (!domain)
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
	else if (device_change(domain, device, change, &text, &err))
		libvirt_refuse(call, &err);
	else if (define(call, text, &made))
		rpc_answer(call);
	free(text);
	free(domain);
	free(device);
}

static void run_attach(struct rpc_call *call)
{
	change_device(call, DEVICE_ADD, false);
}

static void run_attach_flags(struct rpc_call *call)
{
	change_device(call, DEVICE_ADD, true);
}

static void run_detach(struct rpc_call *call)
{
	change_device(call, DEVICE_REMOVE, false);
}

static void run_detach_flags(struct rpc_call *call)
{
	change_device(call, DEVICE_REMOVE, true);
}

static void run_update(struct rpc_call *call)
{
	change_device(call, DEVICE_REPLACE, true);
}

/* --- the host --- */

/* The firmware's UUID of the host, in lower case; empty when there is none. */
static void read_host_uuid(char uuid[DEFINITION_UUID_BYTES])
{
	FILE *file = fopen("/sys/class/dmi/id/product_uuid", "re");
	if (!file || !fgets(uuid, DEFINITION_UUID_BYTES, file))
		*uuid = '\0';
	if (file)
		fclose(file);
	for (char *c = uuid; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (strlen(uuid) != DEFINITION_UUID_BYTES - 1)
		*uuid = '\0';
}

static void answer_capabilities(struct rpc_call *call, char *(*write)(const struct capabilities_host *host))
{
	const struct host_options *options = libvirt_server_of(call)->options;
	char uuid[DEFINITION_UUID_BYTES];
	struct error err;
	struct topology *topology = calloc(1, sizeof(*topology));
	int ret = topology ? 0 : error_set(&err, ENOMEM, "out of memory");
	if (ret == 0)
		ret = options->topology ? topology_load(options->topology, topology, &err)
					: topology_read_host("/sys", topology, &err);
	read_host_uuid(uuid);
	const struct capabilities_host host = {
		.uuid = *uuid ? uuid : NULL, .vmm = options->vmm, .topology = topology, .sys = "/sys"};
	char *text = ret ? NULL : write(&host);
	if (ret)
		libvirt_refuse(call, &err);
	else if (text)
		libvirt_answer_string(call, text);
	else
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
	free(text);
	free(topology);
}

static void run_capabilities(struct rpc_call *call)
{
	if (libvirt_arguments_end(call))
		answer_capabilities(call, capabilities_xml);
}

/* What is asked for may be left open; there is one emulator, machine, architecture and kind. */
static void run_domain_capabilities(struct rpc_call *call)
{
	char emulator[1024], architecture[64], machine[256], kind[64];
	bool has_emulator = xdr_get_optional_string(&call->in, emulator, sizeof(emulator));
	bool has_architecture = xdr_get_optional_string(&call->in, architecture, sizeof(architecture));
	xdr_get_optional_string(&call->in, machine, sizeof(machine));
	bool has_kind = xdr_get_optional_string(&call->in, kind, sizeof(kind));
	uint32_t flags = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call) || !libvirt_check_flags(call, flags, 0))
		return;
	if ((has_architecture && strcmp(architecture, "x86_64") != 0 && strcmp(architecture, "i686") != 0) ||
	    (has_kind && strcmp(kind, "kvm") != 0) ||
	    (has_emulator && strcmp(emulator, libvirt_server_of(call)->options->vmm) != 0))
		libvirt_refuse_text(call, RPC_INVALID_ARGUMENT, "there is %s for x86_64 and i686 by kvm, and no other",
				    libvirt_server_of(call)->options->vmm);
	else
		answer_capabilities(call, domain_capabilities_xml);
}

static const struct rpc_procedure procedures[] = {
	{.number = 7, .name = "capabilities", .run = run_capabilities},
	{.number = 8, .name = "attach-device", .changes = true, .run = run_attach},
	{.number = 10, .name = "create", .changes = true, .run = run_create},
	{.number = 11, .name = "define", .changes = true, .run = run_define},
	{.number = 13, .name = "detach-device", .changes = true, .run = run_detach},
	{.number = 14, .name = "xml", .run = run_xml},
	{.number = 160, .name = "attach-device", .changes = true, .run = run_attach_flags},
	{.number = 161, .name = "detach-device", .changes = true, .run = run_detach_flags},
	{.number = 174, .name = "update-device", .changes = true, .run = run_update},
	{.number = 342, .name = "domain-capabilities", .run = run_domain_capabilities},
	{.number = 350, .name = "define", .changes = true, .run = run_define_flags},
};
const struct libvirt_procedures libvirt_xml_procedures = LIBVIRT_PROCEDURES(procedures);
