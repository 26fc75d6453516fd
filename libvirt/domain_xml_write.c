/*
 * See domain_xml_write.h. The text that the user wrote is read again, which says what it means; where the definition says something
 * else by now, the text is changed there, and nowhere else.
 */
#include "libvirt/domain_xml_write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/domain_xml_read.h"

/* The tree that the user wrote, and what it means; else an empty one. Returns 0 or -ENOMEM. */
static int open_tree(const struct definition *now, struct xml_tree *tree, struct definition **was)
{
	const char *xml = domain_string(now, "xml");
	json_t *members;
	*was = NULL;
	int ret = xml ? domain_xml_read(xml, strlen(xml), &members, NULL) : -EINVAL;
	if (ret == 0) {
		ret = definition_parse(members, was, NULL);
		json_decref(members);
		/* The text as it was read: a state of an earlier version may have devices in it that are left out now. */
		xml = ret == 0 ? domain_string(*was, "xml") : NULL;
		if (xml)
			ret = xml_tree_parse(xml, strlen(xml), "domain", tree, NULL);
		if (ret)
			definition_free(*was);
		return ret;
	}
	if (ret == -ENOMEM)
		return ret;
	return xml_tree_make("domain", tree);
}

/* The order in which people know them from libvirt. */
static void order_new(struct xml_tree *tree)
{
	static const char *const names[] = {"name", "uuid", "metadata", "memory", "currentMemory", "vcpu", "os", "cpu", "clock"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		xml_add(tree, tree->root, names[i], NULL);
}

static void write_state(struct xml_tree *tree, const struct domain_xml_state *state)
{
	char text[24];
	snprintf(text, sizeof(text), "%d", state->id);
	xml_set_attribute(tree, tree->root, "id", text);
	if (!state->current_bytes)
		return;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)(state->current_bytes >> 10));
	xml_set_text(tree, xml_need(tree, tree->root, "currentMemory"), text);
}

char *domain_xml_write(const json_t *definition, const struct domain_xml_state *state)
{
	struct definition *now, *was;
	struct xml_tree tree;
	if (definition_parse(definition, &now, NULL) < 0)
		return NULL;
	if (open_tree(now, &tree, &was) < 0) {
		definition_free(now);
		return NULL;
	}
	if (!was)
		order_new(&tree);
	domain_general_write(&tree, was, now);
	domain_disks_write(&tree, was, now);
	domain_interfaces_write(&tree, was, now);
	domain_devices_write(&tree);
	domain_memory_write(&tree, was, now);
	domain_pins_write(&tree, was, now);
	domain_metadata_write(&tree, was, now);
	if (state)
		write_state(&tree, state);
	char *text = xml_tree_text(&tree);
	xml_tree_free(&tree);
	definition_free(was);
	definition_free(now);
	return text;
}
