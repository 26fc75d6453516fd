/* See xml_tree.h. */
#include "libvirt/xml_tree.h"

#include <errno.h>
#include <libxml/parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_PATH 200

#define BAD(text) ((const xmlChar *)(text))
#define TEXT(text) ((const char *)(text))

/* What is said may quote anything: only what any terminal shows is left of it. */
static void plain(struct error *err)
{
	for (char *c = err ? err->text : NULL; c && *c; c++)
		if ((unsigned char)*c - 0x20u >= 0x5f)
			*c = '?';
}

/* --- reading --- */

/* What the parser calls for <!DOCTYPE ...>, before any of it was looked at: entities are defined only there, and nowhere used here. */
static void refuse_document_type(void *data, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
	xmlParserCtxt *parser = data;
	struct error *err = parser->_private;
	(void)name, (void)external, (void)system;
	error_set(err, EINVAL, "line %d: a document type (<!DOCTYPE ...>) is not taken: leave it out",
		  parser->input ? parser->input->line : 0);
	xmlStopParser(parser);
}

/* The first error says most: what follows comes of it. */
static void note_error(void *data, xmlError *error)
{
	xmlParserCtxt *parser = data;
	struct error *err = parser->_private;
	int len = error->message ? (int)strcspn(error->message, "\n") : 0;
	if (err->code || error->level < XML_ERR_ERROR)
		return;
	if (error->code == XML_ERR_NO_MEMORY)
		error_set(err, ENOMEM, "out of memory");
	else
		error_set(err, EINVAL, "line %d: this is no XML: %.*s", error->line, len < 120 ? len : 120,
			  error->message ? error->message : "");
	plain(err);
}

/* What libxml2 has to say where there is no parser: of memory, which is told by what it returns. By itself it would print that. */
static void drop_error(void *data, xmlError *error)
{
	(void)data, (void)error;
}

static bool is_blank(const xmlNode *node)
{
	if (node->type != XML_TEXT_NODE)
		return false;
	for (const xmlChar *c = node->content; c && *c; c++)
		if (!strchr(" \t\r\n", *c))
			return false;
	return true;
}

/* Checks how deep it goes, and drops white space beside elements. */
static int tidy(xmlNode *node, int depth, bool foreign, struct error *err)
{
	xmlNode *next;
	bool has_elements = xmlFirstElementChild(node) != NULL;
	if (depth > XML_TREE_MOST_DEPTH)
		return error_set(err, EINVAL, "line %ld: elements are nested more than %d deep", xmlGetLineNo(node),
				 XML_TREE_MOST_DEPTH);
	for (xmlNode *child = node->children; child; child = next) {
		next = child->next;
		if (child->type == XML_ELEMENT_NODE) {
			bool others = depth == 2 && xml_is(node, "metadata") && !xml_is_ours(child, NULL);
			int ret = tidy(child, depth + 1, foreign || others, err);
			if (ret)
				return ret;
		} else if (!foreign && is_blank(child) && (has_elements || child->next || child->prev)) {
			xml_remove(child);
		}
	}
	return 0;
}

int xml_tree_parse(const char *text, size_t nr_bytes, const char *root, struct xml_tree *tree, struct error *err)
{
	struct error why = {.code = 0};
	if (!nr_bytes)
		return error_set(err, EINVAL, "the XML is empty");
	if (nr_bytes > XML_TREE_MOST_BYTES)
		return error_set(err, EINVAL, "the XML has %zu bytes, and at most %d are taken", nr_bytes, XML_TREE_MOST_BYTES);
	xmlSetStructuredErrorFunc(NULL, drop_error);
	xmlParserCtxt *parser = xmlNewParserCtxt();
	if (!parser) {
		xmlResetLastError();
		return error_set(err, ENOMEM, "out of memory");
	}
	parser->_private = &why;
	parser->sax->internalSubset = refuse_document_type;
	parser->sax->serror = note_error;
	/* UTF-8, whatever it says of itself: converters of the C library are kept out. */
	xmlDoc *doc = xmlCtxtReadMemory(parser, text, (int)nr_bytes, NULL, "UTF-8",
					XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC);
	int ret = 0;
	if (why.code)
		ret = error_set(err, why.code, "%s", why.text);
	else if (!doc)
		ret = error_set(err, ENOMEM, "out of memory");
	xmlNode *top = doc ? xmlDocGetRootElement(doc) : NULL;
	if (ret == 0 && !top)
		ret = error_set(err, EINVAL, "there is no element in the XML");
	if (ret == 0 && top && root && !xml_is(top, root))
		ret = xml_refuse(top, err, "the outermost element must be <%s>, without a namespace", root);
	if (ret == 0 && top)
		ret = tidy(top, 1, !root, err);
	xmlFreeParserCtxt(parser);
	if (ret) {
		xmlFreeDoc(doc);
		xmlResetLastError();
		return ret;
	}
	*tree = (struct xml_tree){doc, top, false};
	return 0;
}

