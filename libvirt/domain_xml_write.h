/*
 * Domain XML, written: the text that the guest was defined with, in which what has changed since is put right; or, for a guest that was not
 * defined by XML, a text made from the definition's members alone.
 */
#ifndef LIBVIRT_DOMAIN_XML_WRITE_H
#define LIBVIRT_DOMAIN_XML_WRITE_H

#include <jansson.h>
#include <stdint.h>

/* What a guest has while it runs. */
struct domain_xml_state {
	int id;                 /* 1 and up */
	uint64_t current_bytes; /* its memory less its balloon; 0: as the definition has it */
};

/*
 * definition: the JSON of one (struct definition's). state: NULL while the guest does not run, or for what it will be at its next start. Returns text to
 * be freed with free(); NULL when memory is short, or it is no definition.
 */
char *domain_xml_write(const json_t *definition, const struct domain_xml_state *state);

#endif
