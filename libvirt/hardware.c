/* See hardware.h; and the models of CPU that a guest may have, by name. */
#include "libvirt/hardware.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libvirt/call.h"
#include "libvirt/capabilities.h"
#include "libvirt/procedures.h"
#include "libvirt/xml_tree.h"

#define DMI_DIRECTORY "/sys/class/dmi/id"
#define MOST_VALUE 256

/* The file's first line in ASCII, without what is no text. Returns false when there is none. */
static bool read_value(int dir_fd, const char *name, char value[MOST_VALUE])
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, value, MOST_VALUE - 1);
	if (fd >= 0)
		close(fd);
	value[len > 0 ? len : 0] = '\0';
	value[strcspn(value, "\n")] = '\0';
	for (char *at = value; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
	return *value;
}

char *libvirt_smbios_text(const char *directory)
{
	static const struct {
		const char *element, *entry, *file;
	} entries[] = {
		{"bios", "vendor", "bios_vendor"},
		{"bios", "version", "bios_version"},
		{"bios", "date", "bios_date"},
		{"bios", "release", "bios_release"},
		{"system", "manufacturer", "sys_vendor"},
		{"system", "product", "product_name"},
		{"system", "version", "product_version"},
		{"system", "serial", "product_serial"},
		{"system", "uuid", "product_uuid"},
		{"system", "sku", "product_sku"},
		{"system", "family", "product_family"},
		{"baseBoard", "manufacturer", "board_vendor"},
		{"baseBoard", "product", "board_name"},
		{"baseBoard", "version", "board_version"},
		{"baseBoard", "serial", "board_serial"},
		{"baseBoard", "asset", "board_asset_tag"},
		{"chassis", "manufacturer", "chassis_vendor"},
		{"chassis", "version", "chassis_version"},
		{"chassis", "serial", "chassis_serial"},
		{"chassis", "asset", "chassis_asset_tag"},
	};
	struct xml_tree tree;
	char value[MOST_VALUE], *text = NULL;
	int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return NULL;
	if (xml_tree_make("sysinfo", &tree) == 0) {
		xml_set_attribute(&tree, tree.root, "type", "smbios");
		for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
			if (read_value(dir_fd, entries[i].file, value)) {
				xmlNode *parent = xml_need(&tree, tree.root, entries[i].element);
				xml_set_attribute(&tree, xml_add(&tree, parent, "entry", value), "name", entries[i].entry);
			}
		text = xml_child(tree.root, NULL) ? xml_tree_text(&tree) : NULL;
		xml_tree_free(&tree);
	}
	close(dir_fd);
	return text;
}

static void run_sysinfo(struct rpc_call *call)
{
	uint32_t flags = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call) || !libvirt_check_flags(call, flags, 0))
		return;
	char *text = libvirt_smbios_text(DMI_DIRECTORY);
	if (text)
		libvirt_answer_string(call, text);
	else
		rpc_refuse(call, RPC_OPERATION_FAILED,
			   "this host's firmware tells nothing of it: " DMI_DIRECTORY " is empty or not there");
	free(text);
}

static void run_cpu_models(struct rpc_call *call)
{
	char arch[32];
	xdr_get_string(&call->in, arch, sizeof(arch));
	int32_t wants_names = xdr_get_i32(&call->in);
	uint32_t flags = xdr_get_u32(&call->in);
	unsigned nr = 0;
	if (!libvirt_arguments_end(call) || !libvirt_check_flags(call, flags, 0))
		return;
	if (strcmp(arch, "x86_64") != 0 && strcmp(arch, "i686") != 0) {
		rpc_refuse(call, RPC_INVALID_ARGUMENT, "guests are x86_64 or i686 here");
		return;
	}
	while (libvirt_cpu_level(nr))
		nr++;
	xdr_put_u32(&call->out, wants_names ? nr : 0);
	for (unsigned i = 0; wants_names && i < nr; i++)
		xdr_put_string(&call->out, libvirt_cpu_level(i));
	xdr_put_i32(&call->out, (int32_t)nr);
	rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = 203, .name = "sysinfo", .run = run_sysinfo},
	{.number = 312, .name = "cpu-models", .run = run_cpu_models},
};
const struct libvirt_procedures libvirt_hardware_procedures = LIBVIRT_PROCEDURES(procedures);
