/* Devices put into a guest's domain XML, taken out of it, or changed: for the next start. */
#ifndef LIBVIRT_DEVICE_CHANGE_H
#define LIBVIRT_DEVICE_CHANGE_H

#include "base/error.h"

enum device_change {
	DEVICE_ADD,
	DEVICE_REMOVE,
	DEVICE_REPLACE,
};

/*
 * domain: as domain_xml_write() has it. device: one element, which may be anything; a device that is to be removed or replaced is known by its element's name and what it has of a
 * target's name, a MAC address, a source's file and an alias. *out: the domain's new text, to be freed with free(); it has not been read yet (domain_xml_read). Returns 0,
 * -EINVAL with a sentence: no XML, no device, several, none or one too many like it; -ENOMEM.
 */
int device_change(const char *domain, const char *device, enum device_change change, char **out, struct error *err);

#endif
