/*
 * libvirt's domain XML, read: it becomes the members of a guest's definition (docs/API.md). What changes a guest and is not to be had is
 * refused by name; what makes no difference is let through (libvirt/domain_rules.c has the table). The text itself comes back as the
 * member "xml", so that what Pagoda has no use for is there again when the domain is written; without the devices that no guest here has, so
 * that none is shown that is not there.
 */
#ifndef LIBVIRT_DOMAIN_XML_READ_H
#define LIBVIRT_DOMAIN_XML_READ_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/*
 * Reads domain XML, which may be anything. Returns 0 and a new JSON object of a definition's members, which definition_parse() takes, owned by the
 * caller; -EINVAL with a sentence that names the element and its line; -ENOMEM.
 */
int domain_xml_read(const char *text, size_t nr_bytes, json_t **definition, struct error *err);

#define DOMAIN_XML_LEFT_OUT_BYTES 160

/* The same, which says the names of devices that were left out: "graphics|video", at most size bytes; "" for none. Written only on success. */
int domain_xml_read_saying(const char *text, size_t nr_bytes, json_t **definition, char *left_out, size_t size, struct error *err);

#endif
