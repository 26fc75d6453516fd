/*
 * Which guest moves. See placement.h.
 *
 * The problem: nodes fill unevenly as guests come, grow and go, and guests that came to share pages lie apart; but a move costs bandwidth and
 * time, and one that is undone soon cost it for nothing.
 *
 * The idea: one number, badness (placement_badness), sums up how full nodes are and how far sharers are from each other. A virtual
 * node of one guest at a time goes where that number falls most, if it falls by more than the move costs.
 *
 * Invariants:
 * 1. Each move lowers badness by more than the least gain, and badness is never below 0. So with demands that stand still moves come to an
 *    end, after badness / least gain of them at most, and none is undone.
 * 2. With demands that change, a guest still stays where it came for rest_ms.
 * 3. No move overfills a node, counting what is still to leave it.
 */
#include "host/placement.h"

#include <errno.h>
#include <string.h>

#include "host/placement_internal.h"
#include "memmgr/os.h"

#define UNWANTED_WEIGHT 4 /* a page on a node where the user does not want the guest */

struct balance {
	const struct placement_host *host;
	const struct placement_settings *settings;
	struct load load;
	struct placement_guest *guests; /* a copy, in which moves are made as they are found */
	double *shared;                 /* [guest][node]: pages that it has in common with guests there */
	double least_gain;
};

static double *shared_of(const struct balance *b, size_t guest)
{
	return b->shared + guest * b->load.nr_nodes;
}

/* Pages that guest shares with other lie, for it, where the other's memory does. */
static void add_shared(struct balance *b, uint32_t guest, const struct placement_guest *other, double nr_pages)
{
	double all = 0;
	for (unsigned v = 0; v < other->at.nr_vnodes; v++)
		all += (double)other->at.vnodes[v].nr_pages;
	for (unsigned v = 0; v < other->at.nr_vnodes && all > 0; v++)
		shared_of(b, guest)[other->at.vnodes[v].node] += nr_pages * (double)other->at.vnodes[v].nr_pages / all;
}

static void count_shared(struct balance *b)
{
	memset(b->shared, 0, b->host->nr_guests * b->load.nr_nodes * sizeof(*b->shared));
	for (size_t i = 0; i < b->host->nr_sharing; i++) {
		const struct placement_sharing *s = &b->host->sharing[i];
		if (s->a == s->b || s->a >= b->host->nr_guests || s->b >= b->host->nr_guests)
			continue;
		add_shared(b, s->a, &b->guests[s->b], (double)s->nr_pages);
		add_shared(b, s->b, &b->guests[s->a], (double)s->nr_pages);
	}
}

/* What it costs that this part of a guest, on this node, is away from those it shares with. */
static double far_cost(const struct balance *b, size_t guest, unsigned vnode, unsigned node)
{
	const struct placement_guest *g = &b->guests[guest];
	double cost = 0, part = g->nr_pages ? (double)g->at.vnodes[vnode].nr_pages / (double)g->nr_pages : 0;
	for (unsigned n = 0; n < b->load.nr_nodes; n++)
		cost += shared_of(b, guest)[n] * load_distance(b->host->topology, node, n);
	return cost * part * b->settings->share_percent / 100;
}

/* And away from the rest of itself. */
static double apart_cost(const struct balance *b, size_t guest, unsigned vnode, unsigned node)
{
	const struct placement_guest *g = &b->guests[guest];
	double cost = 0;
	for (unsigned v = 0; v < g->at.nr_vnodes && g->nr_pages; v++)
		if (v != vnode)
			cost += (double)g->at.vnodes[v].nr_pages * (double)g->at.vnodes[vnode].nr_pages / (double)g->nr_pages *
				load_distance(b->host->topology, node, g->at.vnodes[v].node);
	return cost;
}

static double node_cost(const struct balance *b, const struct node_load *node)
{
	return load_node_cost(&b->load, b->settings, node);
}

static bool may_move(const struct balance *b, const struct placement_guest *g, uint64_t now_ms)
{
	return !g->fixed && g->at.nr_vnodes && g->behind_pages == 0 && now_ms >= g->since_ms &&
	       now_ms - g->since_ms >= b->settings->rest_ms;
}

static bool may_go(const struct balance *b, const struct placement_guest *g, unsigned vnode, uint64_t pages, unsigned to)
{
	const struct node_load *node = &b->load.nodes[to];
	if (!load_is_allowed(b->host->topology, g, to) || node->pages + node->behind + pages > node->most_pages ||
	    (g->at.vnodes[vnode].nr_vcpus && !node->nr_cpus))
		return false;
	/* Its virtual nodes stay apart: what it was told of their memory and distances then stays true enough. */
	for (unsigned v = 0; v < g->at.nr_vnodes; v++)
		if (g->at.vnodes[v].node == to)
			return false;
	return true;
}

/* By how much badness falls, less what the move costs. */
static double gain_of(const struct balance *b, size_t guest, unsigned vnode, uint64_t pages, unsigned to)
{
	const struct placement_guest *g = &b->guests[guest];
	unsigned from = g->at.vnodes[vnode].node;
	uint64_t permille = (uint64_t)g->at.vnodes[vnode].nr_vcpus * g->vcpu_permille;
	struct node_load source = b->load.nodes[from], target = b->load.nodes[to];
	double gain = node_cost(b, &source) + node_cost(b, &target);
	source.pages -= pages;
	source.permille -= permille;
	target.pages += pages;
	target.permille += permille;
	gain -= node_cost(b, &source) + node_cost(b, &target);
	gain += far_cost(b, guest, vnode, from) - far_cost(b, guest, vnode, to);
	gain += apart_cost(b, guest, vnode, from) - apart_cost(b, guest, vnode, to);
	if (!load_is_allowed(b->host->topology, g, from))
		gain += UNWANTED_WEIGHT * (double)pages + b->least_gain;
	return gain - (double)pages * b->settings->move_cost_percent / 100;
}

