/* Values in domain XML: sizes with units, numbers, sets of numbers, yes and no. Each is refused with the place where it stands. */
#ifndef LIBVIRT_XML_VALUES_H
#define LIBVIRT_XML_VALUES_H

#include "libvirt/xml_tree.h"

/*
 * A size as the element's text, in the unit of the attribute "unit", KiB without one: "b" or "bytes"; "KB", "MB", ... of 1000; "k" or "KiB", "M" or "MiB", ... of 1024, up
 * to "E"; of either case. Returns 0; -EINVAL with a sentence for what is none, or has more than 64 bits; -ENOMEM.
 */
int xml_size(const xmlNode *node, uint64_t *bytes, struct error *err);
/* The same of a number and a unit that stand anywhere; unit may be NULL. Returns 0, -EINVAL, or -ERANGE. */
int xml_size_parse(const char *number, const char *unit, uint64_t *bytes);

/* A decimal number of digits alone, up to most. Return 0 or -EINVAL; the latter two with a sentence, and -ENOMEM. */
int xml_number_parse(const char *text, uint64_t most, uint64_t *number);
int xml_number(const xmlNode *node, uint64_t most, uint64_t *number, struct error *err);
/* An attribute's; fallback where it is not there. */
int xml_attribute_number(const xmlNode *node, const char *name, uint64_t most, uint64_t fallback, uint64_t *number,
			 struct error *err);

/* "0-3,8,^2": a set of numbers below 64, a bit each. Returns 0 or -EINVAL. */
int xml_set_parse(const char *text, uint64_t *set);

/* An attribute must be one of words, "a|b", or not there. Returns 0, or -EINVAL with a sentence that names them. */
int xml_attribute_check(const xmlNode *node, const char *name, const char *words, struct error *err);

#endif
