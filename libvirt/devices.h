/* A guest's disks and network interfaces, as clients name them. */
#ifndef LIBVIRT_DEVICES_H
#define LIBVIRT_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#include "host/definition.h"

#define LIBVIRT_MOST_DISKS 16
#define LIBVIRT_MOST_INTERFACES 8

struct libvirt_disk {
	char name[32];
	const char *file; /* of the definition's; not a path where it is an NBD address */
};
/* In the definition's order, which is that of the VMM. Returns how many. */
unsigned libvirt_disks(const struct definition *definition, struct libvirt_disk disks[LIBVIRT_MOST_DISKS]);
/* The one with that name or file; -1: none. */
int libvirt_find_disk(const struct definition *definition, const char *name);

struct libvirt_disk_size {
	uint64_t allocation, capacity, physical; /* bytes */
};
/* Returns false for what is no file here. */
bool libvirt_disk_size(const char *file, struct libvirt_disk_size *size);

/* What the guest's side of a tap has received and sent, in the order of the protocol: bytes, packets, errors, dropped of each. */
struct libvirt_traffic {
	uint64_t counts[8];
};
/* Names of the guest's taps, which point into the definition; other interfaces have no counters. Returns how many. */
unsigned libvirt_taps(const struct definition *definition, const char *names[LIBVIRT_MOST_INTERFACES]);
bool libvirt_tap_traffic(const char *name, struct libvirt_traffic *traffic);

#endif
