/*
 * Where a new guest goes. See placement.h.
 *
 * Sets of nodes are tried in the order of their sizes; of those of one size on which the guest fits, the cheapest is taken. A set is
 * filled evenly, as far as there is room. Up to SETS_TRIED_ALL nodes all sets are tried; of more, from each node on the set with its nearest, and the set
 * of those with most room.
 *
 * Invariants:
 * 1. Virtual nodes have pages, and their pages and vCPUs sum up to the guest's.
 * 2. If the guest is not called overfull, no node has more than it may have; if a set of at most 8 of 8 nodes has room, it is not called so.
 */
#include "host/placement.h"

#include <errno.h>

#include "host/placement_internal.h"

#define CHUNK_PAGES 512u /* virtual nodes are whole huge pages where that fits */
#define SETS_TRIED_ALL 8
#define SPREAD_WEIGHT 0.25 /* of a page on a full node, against one on an empty node, while neither is past comfort */

struct choice {
	const struct topology *topology;
	const struct placement_settings *settings;
	const struct placement_guest *guest;
	const struct load *load;
	double shared[TOPOLOGY_MOST_NODES];  /* pages in common with guests on each node */
	uint64_t limit[TOPOLOGY_MOST_NODES]; /* pages of the guest that each node can take */
	unsigned nodes[TOPOLOGY_MOST_NODES]; /* that may be taken */
	unsigned nr_nodes;
	bool needs_cpus; /* as many CPUs as vCPUs: while the host has them */
	uint64_t granule;
	struct placement best;
	double best_cost;
	bool found;
};

/* --- filling a set --- */

