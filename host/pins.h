/*
 * Which of the host's CPUs a guest's threads may run on, where its definition says so: "0:2-3" pins its first vCPU, "emulator:0" its VMM's other threads, but for the memory manager's. Who
 * is not pinned runs where the daemon may, and on a host with several NUMA nodes where placement says.
 */
#ifndef HOST_PINS_H
#define HOST_PINS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "host/topology.h"

struct guest;

#define PINS_EMULATOR (-1)
#define PINS_CPUS_BYTES 2048 /* for a list of CPUs as text; what is longer is refused */

/* "0-3,8": CPUs by number. Returns 0, or -EINVAL for what is none, is empty, or has more than can be written in PINS_CPUS_BYTES. */
int pins_parse_cpus(const char *text, struct topology_cpus *cpus);
/* The array of a definition, which is put into order: emulator first. Returns 0, -EINVAL with a sentence, or -ENOMEM. */
int pins_check(json_t *pins, struct error *err);
/* The CPUs of a vCPU, or of PINS_EMULATOR. Returns whether it is pinned. */
bool pins_find(const json_t *pins, int who, struct topology_cpus *cpus);
/* A new array, in order, in which one has other CPUs; cpus NULL: is not pinned. pins may be NULL. NULL without memory. */
json_t *pins_with(const json_t *pins, int who, const struct topology_cpus *cpus);

/* Where the daemon itself may run, and so whoever is not pinned. */
void pins_host_cpus(struct topology_cpus *cpus);
/*
 * Gives the threads of a guest's VMM the CPUs of its definition in force. was: of the definition before, NULL: none; who was pinned by it and is not now is let go. Returns 0,
 * or -errno with a sentence about the last that could not be had.
 */
int pins_apply(const struct guest *guest, const json_t *was, struct error *err);

#endif
