/*
 * XML as a tree, by libxml2, for texts that may be anything: no network, no document types and so no entities, every size bounded, nothing
 * printed. And the few ways in which such a tree is looked at and changed here.
 *
 * White space between elements is dropped, and made anew when a tree becomes text; within those children of <metadata> that belong to others it
 * stays as it is.
 */
#ifndef LIBVIRT_XML_TREE_H
#define LIBVIRT_XML_TREE_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Of Pagoda's own elements. A namespace is a name, and nothing to be looked up. */
#define XML_TREE_OURS "https://pagoda.invalid/xmlns/guest/1.0"
#define XML_TREE_MOST_BYTES (256 << 10)
#define XML_TREE_MOST_DEPTH 64

struct xml_tree {
	xmlDoc *doc;
	xmlNode *root;
	bool failed; /* memory was short while it was changed */
};

/* Returns 0; -EINVAL with a sentence and, where there is one, the line; -ENOMEM. root is the name that the outermost element must have; NULL: any, and all
 * white space stays. */
int xml_tree_parse(const char *text, size_t nr_bytes, const char *root, struct xml_tree *tree, struct error *err);
/* A tree of one element. Returns 0 or -ENOMEM. */
int xml_tree_make(const char *root, struct xml_tree *tree);
void xml_tree_free(struct xml_tree *tree);
/* The root as text, without a declaration, indented; to be freed with free(). NULL when memory is short, or was. */
char *xml_tree_text(const struct xml_tree *tree);

/* --- looking; elements in a namespace have none of these names --- */

bool xml_is(const xmlNode *node, const char *name);
/* In Pagoda's own namespace. */
bool xml_is_ours(const xmlNode *node, const char *name);
/* The first child element, and the next sibling, of that name; of any, also in namespaces, with NULL. NULL: none. */
xmlNode *xml_child(const xmlNode *parent, const char *name);
xmlNode *xml_next(const xmlNode *node, const char *name);
/* Down a path of names, "memtune/hard_limit". */
xmlNode *xml_at(const xmlNode *parent, const char *path);
/* Those hold what they return: no copy. "" for an attribute that is empty, NULL for none, and for one with a namespace. */
const char *xml_attribute(const xmlNode *node, const char *name);
bool xml_attribute_is(const xmlNode *node, const char *name, const char *value);
/* A copy of the element's text, to be freed with free(); line ends and tabs become spaces. NULL without memory. */
char *xml_text(const xmlNode *node);
/* The same without white space around it. */
char *xml_word(const xmlNode *node);

/*
 * Sets -EINVAL and "domain/devices/disk[2]/driver (line 12): " with the sentence behind it; what is no ASCII is shown as "?".
 */
int xml_refuse(const xmlNode *node, struct error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* --- changing; what fails is told by tree->failed --- */

/* A child at the end; text may be NULL. NULL when memory is short. */
xmlNode *xml_add(struct xml_tree *tree, xmlNode *parent, const char *name, const char *text);
/* The first child of that name, which is made if there is none. */
xmlNode *xml_need(struct xml_tree *tree, xmlNode *parent, const char *name);
void xml_set_text(struct xml_tree *tree, xmlNode *node, const char *text);
/* value NULL removes it. */
void xml_set_attribute(struct xml_tree *tree, xmlNode *node, const char *name, const char *value);
/* node may be NULL. */
void xml_remove(xmlNode *node);

#endif
