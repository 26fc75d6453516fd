/*
 * Who a guest is, how many vCPUs it has, what it starts, and what happens when it ends. See domain_parts.h.
 *
 *   name uuid                     name uuid
 *   vcpu                          vcpus
 *   os/kernel initrd cmdline      kernel initrd append
 *   on_poweroff on_crash          restart: never (destroy, destroy), on-crash (destroy, restart), always (restart, restart)
 *   on_reboot                     the word -no-reboot, for destroy
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

/* --- reading --- */

static int read_name(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_child(domain, "name");
	if (!node)
		return xml_refuse(domain, err, "there is no <name>");
	char *name = xml_word(node);
	if (name && !definition_is_name(name)) {
		int ret = xml_refuse(
			node, err,
			"\"%.60s\" is no name here: give 1 to %d letters, digits, '.', '_' and '-', the first a letter or digit",
			name, DEFINITION_NAME_BYTES - 1);
		free(name);
		return ret;
	}
	return domain_put_text(members, "name", name, err);
}

/* Hexadecimal digits, with dashes anywhere between them, as libvirt takes them. */
static bool tidy_uuid(const char *text, char *uuid)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t at = 0;
	for (; *text; text++) {
		if (*text == '-' || *text == ' ')
			continue;
		if (!isxdigit((unsigned char)*text) || !form[at])
			return false;
		if (form[at] == '-')
			uuid[at++] = '-';
		uuid[at++] = (char)tolower((unsigned char)*text);
	}
	uuid[at] = '\0';
	return !form[at];
}

static int read_uuid(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_child(domain, "uuid");
	char uuid[DEFINITION_UUID_BYTES];
	if (!node)
		return 0;
	char *text = xml_word(node);
	int ret = 0;
	if (text && !tidy_uuid(text, uuid))
		ret = xml_refuse(node, err, "\"%.50s\" is no UUID: give 32 hexadecimal digits, or leave it out and one is made",
				 text);
	else if (text)
		ret = domain_put(members, "uuid", json_string(uuid), err);
	else
		ret = error_set(err, ENOMEM, "out of memory");
	free(text);
	return ret;
}

static int read_vcpus(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *node = xml_child(domain, "vcpu"), *list = xml_child(domain, "vcpus");
	uint64_t vcpus = 0, current = 0;
	if (!node)
		return 0;
	int ret = xml_number(node, 255, &vcpus, err);
	if (ret == 0 && !vcpus)
		ret = xml_refuse(node, err, "a guest has 1 to 255 vCPUs");
	if (ret == 0)
		ret = xml_attribute_number(node, "current", 255, vcpus, &current, err);
	if (ret == 0 && current != vcpus)
		ret = xml_refuse(node, err,
				 "vCPUs cannot be plugged into a guest here: give as many as it has, without \"current\"");
	if (ret == 0)
		ret = xml_attribute_check(node, "placement", "static|auto", err);
	for (const xmlNode *one = list ? xml_child(list, "vcpu") : NULL; ret == 0 && one; one = xml_next(one, "vcpu"))
		ret = xml_attribute_check(one, "enabled", "yes", err);
	return ret ? ret : domain_put(members, "vcpus", json_integer((json_int_t)vcpus), err);
}

static int read_start(const xmlNode *domain, json_t *members, struct error *err)
{
	static const struct {
		const char *element, *member;
	} texts[] = {{"kernel", "kernel"}, {"initrd", "initrd"}, {"cmdline", "append"}};
	const xmlNode *os = xml_child(domain, "os"), *type = os ? xml_child(os, "type") : NULL;
	if (!os || !type)
		return xml_refuse(os ? os : domain, err, "there is no <os><type>: it must be hvm");
	int ret = 0;
	char *text = xml_word(type);
	if (!text)
		ret = error_set(err, ENOMEM, "out of memory");
	else if (strcmp(text, "hvm") != 0)
		ret = xml_refuse(type, err, "\"%.20s\" is not to be had here; there is hvm", text);
	free(text);
	if (ret == 0)
		ret = xml_attribute_check(type, "arch", "x86_64|i686", err);
	if (ret == 0 && xml_attribute(os, "firmware"))
		ret = xml_refuse(os, err, "there is no firmware here: leave \"firmware\" out, and give the guest's <kernel>");
	if (ret == 0 && !xml_child(os, "kernel"))
		ret = xml_refuse(os, err,
				 "there is no firmware here that could start a guest from its disk: give its <kernel>, and "
				 "<initrd> and <cmdline> "
				 "(virt-install: --boot kernel=...,initrd=...,kernel_args=...)");
	for (size_t i = 0; ret == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
		const xmlNode *node = xml_child(os, texts[i].element);
		if (!node)
			continue;
		if (i < 2 && xmlChildElementCount((xmlNode *)node) == 0 && !node->children)
			continue;
		ret = domain_put_text(members, texts[i].member, xml_text(node), err);
	}
	return ret;
}

