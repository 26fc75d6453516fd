/*
 * <metadata><pagoda:guest xmlns:pagoda="...">: members of a definition that libvirt has no element for, by their own names; the words for
 * the VMM that do not come of other elements; and what of networks libvirt cannot say. See domain_parts.h.
 *
 *     <pagoda:guest xmlns:pagoda="https://pagoda.invalid/xmlns/guest/1.0">
 *       <pagoda:shares>20000</pagoda:shares>
 *       <pagoda:domain>acme</pagoda:domain>
 *       <pagoda:netdev mac="52:54:00:12:34:56" path="/run/switch.sock"/>
 *       <pagoda:word>-memory</pagoda:word>
 *       <pagoda:word>cold=30000</pagoda:word>
 *     </pagoda:guest>
 *
 * Where it says the same as an element of libvirt's, it must not say otherwise.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libvirt/domain_parts.h"
#include "libvirt/xml_values.h"

/* Some may be of cards that were taken away. */
#define MOST_NETDEVS 64

enum kind {
	KIND_INTEGER,
	KIND_NUMBER,
	KIND_BOOLEAN,
	KIND_TEXT,
};

static const struct {
	const char *name;
	enum kind kind;
} scalars[] = {
	{"shares", KIND_INTEGER}, {"mem-merge", KIND_TEXT},    {"domain", KIND_TEXT},         {"merge-cpu", KIND_INTEGER},
	{"swap", KIND_BOOLEAN},   {"autostart", KIND_BOOLEAN}, {"stop-timeout", KIND_NUMBER}, {"tier", KIND_TEXT},
};
#define NR_SCALARS (sizeof(scalars) / sizeof(scalars[0]))

static xmlNode *our_child(const xmlNode *parent, const char *name)
{
	xmlNode *node = parent ? xml_child(parent, NULL) : NULL;
	while (node && !xml_is_ours(node, name))
		node = xml_next(node, NULL);
	return node;
}

static xmlNode *our_next(const xmlNode *node, const char *name)
{
	xmlNode *next = xml_next(node, NULL);
	while (next && !xml_is_ours(next, name))
		next = xml_next(next, NULL);
	return next;
}

/* --- reading --- */

/* Returns 0, -EINVAL, or -ENOMEM. */
static int value_of(const char *text, enum kind kind, json_t **value)
{
	uint64_t number;
	json_error_t error;
	switch (kind) {
	case KIND_INTEGER:
		if (xml_number_parse(text, INT64_MAX, &number) < 0)
			return -EINVAL;
		*value = json_integer((json_int_t)number);
		break;
	case KIND_NUMBER:
		*value = json_loads(text, JSON_DECODE_ANY, &error);
		if (!*value && json_error_code(&error) != json_error_out_of_memory)
			return -EINVAL;
		if (*value && !json_is_number(*value)) {
			json_decref(*value);
			return -EINVAL;
		}
		break;
	case KIND_BOOLEAN:
		if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
			return -EINVAL;
		*value = json_boolean(!strcmp(text, "yes"));
		break;
	case KIND_TEXT:
	default:
		*value = json_string(text);
	}
	return *value ? 0 : -ENOMEM;
}

static int read_scalar(const xmlNode *node, size_t at, json_t *members, struct error *err)
{
	static const char *const wants[] = {"an integer", "a number", "yes or no", "text"};
	const char *name = scalars[at].name;
	if (our_next(node, name))
		return xml_refuse(our_next(node, name), err, "it is there twice");
	json_t *value = NULL;
	char *text = xml_word(node);
	int ret = text ? value_of(text, scalars[at].kind, &value) : -ENOMEM;
	const char *other = json_string_value(json_object_get(members, name));
	if (ret == -ENOMEM) {
		error_set(err, ENOMEM, "out of memory");
	} else if (ret) {
		xml_refuse(node, err, "\"%.40s\" must be %s", text, wants[scalars[at].kind]);
	} else if (other && strcmp(other, text) != 0) {
		json_decref(value);
		ret = xml_refuse(node, err, "\"%.20s\" contradicts <memoryBacking><nosharepages/>: leave one of them out", text);
	} else {
		ret = domain_put(members, name, value, err);
	}
	free(text);
	return ret;
}

/* The network whose card has that address. Of several with the same one, each in turn: before of them had elements already. */
static json_t *find_netdev(const json_t *members, const char *mac, unsigned before)
{
	json_t *netdev;
	size_t i;
	json_array_foreach(json_object_get(members, "netdevs"), i, netdev)
	{
		const char *its = json_string_value(json_object_get(netdev, "mac"));
		if (its && !strcasecmp(its, mac) && before-- == 0)
			return netdev;
	}
	return NULL;
}

