/* See domain_xml_read.h. The rules say what may be there; each part reads what is its own; what comes of it is checked as a definition. */
#include "libvirt/domain_xml_read.h"

#include <errno.h>
#include <stdlib.h>

#include "libvirt/domain_parts.h"
#include "libvirt/domain_rules.h"

static int read_parts(const xmlNode *domain, json_t *members, struct error *err)
{
	static int (*const parts[])(const xmlNode *domain, json_t *members, struct error *err) = {
		domain_general_read, domain_memory_read, domain_cpu_read,        domain_pins_read,
		domain_devices_read, domain_disks_read,  domain_interfaces_read, domain_metadata_read,
	};
	int ret = domain_rules_check(domain, err);
	for (size_t i = 0; ret == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
		ret = parts[i](domain, members, err);
	return ret;
}

static int keep_text(struct xml_tree *tree, json_t *members, struct error *err)
{
	/* What is said of a guest that runs says nothing of another day's. */
	xml_set_attribute(tree, tree->root, "id", NULL);
	return domain_put_text(members, "xml", xml_tree_text(tree), err);
}

int domain_xml_read_saying(const char *text, size_t nr_bytes, json_t **definition, char *left_out, size_t size, struct error *err)
{
	struct xml_tree tree;
	struct definition *checked;
	int ret = xml_tree_parse(text, nr_bytes, "domain", &tree, err);
	if (ret)
		return ret;
	json_t *members = json_object();
	ret = members ? read_parts(tree.root, members, err) : error_set(err, ENOMEM, "out of memory");
	/* Last: sentences count the devices as they were written. */
	if (ret == 0)
		domain_rules_take_out(tree.root, left_out, size);
	if (ret == 0)
		ret = keep_text(&tree, members, err);
	if (ret == 0)
		ret = definition_parse(members, &checked, err);
	if (ret == 0) {
		definition_free(checked);
		*definition = members;
	} else {
		json_decref(members);
	}
	xml_tree_free(&tree);
	return ret;
}

int domain_xml_read(const char *text, size_t nr_bytes, json_t **definition, struct error *err)
{
	char left_out[DOMAIN_XML_LEFT_OUT_BYTES];
	return domain_xml_read_saying(text, nr_bytes, definition, left_out, sizeof(left_out), err);
}