/* The best move there is. Returns false: none is worth it. */
static bool find_move(const struct balance *b, uint64_t now_ms, struct placement_move *move)
{
	double best = b->least_gain;
	bool found = false;
	for (size_t g = 0; g < b->host->nr_guests; g++) {
		const struct placement_guest *guest = &b->guests[g];
		uint64_t pages[PLACEMENT_MOST_VNODES];
		if (!may_move(b, guest, now_ms))
			continue;
		placement_demand(guest, &guest->at, pages);
		for (unsigned v = 0; v < guest->at.nr_vnodes; v++) {
			for (unsigned to = 0; to < b->load.nr_nodes; to++) {
				if (!may_go(b, guest, v, pages[v], to))
					continue;
				double gain = gain_of(b, g, v, pages[v], to);
				if (gain <= best)
					continue;
				best = gain;
				found = true;
				*move = (struct placement_move){
					.guest = (uint32_t)g, .vnode = v, .from = guest->at.vnodes[v].node, .to = to};
			}
		}
	}
	move->gain_pages = (uint64_t)best;
	return found;
}

/* As it is for the next move of this call. */
static void make_move(struct balance *b, const struct placement_move *move, uint64_t now_ms)
{
	struct placement_guest *g = &b->guests[move->guest];
	uint64_t pages[PLACEMENT_MOST_VNODES];
	placement_demand(g, &g->at, pages);
	uint64_t permille = (uint64_t)g->at.vnodes[move->vnode].nr_vcpus * g->vcpu_permille;
	g->at.vnodes[move->vnode].node = move->to;
	g->since_ms = now_ms;
	g->behind_node = move->from;
	g->behind_pages = pages[move->vnode] ? pages[move->vnode] : 1;
	b->load.nodes[move->to].pages += pages[move->vnode];
	b->load.nodes[move->to].permille += permille;
	b->load.nodes[move->from].pages -= pages[move->vnode];
	b->load.nodes[move->from].behind += g->behind_pages;
	b->load.nodes[move->from].permille -= permille;
	count_shared(b);
}

static void balance_end(struct balance *b)
{
	mem_free(b->guests);
	mem_free(b->shared);
}

static int balance_begin(struct balance *b, const struct placement_host *host, const struct placement_settings *s)
{
	uint64_t pages = 0;
	*b = (struct balance){.host = host, .settings = s};
	load_count(host, s, &b->load);
	size_t nr = host->nr_guests ? host->nr_guests : 1;
	b->guests = mem_calloc(nr, sizeof(*b->guests));
	b->shared = mem_calloc(nr * b->load.nr_nodes, sizeof(*b->shared));
	if (!b->guests || !b->shared) {
		balance_end(b);
		return -ENOMEM;
	}
	if (host->nr_guests)
		memcpy(b->guests, host->guests, host->nr_guests * sizeof(*b->guests));
	count_shared(b);
	for (unsigned n = 0; n < b->load.nr_nodes; n++)
		pages += b->load.nodes[n].most_pages;
	b->least_gain = (double)pages / b->load.nr_nodes * s->least_gain_permille / 1000;
	return 0;
}

int placement_rebalance(const struct placement_host *host, const struct placement_settings *s, uint64_t now_ms,
			struct placement_move *moves, size_t most)
{
	struct balance b;
	size_t nr = 0, under_way = 0;
	for (size_t g = 0; g < host->nr_guests; g++)
		under_way += host->guests[g].behind_pages != 0;
	if (under_way >= s->most_moving)
		return 0;
	if (most > s->most_moving - under_way)
		most = s->most_moving - under_way;
	int ret = balance_begin(&b, host, s);
	if (ret)
		return ret;
	while (nr < most && find_move(&b, now_ms, &moves[nr])) {
		uint32_t rate = s->pages_per_second / s->most_moving;
		moves[nr].pages_per_second = rate ? rate : 1;
		make_move(&b, &moves[nr], now_ms);
		nr++;
	}
	balance_end(&b);
	return (int)nr;
}

double placement_badness(const struct placement_host *host, const struct placement_settings *s)
{
	struct balance b;
	double badness = 0;
	if (balance_begin(&b, host, s) != 0)
		return -1;
	for (unsigned n = 0; n < b.load.nr_nodes; n++)
		badness += node_cost(&b, &b.load.nodes[n]);
	/* Pairs are seen from both ends. */
	for (size_t g = 0; g < host->nr_guests; g++)
		for (unsigned v = 0; v < b.guests[g].at.nr_vnodes; v++) {
			unsigned node = b.guests[g].at.vnodes[v].node;
			badness += (far_cost(&b, g, v, node) + apart_cost(&b, g, v, node)) / 2;
			if (!b.guests[g].fixed && !load_is_allowed(host->topology, &b.guests[g], node)) {
				uint64_t pages[PLACEMENT_MOST_VNODES];
				placement_demand(&b.guests[g], &b.guests[g].at, pages);
				badness += UNWANTED_WEIGHT * (double)pages[v] + b.least_gain;
			}
		}
	balance_end(&b);
	return badness;
}