static int read_netdev(const xmlNode *node, const json_t *members, struct error *err)
{
	const char *mac = xml_attribute(node, "mac"), *path = xml_attribute(node, "path");
	unsigned before = 0;
	int ret = 0, all = 0;
	if (!mac)
		return xml_refuse(node, err, "there is no \"mac\": give the address of the card");
	for (const xmlNode *other = node->prev; other; other = other->prev) {
		if (xml_is_ours(other, "netdev") && ++all == MOST_NETDEVS)
			return xml_refuse(node, err, "there are more than %d of them: leave out those that no <interface> has",
					  MOST_NETDEVS);
		before += xml_is_ours(other, "netdev") && xml_attribute(other, "mac") &&
			  !strcasecmp(xml_attribute(other, "mac"), mac);
	}
	json_t *netdev = find_netdev(members, mac, before);
	/* The card may have been taken away by somebody who does not know of this element. */
	const xmlNode *forward = our_child(node, "hostfwd");
	if (!netdev || (!path && !forward))
		return 0;
	if (strcmp(json_string_value(json_object_get(netdev, "kind")), "user") != 0)
		return xml_refuse(node, err, "the <interface> with this address must have type=\"user\"");
	if (path) {
		ret = domain_put(netdev, "kind", json_string("stream"), err);
		if (ret == 0)
			ret = domain_put(netdev, "path", json_string(path), err);
	}
	json_t *forwards = ret == 0 && forward ? json_array() : NULL;
	if (ret == 0 && forward)
		ret = domain_put(netdev, "hostfwd", forwards, err);
	for (; ret == 0 && forward; forward = our_next(forward, "hostfwd")) {
		char *text = xml_word(forward);
		if (!text || json_array_append_new(forwards, json_string(text)) < 0)
			ret = error_set(err, ENOMEM, "out of memory");
		free(text);
	}
	return ret;
}

static int read_child(const xmlNode *node, json_t *members, struct error *err)
{
	if (xml_is_ours(node, "netdev"))
		return read_netdev(node, members, err);
	if (xml_is_ours(node, "word")) {
		char *text = xml_text(node);
		int ret = text ? domain_put_word(members, text, err) : error_set(err, ENOMEM, "out of memory");
		free(text);
		return ret;
	}
	for (size_t i = 0; i < NR_SCALARS; i++)
		if (xml_is_ours(node, scalars[i].name))
			return read_scalar(node, i, members, err);
	return xml_refuse(node, err, "there is no such setting of a guest; see docs/LIBVIRT.md");
}

int domain_metadata_read(const xmlNode *domain, json_t *members, struct error *err)
{
	const xmlNode *guest = our_child(xml_child(domain, "metadata"), NULL);
	int ret = 0;
	if (!guest)
		return 0;
	if (!xml_is_ours(guest, "guest"))
		return xml_refuse(guest, err, "of Pagoda's own there is <guest> alone");
	if (our_next(guest, NULL))
		return xml_refuse(our_next(guest, NULL), err, "there is one of them already: put all into that");
	for (const xmlNode *node = xml_child(guest, NULL); ret == 0 && node; node = xml_next(node, NULL))
		ret = read_child(node, members, err);
	return ret;
}

/* --- writing --- */

/* <pagoda:guest>, made where it is not there. */
static xmlNode *need_guest(struct xml_tree *tree)
{
	xmlNode *metadata = xml_need(tree, tree->root, "metadata"), *guest = our_child(metadata, "guest");
	if (guest || !metadata)
		return guest;
	guest = xml_add(tree, metadata, "guest", NULL);
	if (guest) {
		xmlSetNs(guest, xmlNewNs(guest, (const xmlChar *)XML_TREE_OURS, (const xmlChar *)"pagoda"));
		tree->failed = tree->failed || !guest->ns;
	}
	return guest;
}

static xmlNode *add_ours(struct xml_tree *tree, xmlNode *parent, const char *name, const char *text)
{
	xmlNode *node = parent ? xml_add(tree, parent, name, text) : NULL;
	if (node)
		xmlSetNs(node, parent->ns);
	return node;
}

static void write_scalar(struct xml_tree *tree, const char *name, const json_t *value)
{
	char number[40];
	const char *text = number;
	if (json_is_string(value))
		text = json_string_value(value);
	else if (json_is_boolean(value))
		text = json_is_true(value) ? "yes" : "no";
	else if (json_is_integer(value))
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		snprintf(number, sizeof(number), "%.17g", json_real_value(value));
	/* A real number stays one. */
	if (json_is_real(value) && !strpbrk(number, ".e"))
		strcat(number, ".0");
	xmlNode *guest = need_guest(tree), *node = our_child(guest, name);
	if (node)
		xml_set_text(tree, node, text);
	else
		add_ours(tree, guest, name, text);
}

