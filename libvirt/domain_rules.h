/*
 * What domain XML may have: which elements are understood, which make no difference, which are taken out, and which
 * are refused, in what words.
 */
#ifndef LIBVIRT_DOMAIN_RULES_H
#define LIBVIRT_DOMAIN_RULES_H

#include "libvirt/xml_tree.h"

/* Looks at every element and attribute of a domain. Returns 0, or -EINVAL with a sentence for the first that is refused. */
int domain_rules_check(const xmlNode *domain, struct error *err);

/*
 * Takes out of a domain the devices that clients add unasked and that no guest here has. names: of what was taken out, each once,
 * "graphics|video"; "" for none.
 */
void domain_rules_take_out(xmlNode *domain, char *names, size_t size);

#endif