int xml_tree_make(const char *root, struct xml_tree *tree)
{
	xmlSetStructuredErrorFunc(NULL, drop_error);
	xmlDoc *doc = xmlNewDoc(BAD("1.0"));
	xmlNode *top = doc ? xmlNewDocNode(doc, NULL, BAD(root), NULL) : NULL;
	if (!top) {
		xmlFreeDoc(doc);
		xmlResetLastError();
		return -ENOMEM;
	}
	xmlDocSetRootElement(doc, top);
	*tree = (struct xml_tree){doc, top, false};
	return 0;
}

void xml_tree_free(struct xml_tree *tree)
{
	xmlFreeDoc(tree->doc);
	xmlResetLastError();
	tree->doc = NULL;
}

char *xml_tree_text(const struct xml_tree *tree)
{
	char *text = NULL;
	xmlChar *encoding = xmlStrdup(BAD("UTF-8"));
	xmlBuffer *buffer = xmlBufferCreate();
	if (!tree->failed && encoding && buffer) {
		/* Else what is no ASCII would be written as numbers. */
		xmlFree((void *)tree->doc->encoding);
		tree->doc->encoding = encoding;
		encoding = NULL;
		xmlBufferSetAllocationScheme(buffer, XML_BUFFER_ALLOC_DOUBLEIT);
		if (xmlNodeDump(buffer, tree->doc, tree->root, 0, 1) >= 0 &&
		    asprintf(&text, "%s\n", TEXT(xmlBufferContent(buffer))) < 0)
			text = NULL;
	}
	xmlFree(encoding);
	xmlBufferFree(buffer);
	return text;
}

/* --- looking --- */

bool xml_is(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && (!name || (!node->ns && !strcmp(TEXT(node->name), name)));
}

bool xml_is_ours(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && node->ns && !strcmp(TEXT(node->ns->href), XML_TREE_OURS) &&
	       (!name || !strcmp(TEXT(node->name), name));
}

static xmlNode *first_from(xmlNode *node, const char *name)
{
	while (node && !xml_is(node, name))
		node = node->next;
	return node;
}

xmlNode *xml_child(const xmlNode *parent, const char *name)
{
	return first_from(parent->children, name);
}

xmlNode *xml_next(const xmlNode *node, const char *name)
{
	return first_from(node->next, name);
}

xmlNode *xml_at(const xmlNode *parent, const char *path)
{
	char name[64];
	const xmlNode *node = parent;
	while (node && *path) {
		size_t len = strcspn(path, "/");
		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		node = xml_child(node, name);
		path += path[len] ? len + 1 : len;
	}
	return (xmlNode *)node;
}

const char *xml_attribute(const xmlNode *node, const char *name)
{
	for (const xmlAttr *a = node->properties; a; a = a->next)
		if (!a->ns && !strcmp(TEXT(a->name), name)) {
			/* Without entities it is one node of text, or none. */
			return a->children && a->children->content ? TEXT(a->children->content) : "";
		}
	return NULL;
}

bool xml_attribute_is(const xmlNode *node, const char *name, const char *value)
{
	const char *text = xml_attribute(node, name);
	return text && !strcmp(text, value);
}

char *xml_text(const xmlNode *node)
{
	xmlChar *content = xmlNodeGetContent(node);
	char *text = content ? strdup(TEXT(content)) : NULL;
	xmlFree(content);
	for (char *c = text; c && *c; c++)
		if (*c == '\n' || *c == '\r' || *c == '\t')
			*c = ' ';
	return text;
}

