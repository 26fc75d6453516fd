/*
 * What people and programs write beside a guest: title, description, and elements of other namespaces in <metadata>. It is kept in the
 * definition's member "xml", and is nothing else's business.
 */
#ifndef LIBVIRT_DOMAIN_XML_METADATA_H
#define LIBVIRT_DOMAIN_XML_METADATA_H

#include <jansson.h>

#include "base/error.h"

/* As libvirt numbers them. */
enum domain_xml_metadata {
	DOMAIN_XML_DESCRIPTION,
	DOMAIN_XML_TITLE,
	DOMAIN_XML_ELEMENT,
};

/*
 * definition: the JSON of one. uri: the namespace of an element, NULL for the others. Returns 0 and text to be freed with free(), an element without its
 * namespace, as clients give it; -ENOENT with a sentence if there is none; -EINVAL for a kind without its uri; -ENOMEM.
 */
int domain_xml_metadata_get(const json_t *definition, enum domain_xml_metadata kind, const char *uri, char **text,
			    struct error *err);

/*
 * Makes the text of the member "xml" in which that is set, or removed with text NULL or empty; to be freed with free(). An element is given as
 * XML, and gets the namespace uri with the prefix key. Returns 0; -EINVAL with a sentence; -ENOMEM.
 */
int domain_xml_metadata_set(const json_t *definition, enum domain_xml_metadata kind, const char *key, const char *uri,
			    const char *text, char **xml, struct error *err);

#endif
