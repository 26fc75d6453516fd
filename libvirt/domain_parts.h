/*
 * The parts of domain XML, each of which is read into members of a definition and written from them. A reader finds a domain that
 * domain_rules_check() has let through. A writer has a tree that may hold what the user wrote: it changes what differs between two
 * definitions alone, the one that the tree reads as, and the one that is to be written; was NULL: everything.
 */
#ifndef LIBVIRT_DOMAIN_PARTS_H
#define LIBVIRT_DOMAIN_PARTS_H

#include <jansson.h>

#include "host/definition.h"
#include "libvirt/xml_tree.h"

/* Takes value; NULL for one that could not be made. Returns 0 or -ENOMEM with a sentence. */
int domain_put(json_t *members, const char *member, json_t *value, struct error *err);
/* A new string of text; invalid UTF-8 cannot come from libxml2. text NULL: no memory. Frees text. */
int domain_put_text(json_t *members, const char *member, char *text, struct error *err);
/* Appends to the array "words" of members, which is made. */
int domain_put_word(json_t *members, const char *word, struct error *err);

/* Whether a writer has to write a member. */
bool domain_differs(const struct definition *was, const struct definition *now, const char *member);
/* A member's string, NULL where it has none. */
const char *domain_string(const struct definition *d, const char *member);

/* memory, currentMemory, maxMemory, memtune, memoryBacking, numatune, memballoon: domain_memory.c */
int domain_memory_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_memory_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

/* name, uuid, vcpu, os, clock, on_poweroff ..., seclabel: domain_general.c */
int domain_general_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_general_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

/* cpu; words "-cpu" comes of it: domain_cpu.c */
int domain_cpu_read(const xmlNode *domain, json_t *members, struct error *err);

/* cputune/vcpupin, emulatorpin: domain_pins.c */
int domain_pins_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_pins_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

/* serial, console, rng and other small devices: domain_devices.c. rng and on_reboot become words. */
int domain_devices_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_devices_write(struct xml_tree *tree);

/* disk: domain_disks.c. A drive for CDs or floppies with nothing in it, which makes no drive of the definition; those elements that are drives of the definition, in its order; NULL behind the last. */
bool domain_disks_is_empty_tray(const xmlNode *disk);
xmlNode *domain_disks_first(const xmlNode *domain);
xmlNode *domain_disks_next(const xmlNode *disk);
int domain_disks_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_disks_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

/* interface: domain_interfaces.c */
int domain_interfaces_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_interfaces_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

/* Whether <portForward> can say all of them. */
bool domain_interfaces_can_say(const json_t *forwards);

/* <metadata><pagoda:guest>: domain_metadata.c. Read last: it adds to what the others found. */
int domain_metadata_read(const xmlNode *domain, json_t *members, struct error *err);
void domain_metadata_write(struct xml_tree *tree, const struct definition *was, const struct definition *now);

#endif
