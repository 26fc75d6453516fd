/* See domain_xml_metadata.h. Both begin with the text as it is written now, so that a guest without one has one from then on. */
#include "libvirt/domain_xml_metadata.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host/definition.h"
#include "libvirt/domain_xml_read.h"
#include "libvirt/domain_xml_write.h"
#include "libvirt/xml_tree.h"

#define MOST_KEY 60

static const char *name_of(enum domain_xml_metadata kind)
{
	return kind == DOMAIN_XML_TITLE ? "title" : "description";
}

static int open_written(const json_t *definition, struct xml_tree *tree, struct error *err)
{
	char *text = domain_xml_write(definition, NULL);
	if (!text) {
		error_set(err, ENOMEM, "out of memory");
		return -ENOMEM;
	}
	int ret = xml_tree_parse(text, strlen(text), "domain", tree, err);
	free(text);
	return ret;
}

static int check_kind(enum domain_xml_metadata kind, const char *uri, struct error *err)
{
	if (kind != DOMAIN_XML_DESCRIPTION && kind != DOMAIN_XML_TITLE && kind != DOMAIN_XML_ELEMENT)
		return error_set(err, EINVAL, "there is no kind %d of metadata: 0 is the description, 1 the title, 2 an element",
				 (int)kind);
	if (kind == DOMAIN_XML_ELEMENT && (!uri || !*uri))
		return error_set(err, EINVAL, "an element of metadata is named by the URI of its namespace");
	return 0;
}

/* The child of <metadata> that is in the namespace. */
static xmlNode *find_element(const xmlNode *domain, const char *uri)
{
	const xmlNode *metadata = xml_child(domain, "metadata");
	xmlNode *node = metadata ? xml_child(metadata, NULL) : NULL;
	while (node && (!node->ns || strcmp((const char *)node->ns->href, uri) != 0))
		node = xml_next(node, NULL);
	return node;
}

/* Takes all elements of a subtree that are in the namespace out of it; with uri NULL puts those that are in none into ns. */
static void change_namespace(xmlNode *node, const char *uri, xmlNs *ns)
{
	if (uri ? node->ns && !strcmp((const char *)node->ns->href, uri) : !node->ns)
		xmlSetNs(node, ns);
	for (xmlNode *child = xml_child(node, NULL); child; child = xml_next(child, NULL))
		change_namespace(child, uri, ns);
}

/* --- getting --- */

/* The element alone, as a root. */
static int element_text(const xmlNode *element, const char *uri, char **text, struct error *err)
{
	struct xml_tree tree;
	if (xml_tree_make("metadata", &tree) < 0)
		return error_set(err, ENOMEM, "out of memory");
	xmlNode *copy = xmlDocCopyNode((xmlNode *)element, tree.doc, 1);
	if (copy) {
		xmlFreeNode(xmlDocSetRootElement(tree.doc, copy));
		tree.root = copy;
		change_namespace(copy, uri, NULL);
		/* Its declaration; those of others, which parts of it may need, stay. */
		for (xmlNs **at = &copy->nsDef; *at;) {
			xmlNs *ns = *at;
			if (strcmp((const char *)ns->href, uri) != 0) {
				at = &ns->next;
				continue;
			}
			*at = ns->next;
			ns->next = NULL;
			xmlFreeNs(ns);
		}
		*text = xml_tree_text(&tree);
	}
	int ret = copy && *text ? 0 : error_set(err, ENOMEM, "out of memory");
	xml_tree_free(&tree);
	return ret;
}

int domain_xml_metadata_get(const json_t *definition, enum domain_xml_metadata kind, const char *uri, char **text,
			    struct error *err)
{
	struct xml_tree tree;
	char *found = NULL;
	int ret = check_kind(kind, uri, err);
	if (ret == 0)
		ret = open_written(definition, &tree, err);
	if (ret)
		return ret;
	const xmlNode *node = kind == DOMAIN_XML_ELEMENT ? find_element(tree.root, uri) : xml_child(tree.root, name_of(kind));
	if (!node && kind == DOMAIN_XML_ELEMENT) {
		ret = error_set(err, ENOENT, "there is no metadata of the namespace \"%.100s\"", uri);
	} else if (!node) {
		ret = error_set(err, ENOENT, "there is no %s", name_of(kind));
	} else if (kind == DOMAIN_XML_ELEMENT) {
		ret = element_text(node, uri, &found, err);
	} else {
		xmlChar *content = xmlNodeGetContent(node);
		found = content ? strdup((const char *)content) : NULL;
		xmlFree(content);
		ret = found ? 0 : error_set(err, ENOMEM, "out of memory");
	}
	xml_tree_free(&tree);
	if (ret == 0)
		*text = found;
	return ret;
}