/* What is to be done at an event: *action is a number in words, 0 without the element. */
static int read_event(const xmlNode *domain, const char *event, const char *const *words, size_t nr, size_t *action,
		      struct error *err)
{
	const xmlNode *node = xml_child(domain, event);
	*action = 0;
	if (!node)
		return 0;
	char *text = xml_word(node);
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	size_t i = 0;
	while (i < nr && strcmp(words[i], text) != 0)
		i++;
	*action = i;
	int ret = i < nr ? 0
			 : xml_refuse(node, err, "\"%.30s\" is not to be had here; there are %s and %s", text, words[0], words[1]);
	free(text);
	return ret;
}

static int read_events(const xmlNode *domain, json_t *members, struct error *err)
{
	static const char *const ends[] = {"destroy", "restart"}, *const reboots[] = {"restart", "destroy"};
	size_t poweroff = 0, crash = 0, reboot = 0;
	int ret = read_event(domain, "on_poweroff", ends, 2, &poweroff, err);
	if (ret == 0)
		ret = read_event(domain, "on_crash", ends, 2, &crash, err);
	if (ret == 0)
		ret = read_event(domain, "on_reboot", reboots, 2, &reboot, err);
	if (ret)
		return ret;
	if (poweroff && !crash)
		return xml_refuse(
			xml_child(domain, "on_poweroff"), err,
			"who is started again after powering off is so after a crash, too: give <on_crash>restart</on_crash>");
	if (crash)
		ret = domain_put(members, "restart", json_string(poweroff ? "always" : "on-crash"), err);
	if (ret == 0 && reboot)
		ret = domain_put_word(members, "-no-reboot", err);
	return ret;
}

static int read_other(const xmlNode *domain, struct error *err)
{
	const xmlNode *clock = xml_child(domain, "clock");
	int ret = xml_attribute_check(domain, "type", "kvm", err);
	if (ret == 0 && clock)
		ret = xml_attribute_check(clock, "offset", "utc", err);
	if (ret == 0 && clock)
		ret = xml_attribute_check(clock, "adjustment", "0|reset", err);
	for (const xmlNode *label = xml_child(domain, "seclabel"); ret == 0 && label; label = xml_next(label, "seclabel"))
		if (!xml_attribute_is(label, "type", "none"))
			ret = xml_refuse(label, err, "VMMs are not confined by labels here: leave it out");
	return ret;
}

int domain_general_read(const xmlNode *domain, json_t *members, struct error *err)
{
	int ret = read_other(domain, err);
	if (ret == 0)
		ret = read_name(domain, members, err);
	if (ret == 0)
		ret = read_uuid(domain, members, err);
	if (ret == 0)
		ret = read_vcpus(domain, members, err);
	if (ret == 0)
		ret = read_start(domain, members, err);
	if (ret == 0)
		ret = read_events(domain, members, err);
	return ret;
}

/* --- writing --- */

static void set_child(struct xml_tree *tree, xmlNode *parent, const char *name, const char *text)
{
	if (text)
		xml_set_text(tree, xml_need(tree, parent, name), text);
	else if (parent)
		xml_remove(xml_child(parent, name));
}

void domain_general_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	static const char *const ends[] = {"destroy", "restart"};
	char number[24];
	xmlNode *domain = tree->root;
	xml_set_attribute(tree, domain, "type", "kvm");
	if (domain_differs(was, now, "name"))
		set_child(tree, domain, "name", now->name);
	if (domain_differs(was, now, "uuid"))
		set_child(tree, domain, "uuid", now->uuid);
	if (domain_differs(was, now, "vcpus")) {
		snprintf(number, sizeof(number), "%" PRIu64, now->vcpus);
		xmlNode *vcpu = xml_need(tree, domain, "vcpu");
		xml_set_text(tree, vcpu, number);
		xml_set_attribute(tree, vcpu, "current", NULL);
		xml_remove(xml_child(domain, "vcpus"));
		xml_remove(xml_at(domain, "cpu/topology"));
	}
	/* The one cell that there may be has all of both. */
	if (domain_differs(was, now, "vcpus") || domain_differs(was, now, "memory"))
		xml_remove(xml_at(domain, "cpu/numa"));
	xmlNode *os = xml_need(tree, domain, "os"), *type = xml_need(tree, os, "type");
	if (type && !xml_attribute(type, "arch"))
		xml_set_attribute(tree, type, "arch", "x86_64");
	if (type && !xml_attribute(type, "machine"))
		xml_set_attribute(tree, type, "machine", "pagoda");
	if (!was)
		xml_set_text(tree, type, "hvm");
	if (domain_differs(was, now, "kernel"))
		set_child(tree, os, "kernel", domain_string(now, "kernel"));
	if (domain_differs(was, now, "initrd"))
		set_child(tree, os, "initrd", domain_string(now, "initrd"));
	if (domain_differs(was, now, "append"))
		set_child(tree, os, "cmdline", domain_string(now, "append"));
	xml_need(tree, domain, "clock");
	if (xml_child(domain, "clock") && !xml_attribute(xml_child(domain, "clock"), "offset"))
		xml_set_attribute(tree, xml_child(domain, "clock"), "offset", "utc");
	if (domain_differs(was, now, "restart")) {
		set_child(tree, domain, "on_poweroff", ends[now->restart == DEFINITION_RESTART_ALWAYS]);
		set_child(tree, domain, "on_crash", ends[now->restart != DEFINITION_RESTART_NEVER]);
	}
}