/* Gives each of the nodes an even part, or its limit. Returns false if they cannot take the guest. */
static bool fill_pages(const struct choice *c, const unsigned *nodes, unsigned nr, struct placement *p)
{
	unsigned order[PLACEMENT_MOST_VNODES];
	uint64_t left = c->guest->nr_pages;
	for (unsigned i = 0; i < nr; i++) {
		unsigned at = i;
		for (; at > 0 && c->limit[nodes[order[at - 1]]] > c->limit[nodes[i]]; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (unsigned i = 0; i < nr; i++) {
		uint64_t limit = c->limit[nodes[order[i]]], part = left;
		if (i + 1 < nr) {
			part = left / (nr - i);
			part = part < limit ? part : limit;
			part -= part % c->granule;
		}
		if (part == 0 || part > limit)
			return false;
		p->vnodes[order[i]] = (struct placement_vnode){.node = nodes[order[i]], .nr_pages = part};
		left -= part;
	}
	p->nr_vnodes = nr;
	return true;
}

/* Each vCPU goes where memory is most for it, and CPUs are left. */
static bool fill_vcpus(const struct choice *c, struct placement *p)
{
	for (unsigned given = 0; given < c->guest->nr_vcpus; given++) {
		int best = -1;
		for (unsigned i = 0; i < p->nr_vnodes; i++) {
			const struct placement_vnode *v = &p->vnodes[i];
			if (c->needs_cpus && v->nr_vcpus >= c->load->nodes[v->node].nr_cpus)
				continue;
			if (best < 0 || (unsigned __int128)(p->vnodes[best].nr_vcpus + 1) * v->nr_pages >
						(unsigned __int128)(v->nr_vcpus + 1) * p->vnodes[best].nr_pages)
				best = (int)i;
		}
		if (best < 0)
			return false;
		p->vnodes[best].nr_vcpus++;
	}
	for (unsigned i = 1; i < p->nr_vnodes; i++)
		p->vnodes[i].first_vcpu = p->vnodes[i - 1].first_vcpu + p->vnodes[i - 1].nr_vcpus;
	return true;
}

static double cost_of(const struct choice *c, const struct placement *p)
{
	uint64_t demand[PLACEMENT_MOST_VNODES];
	double cost = 0, all = (double)c->guest->nr_pages;
	placement_demand(c->guest, p, demand);
	for (unsigned i = 0; i < p->nr_vnodes; i++) {
		const struct placement_vnode *v = &p->vnodes[i];
		struct node_load before = c->load->nodes[v->node], after = before;
		after.pages += demand[i];
		after.permille += (uint64_t)v->nr_vcpus * c->guest->vcpu_permille;
		cost += load_node_cost(c->load, c->settings, &after) - load_node_cost(c->load, c->settings, &before);
		double memory = (double)after.pages / (double)(after.most_pages ? after.most_pages : 1);
		double cpus = (double)after.permille / 1000 / (after.nr_cpus ? after.nr_cpus : 1);
		cost += SPREAD_WEIGHT * (double)demand[i] * (memory + cpus);
		for (unsigned n = 0; n < c->topology->nr_nodes; n++)
			if (c->shared[n] > 0)
				cost += c->shared[n] * (double)v->nr_pages / all * load_distance(c->topology, v->node, n) *
					c->settings->share_percent / 100;
		for (unsigned j = 0; j < i; j++)
			cost += (double)v->nr_pages * (double)p->vnodes[j].nr_pages / all *
				load_distance(c->topology, v->node, p->vnodes[j].node);
	}
	return cost;
}

static void try_set(struct choice *c, const unsigned *nodes, unsigned nr)
{
	struct placement p = {.nr_vnodes = 0};
	if (!fill_pages(c, nodes, nr, &p) || !fill_vcpus(c, &p))
		return;
	double cost = cost_of(c, &p);
	if (c->found && cost >= c->best_cost)
		return;
	c->best = p;
	c->best_cost = cost;
	c->found = true;
}

/* --- sets to try --- */

static void try_all_sets(struct choice *c, unsigned nr)
{
	for (unsigned set = 1; set < 1u << c->nr_nodes; set++) {
		unsigned nodes[SETS_TRIED_ALL], n = 0;
		if ((unsigned)__builtin_popcount(set) != nr)
			continue;
		for (unsigned i = 0; i < c->nr_nodes; i++)
			if (set >> i & 1)
				nodes[n++] = c->nodes[i];
		try_set(c, nodes, nr);
	}
}

/* From a node on: it and those nearest to it, of equally near ones those with most room. from < 0: those with most room. */
static void try_near(struct choice *c, int from, unsigned nr)
{
	unsigned nodes[PLACEMENT_MOST_VNODES];
	bool taken[TOPOLOGY_MOST_NODES] = {false};
	for (unsigned n = 0; n < nr; n++) {
		unsigned best = TOPOLOGY_MOST_NODES, best_distance = 0;
		for (unsigned i = 0; i < c->nr_nodes; i++) {
			unsigned node = c->nodes[i];
			unsigned distance = from < 0 || (int)node == from ? 0 : c->topology->nodes[from].distance[node];
			if (taken[node])
				continue;
			if (best == TOPOLOGY_MOST_NODES || distance < best_distance ||
			    (distance == best_distance && c->limit[node] > c->limit[best])) {
				best = node;
				best_distance = distance;
			}
		}
		if (best == TOPOLOGY_MOST_NODES)
			return; /* there are no more; nobody asks for so many */
		taken[best] = true;
	}
	/* In the order of the host. */
	unsigned n = 0;
	for (unsigned node = 0; node < c->topology->nr_nodes; node++)
		if (taken[node])
			nodes[n++] = node;
	try_set(c, nodes, nr);
}

/* Returns whether the guest fits on some set. */
static bool try_sizes(struct choice *c)
{
	for (unsigned nr = 1; nr <= c->nr_nodes && nr <= PLACEMENT_MOST_VNODES && !c->found; nr++) {
		if (c->nr_nodes <= SETS_TRIED_ALL) {
			try_all_sets(c, nr);
		} else {
			for (unsigned i = 0; i < c->nr_nodes; i++)
				try_near(c, (int)c->nodes[i], nr);
			try_near(c, -1, nr);
		}
	}
	return c->found;
}

/* In whole huge pages, then to the page. */
static bool try_granules(struct choice *c)
{
	c->granule = CHUNK_PAGES;
	if (try_sizes(c))
		return true;
	c->granule = 1;
	return try_sizes(c);
}

/* --- what nodes can take --- */

/* Nodes with memory and CPUs, of those where the guest may be; without such, those with memory. */
static void find_nodes(struct choice *c)
{
	for (int cpus = 1; cpus >= 0 && c->nr_nodes == 0; cpus--)
		for (unsigned n = 0; n < c->topology->nr_nodes; n++)
			if (load_is_allowed(c->topology, c->guest, n) && c->load->nodes[n].most_pages &&
			    (!cpus || c->topology->nodes[n].nr_cpus))
				c->nodes[c->nr_nodes++] = n;
}

/* As many pages of the guest as its demand leaves room for, and no more than the node could ever hold, if the host has as many. */
static void limit_to_room(struct choice *c)
{
	uint64_t demand = load_demand(c->guest), all = 0;
	for (unsigned i = 0; i < c->nr_nodes; i++)
		all += c->load->nodes[c->nodes[i]].most_pages;
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		const struct node_load *node = &c->load->nodes[c->nodes[i]];
		uint64_t taken = node->pages + node->behind, room = taken < node->most_pages ? node->most_pages - taken : 0;
		uint64_t limit = room >= demand ? c->guest->nr_pages : scale(c->guest->nr_pages, room, demand);
		if (all >= c->guest->nr_pages && limit > node->most_pages)
			limit = node->most_pages;
		c->limit[c->nodes[i]] = limit;
	}
}

/* As if nobody else was there. If even then it is too large, nodes are overfilled in proportion. */
static void limit_to_size(struct choice *c)
{
	uint64_t all = 0;
	for (unsigned i = 0; i < c->nr_nodes; i++)
		all += c->load->nodes[c->nodes[i]].most_pages;
	for (unsigned i = 0; i < c->nr_nodes; i++) {
		uint64_t most = c->load->nodes[c->nodes[i]].most_pages;
		c->limit[c->nodes[i]] = all >= c->guest->nr_pages ? most : scale(c->guest->nr_pages, most, all) + CHUNK_PAGES;
	}
}

static void count_shared(const struct placement_host *host, const struct placement_sharing *sharing, size_t nr, struct choice *c)
{
	for (size_t i = 0; i < nr; i++) {
		if (sharing[i].a >= host->nr_guests)
			continue;
		const struct placement_guest *other = &host->guests[sharing[i].a];
		for (unsigned v = 0; v < other->at.nr_vnodes && other->nr_pages; v++)
			c->shared[other->at.vnodes[v].node] +=
				(double)sharing[i].nr_pages * (double)other->at.vnodes[v].nr_pages / (double)other->nr_pages;
	}
}

/* The guest fits nowhere: it goes where it does least harm. */
static void choose_overfull(struct choice *c)
{
	limit_to_size(c);
	bool fits = try_granules(c);
	c->needs_cpus = false;
	if (!fits)
		fits = try_granules(c);
	/* More memory than eight nodes have: the eight take it all the same. */
	for (unsigned i = 0; i < c->nr_nodes && !fits; i++)
		c->limit[c->nodes[i]] = c->guest->nr_pages;
	for (unsigned nr = c->nr_nodes < PLACEMENT_MOST_VNODES ? c->nr_nodes : PLACEMENT_MOST_VNODES; !c->found && nr; nr--) {
		c->granule = 1;
		try_near(c, -1, nr);
	}
	c->best.overfull = true;
}

static int check(const struct placement_host *host, const struct placement_guest *guest, struct error *err)
{
	if (guest->nr_pages == 0 || guest->nr_vcpus == 0)
		return error_set(err, EINVAL, "placement: a guest has memory and vCPUs; this one has %llu pages and %u",
				 (unsigned long long)guest->nr_pages, guest->nr_vcpus);
	for (unsigned n = 0; n < host->topology->nr_nodes; n++)
		if (load_is_allowed(host->topology, guest, n))
			return 0;
	return error_set(
		err, EINVAL,
		"placement: the host has none of the nodes that the guest is pinned to, or they have no memory; name others");
}

int placement_choose(const struct placement_host *host, const struct placement_settings *s, const struct placement_guest *guest,
		     const struct placement_sharing *sharing, size_t nr_sharing, struct placement *out, struct error *err)
{
	int ret = check(host, guest, err);
	if (ret)
		return ret;
	struct load load;
	load_count(host, s, &load);
	struct choice c = {.topology = host->topology, .settings = s, .guest = guest, .load = &load, .needs_cpus = true};
	find_nodes(&c);
	if (c.nr_nodes == 0)
		return error_set(err, EINVAL, "placement: no memory is left for guests; lower the reserve of %u percent",
				 s->reserve_percent);
	count_shared(host, sharing, nr_sharing, &c);
	limit_to_room(&c);
	if (!try_granules(&c)) {
		c.needs_cpus = false;
		if (!try_granules(&c)) {
			c.needs_cpus = true;
			choose_overfull(&c);
		}
	}
	*out = c.best;
	return 0;
}