char *xml_word(const xmlNode *node)
{
	char *text = xml_text(node);
	if (!text)
		return NULL;
	size_t from = strspn(text, " "), len = strlen(text);
	while (len > from && text[len - 1] == ' ')
		len--;
	memmove(text, text + from, len - from);
	text[len - from] = '\0';
	return text;
}

static bool is_like(const xmlNode *node, const xmlNode *other)
{
	return other->type == XML_ELEMENT_NODE && other->ns == node->ns && !strcmp(TEXT(other->name), TEXT(node->name));
}

/* "domain/devices/disk[2]"; the number where there are several of the name. */
static void write_path(const xmlNode *node, char *path, size_t size)
{
	char number[24] = "";
	unsigned before = 0, after = 0;
	if (node->parent && node->parent->type == XML_ELEMENT_NODE)
		write_path(node->parent, path, size);
	for (const xmlNode *n = node->prev; n; n = n->prev)
		before += is_like(node, n);
	for (const xmlNode *n = node->next; n; n = n->next)
		after += is_like(node, n);
	if (before || after)
		snprintf(number, sizeof(number), "[%u]", before + 1);
	bool prefix = node->ns && node->ns->prefix;
	size_t len = strlen(path);
	snprintf(path + len, size - len, "%s%.20s%s%.40s%s", len ? "/" : "", prefix ? TEXT(node->ns->prefix) : "",
		 prefix ? ":" : "", TEXT(node->name), number);
}

int xml_refuse(const xmlNode *node, struct error *err, const char *fmt, ...)
{
	char path[MOST_PATH] = "", text[sizeof(err->text)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	write_path(node, path, sizeof(path));
	error_set(err, EINVAL, "%s (line %ld): %s", path, xmlGetLineNo(node), text);
	plain(err);
	return -EINVAL;
}

/* --- changing --- */

/* XML has no way to write U+FFFE and U+FFFF, nor control characters. A copy with "?" in their place. */
static xmlChar *writable(const char *text)
{
	xmlChar *copy = xmlStrdup(BAD(text));
	for (xmlChar *c = copy; c && *c; c++) {
		if ((*c < 0x20 && !strchr("\t\n\r", *c)))
			*c = '?';
		else if (*c == 0xef && c[1] == 0xbf && (c[2] == 0xbe || c[2] == 0xbf))
			memset(c, '?', 3);
	}
	return copy;
}

void xml_set_text(struct xml_tree *tree, xmlNode *node, const char *text)
{
	xmlChar *copy = writable(text);
	xmlNode *content = copy ? xmlNewDocText(tree->doc, copy) : NULL;
	while (node && content && node->children)
		xml_remove(node->children);
	if (!node || !content || !xmlAddChild(node, content)) {
		xmlFreeNode(content);
		tree->failed = true;
	}
	xmlFree(copy);
}

xmlNode *xml_add(struct xml_tree *tree, xmlNode *parent, const char *name, const char *text)
{
	xmlNode *node = parent ? xmlNewDocNode(tree->doc, NULL, BAD(name), NULL) : NULL;
	if (!node) {
		tree->failed = true;
		return NULL;
	}
	xmlAddChild(parent, node);
	if (text)
		xml_set_text(tree, node, text);
	return node;
}

xmlNode *xml_need(struct xml_tree *tree, xmlNode *parent, const char *name)
{
	xmlNode *node = parent ? xml_child(parent, name) : NULL;
	return node ? node : xml_add(tree, parent, name, NULL);
}

void xml_set_attribute(struct xml_tree *tree, xmlNode *node, const char *name, const char *value)
{
	if (!node || !value) {
		xmlAttr *attribute = node ? xmlHasProp(node, BAD(name)) : NULL;
		if (attribute)
			xmlRemoveProp(attribute);
		tree->failed = tree->failed || !node;
		return;
	}
	xmlChar *copy = writable(value);
	if (!copy || !xmlSetProp(node, BAD(name), copy))
		tree->failed = true;
	xmlFree(copy);
}

void xml_remove(xmlNode *node)
{
	if (node) {
		xmlUnlinkNode(node);
		xmlFreeNode(node);
	}
}
