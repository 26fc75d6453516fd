/* Hosts and guests for tests of placement, made up by chance, and what holds of them by plain arithmetic. Include it once. */
#ifndef TESTS_UNIT_PLACEMENT_HOST_H
#define TESTS_UNIT_PLACEMENT_HOST_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "host/placement.h"
#include "memmgr/os.h"
#include "tests/unit/random_test.h"

#define MOST_GUESTS 1000
#define MIB_PAGES 256ull
#define GIB_PAGES (1024 * MIB_PAGES)

static long calls_left = -1; /* so many allocations succeed, then all fail; -1: none fails */
static long live;

void *mem_calloc(size_t nr, size_t size)
{
	if (calls_left == 0)
		return NULL;
	calls_left -= calls_left > 0;
	live++;
	return calloc(nr, size);
}

void mem_free(void *memory)
{
	live -= memory != NULL;
	free(memory);
}

static struct topology topology;
static struct placement_guest guests[MOST_GUESTS];
static struct placement_sharing sharing[MOST_GUESTS];
static struct placement_settings settings;
static struct placement_host host;

static void set_up(void)
{
	memset(&topology, 0, sizeof(topology));
	memset(guests, 0, sizeof(guests));
	placement_settings_init(&settings);
	host = (struct placement_host){.topology = &topology, .guests = guests, .sharing = sharing};
}

static void add_node(uint64_t nr_pages, unsigned nr_cpus)
{
	unsigned index = topology.nr_nodes++;
	struct topology_node *node = &topology.nodes[index];
	*node = (struct topology_node){.id = index, .nr_cpus = nr_cpus, .nr_pages = nr_pages, .free_pages = nr_pages};
	for (unsigned i = 0; i < topology.nr_nodes; i++)
		node->distance[i] = topology.nodes[i].distance[index] = i == index ? 10 : 20;
}

static void set_distance(unsigned a, unsigned b, uint8_t distance)
{
	topology.nodes[a].distance[b] = topology.nodes[b].distance[a] = distance;
}

/* Up to most nodes of different sizes, in pairs that are nearer. */
static void random_topology(unsigned most)
{
	unsigned nr = 1 + (unsigned)random_below(most);
	bool alike = random_below(2);
	topology.nr_nodes = 0;
	for (unsigned i = 0; i < nr; i++)
		add_node(alike ? 16 * GIB_PAGES : (1 + random_below(64)) * GIB_PAGES + random_below(3),
			 alike ? 16 : 1 + (unsigned)random_below(64));
	for (unsigned i = 0; i < nr; i++)
		for (unsigned j = 0; j < i; j++)
			set_distance(i, j, i / 2 == j / 2 ? 12 : 21);
}

static struct placement_guest random_guest(uint64_t most_pages)
{
	struct placement_guest guest = {.nr_pages = 1 + random_below(most_pages), .nr_vcpus = 1 + (unsigned)random_below(8)};
	guest.demand_pages = random_below(2) ? guest.nr_pages : 1 + random_below(guest.nr_pages);
	guest.vcpu_permille = (unsigned)random_below(1001);
	return guest;
}

static struct placement_guest plain_guest(uint64_t nr_pages, unsigned nr_vcpus)
{
	return (struct placement_guest){.nr_pages = nr_pages, .demand_pages = nr_pages, .nr_vcpus = nr_vcpus, .vcpu_permille = 100};
}

/* --- the plain model --- */

static uint64_t most_of(unsigned node)
{
	return topology.nodes[node].nr_pages * (100 - settings.reserve_percent) / 100;
}

/* Pages that guests take on each node. */
static void model_load(uint64_t *pages)
{
	memset(pages, 0, TOPOLOGY_MOST_NODES * sizeof(*pages));
	for (size_t g = 0; g < host.nr_guests; g++) {
		uint64_t demand[PLACEMENT_MOST_VNODES];
		placement_demand(&guests[g], &guests[g].at, demand);
		for (unsigned v = 0; v < guests[g].at.nr_vnodes; v++)
			pages[guests[g].at.vnodes[v].node] += demand[v];
		pages[guests[g].behind_node] += guests[g].behind_pages;
	}
}

static void check_placement(const struct placement_guest *guest, const struct placement *p)
{
	uint64_t pages = 0, demand = 0, parts[PLACEMENT_MOST_VNODES], seen = 0;
	unsigned vcpus = 0;
	ck_assert_uint_ge(p->nr_vnodes, 1);
	ck_assert_uint_le(p->nr_vnodes, PLACEMENT_MOST_VNODES);
	placement_demand(guest, p, parts);
	for (unsigned v = 0; v < p->nr_vnodes; v++) {
		ck_assert_uint_gt(p->vnodes[v].nr_pages, 0);
		ck_assert_uint_lt(p->vnodes[v].node, topology.nr_nodes);
		ck_assert_msg(!(seen >> p->vnodes[v].node & 1), "two virtual nodes on one");
		seen |= 1ull << p->vnodes[v].node;
		ck_assert_uint_eq(p->vnodes[v].first_vcpu, vcpus);
		pages += p->vnodes[v].nr_pages;
		vcpus += p->vnodes[v].nr_vcpus;
		demand += parts[v];
	}
	ck_assert_uint_eq(pages, guest->nr_pages);
	ck_assert_uint_eq(vcpus, guest->nr_vcpus);
	ck_assert_uint_eq(demand, guest->demand_pages);
	for (unsigned vcpu = 0; vcpu < guest->nr_vcpus; vcpu++) {
		int v = placement_vcpu_node(p, vcpu);
		ck_assert_int_ge(v, 0);
		ck_assert(vcpu >= p->vnodes[v].first_vcpu && vcpu < p->vnodes[v].first_vcpu + p->vnodes[v].nr_vcpus);
	}
	ck_assert_int_eq(placement_vcpu_node(p, guest->nr_vcpus), -1);
}

#endif