/* --- setting --- */

static bool is_key(const char *key)
{
	size_t len = strlen(key);
	if (!len || len > MOST_KEY || !isascii(*key) || !isalpha((unsigned char)*key) || !strncasecmp(key, "xml", 3))
		return false;
	for (; *key; key++)
		if (!isascii(*key) || (!isalnum((unsigned char)*key) && !strchr("._-", *key)))
			return false;
	return true;
}

static int set_element(struct xml_tree *tree, const char *key, const char *uri, const char *text, struct error *err)
{
	struct xml_tree given;
	if (!key || !is_key(key))
		return error_set(err, EINVAL,
				 "the prefix of a namespace has 1 to %d letters, digits, '.', '_' and '-', and begins with a "
				 "letter, not with xml",
				 MOST_KEY);
	int ret = xml_tree_parse(text, strlen(text), NULL, &given, err);
	if (ret)
		return ret;
	xmlNode *copy = xmlDocCopyNode(given.root, tree->doc, 1), *metadata = xml_need(tree, tree->root, "metadata");
	xmlNs *ns = copy ? xmlNewNs(copy, (const xmlChar *)uri, (const xmlChar *)key) : NULL;
	if (copy && !ns)
		ret = error_set(err, EINVAL, "the element itself declares the prefix \"%.60s\": leave it out", key);
	if (ret == 0 && copy)
		change_namespace(copy, NULL, ns);
	if (ret == 0 && copy && copy->ns != ns)
		ret = error_set(err, EINVAL, "the element is in a namespace of its own: give it without");
	if (ret == 0 && copy && metadata)
		xmlAddChild(metadata, copy);
	else
		xmlFreeNode(copy);
	xml_tree_free(&given);
	return ret;
}

static int set_text(struct xml_tree *tree, enum domain_xml_metadata kind, const char *text, struct error *err)
{
	if (kind == DOMAIN_XML_TITLE && strpbrk(text, "\r\n"))
		return error_set(err, EINVAL, "a title is one line");
	xmlNode *node = xml_add(tree, tree->root, name_of(kind), text);
	/* Behind the name, where people look for it. */
	xmlNode *name = xml_child(tree->root, "name");
	if (node && name)
		xmlAddNextSibling(name, node);
	return 0;
}

/* What was made must be read again, or nothing of it is there the next time: too deep an element, for example, must not come in. */
static int check_made(const char *xml, struct error *err)
{
	json_t *members;
	size_t len = strlen(xml);
	if (len > DEFINITION_XML_BYTES)
		return error_set(err, EINVAL, "with it the guest's XML has %zu bytes, and at most %d are kept", len,
				 DEFINITION_XML_BYTES);
	int ret = domain_xml_read(xml, len, &members, err);
	if (ret == 0)
		json_decref(members);
	return ret;
}

static bool is_utf8(const char *text)
{
	return !text || xmlCheckUTF8((const unsigned char *)text);
}

int domain_xml_metadata_set(const json_t *definition, enum domain_xml_metadata kind, const char *key, const char *uri,
			    const char *text, char **xml, struct error *err)
{
	struct xml_tree tree;
	int ret = check_kind(kind, uri, err);
	if (ret == 0 && kind == DOMAIN_XML_ELEMENT && !strcmp(uri, XML_TREE_OURS))
		ret = error_set(err, EINVAL,
				"these are settings of the guest: change them by its definition (virsh edit, pagoda tune)");
	if (ret == 0 && (!is_utf8(uri) || !is_utf8(text)))
		ret = error_set(err, EINVAL, "this is no text in UTF-8");
	if (ret == 0)
		ret = open_written(definition, &tree, err);
	if (ret)
		return ret;
	xml_remove(kind == DOMAIN_XML_ELEMENT ? find_element(tree.root, uri) : xml_child(tree.root, name_of(kind)));
	if (text && *text)
		ret = kind == DOMAIN_XML_ELEMENT ? set_element(&tree, key, uri, text, err) : set_text(&tree, kind, text, err);
	xmlNode *metadata = xml_child(tree.root, "metadata");
	if (metadata && !xml_child(metadata, NULL))
		xml_remove(metadata);
	char *out = ret == 0 ? xml_tree_text(&tree) : NULL;
	if (ret == 0)
		ret = out ? check_made(out, err) : error_set(err, ENOMEM, "out of memory");
	if (ret == 0)
		*xml = out;
	else
		free(out);
	xml_tree_free(&tree);
	return ret;
}