static void write_scalars(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	for (size_t i = 0; i < NR_SCALARS; i++) {
		const char *name = scalars[i].name;
		bool differs = domain_differs(was, now, name);
		/* <memtune> may have said it, in limits that have changed (domain_memory.c). */
		if (!strcmp(name, "swap") && !now->swap)
			differs = differs || domain_differs(was, now, "maximum") || domain_differs(was, now, "memory");
		/* Where nobody says them they follow from the memory, and those that were meant would not be these any more. */
		if (!strcmp(name, "shares"))
			differs = differs || domain_differs(was, now, "memory");
		if (!differs)
			continue;
		if (!strcmp(name, "mem-merge") && now->merge != DEFINITION_MERGE_KSM)
			xml_remove(our_child(our_child(xml_child(tree->root, "metadata"), "guest"), name));
		else
			write_scalar(tree, name, json_object_get(now->json, name));
	}
}

/* Removes all children of that name; returns how many there were. */
static size_t clear(struct xml_tree *tree, const char *name)
{
	const xmlNode *guest = our_child(xml_child(tree->root, "metadata"), "guest");
	size_t nr = 0;
	for (xmlNode *node = our_child(guest, name); node; node = our_child(guest, name), nr++)
		xml_remove(node);
	return nr;
}

/* Words that come of elements stand before those of the metadata. If they have changed, their elements go, and all are words. */
static void write_words(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	const json_t *words = json_object_get(now->json, "words"), *before = was ? json_object_get(was->json, "words") : NULL,
		     *word;
	size_t nr_ours = clear(tree, "word"), nr_others = json_array_size(before) - nr_ours, i;
	bool same = json_array_size(words) >= nr_others;
	for (i = 0; same && i < nr_others; i++)
		same = json_equal(json_array_get(words, i), json_array_get(before, i));
	if (!same) {
		nr_others = 0;
		xml_remove(xml_child(tree->root, "cpu"));
		xml_remove(xml_child(tree->root, "on_reboot"));
		xml_remove(xml_at(tree->root, "devices/rng"));
	}
	bool has_model = false;
	json_array_foreach(words, i, word)
	{
		has_model = has_model || !strcmp(json_string_value(word), "-cpu");
		if (i >= nr_others)
			add_ours(tree, need_guest(tree), "word", json_string_value(word));
	}
	/* What a guest has by itself, and clients like to know. */
	xmlNode *cpu = has_model ? xml_child(tree->root, "cpu") : xml_need(tree, tree->root, "cpu");
	if (cpu && !cpu->properties && !cpu->children && has_model)
		xml_remove(cpu);
	else if (cpu && !cpu->properties && !cpu->children)
		xml_set_attribute(tree, cpu, "mode", "host-passthrough");
}

static bool has_twin(const json_t *netdevs, const json_t *netdev)
{
	const json_t *other;
	size_t i;
	json_array_foreach(netdevs, i, other)
	{
		if (other != netdev && !strcasecmp(json_string_value(json_object_get(other, "mac")),
						   json_string_value(json_object_get(netdev, "mac"))))
			return true;
	}
	return false;
}

static void write_netdevs(struct xml_tree *tree, const json_t *netdevs)
{
	const json_t *netdev, *forward;
	size_t i, k;
	clear(tree, "netdev");
	json_array_foreach(netdevs, i, netdev)
	{
		const char *path = json_string_value(json_object_get(netdev, "path"));
		const json_t *forwards = json_object_get(netdev, "hostfwd");
		bool said = domain_interfaces_can_say(forwards);
		if (!path && said && !has_twin(netdevs, netdev))
			continue;
		xmlNode *node = add_ours(tree, need_guest(tree), "netdev", NULL);
		xml_set_attribute(tree, node, "mac", json_string_value(json_object_get(netdev, "mac")));
		if (path)
			xml_set_attribute(tree, node, "path", path);
		json_array_foreach(forwards, k, forward)
		{
			if (!said)
				add_ours(tree, node, "hostfwd", json_string_value(forward));
		}
	}
}

void domain_metadata_write(struct xml_tree *tree, const struct definition *was, const struct definition *now)
{
	write_scalars(tree, was, now);
	if (domain_differs(was, now, "netdevs"))
		write_netdevs(tree, json_object_get(now->json, "netdevs"));
	if (domain_differs(was, now, "words"))
		write_words(tree, was, now);
	xmlNode *metadata = xml_child(tree->root, "metadata"), *guest = our_child(metadata, "guest");
	if (guest && !xml_child(guest, NULL))
		xml_remove(guest);
	if (metadata && !xml_child(metadata, NULL))
		xml_remove(metadata);
}
