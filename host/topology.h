/*
 * The host's NUMA nodes: memory, CPUs, distances. Read from the kernel's /sys/devices/system/node, or from a file that a person
 * writes, so that a machine with one node tests and plans for one with eight.
 *
 * A file has a line for each node; "#" begins a comment:
 *
 *     node 0 cpus 0-3,8-11 memory 64G free 60G distance 10 21
 *     node 1 cpus 4-7,12-15 memory 64G free 61G distance 21 10
 *
 * Sizes take K, M, G or T. Without free all of it is; without cpus the node has none; distances are those to the nodes in the order of lines,
 * and 10 to itself, 20 to others where they are left out.
 */
#ifndef HOST_TOPOLOGY_H
#define HOST_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

#define TOPOLOGY_MOST_NODES 64  /* also the limit of a node's number: sets of nodes are 64 bits */
#define TOPOLOGY_MOST_CPUS 4096 /* and of a CPU's number */
#define TOPOLOGY_LOCAL 10       /* distance of a node to itself (ACPI SLIT) */

struct topology_cpus {
	uint64_t bits[TOPOLOGY_MOST_CPUS / 64];
};

struct topology_node {
	unsigned id; /* the kernel's number; they ascend */
	unsigned nr_cpus;
	uint64_t nr_pages, free_pages; /* of 4 KiB; 0 and 0: CPUs without memory */
	struct topology_cpus cpus;
	uint8_t distance[TOPOLOGY_MOST_NODES]; /* by index: LOCAL to itself, more to others; 255: out of reach */
};

/* Plain data, some 40 KiB: on the heap, or static. Nodes by index 0 to nr_nodes - 1. */
struct topology {
	unsigned nr_nodes;
	struct topology_node nodes[TOPOLOGY_MOST_NODES];
};

/*
 * The kernel's, from below a directory ("/sys"). A kernel without NUMA has one node. Returns 0, or -errno with a sentence: -EINVAL for
 * what is not as the kernel writes it. After a failure what *t holds means nothing, here and below.
 */
int topology_read_host(const char *sys, struct topology *t, struct error *err);

/* A file as above, and its text. Return 0, or -errno with a sentence that names the line. */
int topology_load(const char *path, struct topology *t, struct error *err);
int topology_parse(const char *text, size_t len, struct topology *t, struct error *err);

/* Writes such a file. Returns 0 or -EIO. */
int topology_write(const struct topology *t, FILE *to);

/* The index of the node with that number; -1: there is none. */
int topology_find(const struct topology *t, unsigned id);

bool topology_has_cpu(const struct topology_node *node, unsigned cpu);

/* "0-3,8" of a set; "" when it is empty. Cut to the size. */
void topology_list_cpus(const struct topology_cpus *cpus, char *text, size_t size);

#endif
