/* See placement_internal.h; the formulas are explained in docs/PLACEMENT.md. */
#include <string.h>

#include "host/placement_internal.h"

#define OVERFULL_WEIGHT 8 /* a page that a node lacks is compressed or on disk */
#define FARTHEST 3.0

void placement_settings_init(struct placement_settings *s)
{
	*s = (struct placement_settings){
		.reserve_percent = 5,
		.comfort_percent = 70,
		.share_percent = 100,
		.move_cost_percent = 10,
		.least_gain_permille = 1,
		.rest_ms = 60000,
		.most_moving = 1,
		.pages_per_second = 25600, /* 100 MiB/s */
	};
}

uint64_t load_demand(const struct placement_guest *guest)
{
	return guest->demand_pages < guest->nr_pages ? guest->demand_pages : guest->nr_pages;
}

void placement_demand(const struct placement_guest *guest, const struct placement *at, uint64_t pages[PLACEMENT_MOST_VNODES])
{
	uint64_t demand = load_demand(guest), total = 0, seen = 0;
	for (unsigned i = 0; i < at->nr_vnodes; i++)
		total += at->vnodes[i].nr_pages;
	/* Differences of rounded sums, which add up. */
	for (unsigned i = 0; i < at->nr_vnodes; i++) {
		uint64_t before = total ? scale(demand, seen, total) : 0;
		seen += at->vnodes[i].nr_pages;
		pages[i] = (total ? scale(demand, seen, total) : 0) - before;
	}
}

static void count_guest(const struct placement_guest *guest, struct load *load)
{
	uint64_t pages[PLACEMENT_MOST_VNODES];
	placement_demand(guest, &guest->at, pages);
	for (unsigned i = 0; i < guest->at.nr_vnodes; i++) {
		struct node_load *node = &load->nodes[guest->at.vnodes[i].node];
		node->pages += pages[i];
		node->permille += (uint64_t)guest->at.vnodes[i].nr_vcpus * guest->vcpu_permille;
	}
	load->nodes[guest->behind_node].behind += guest->behind_pages;
}

void load_count(const struct placement_host *host, const struct placement_settings *s, struct load *load)
{
	uint64_t pages = 0;
	unsigned cpus = 0;
	memset(load, 0, sizeof(*load));
	load->nr_nodes = host->topology->nr_nodes;
	for (unsigned i = 0; i < load->nr_nodes; i++) {
		const struct topology_node *node = &host->topology->nodes[i];
		load->nodes[i].most_pages = scale(node->nr_pages, s->reserve_percent < 100 ? 100 - s->reserve_percent : 0, 100);
		load->nodes[i].nr_cpus = node->nr_cpus;
		pages += node->nr_pages;
		cpus += node->nr_cpus;
	}
	load->pages_per_cpu = (double)pages / (cpus ? cpus : 1);
	for (size_t g = 0; g < host->nr_guests; g++)
		count_guest(&host->guests[g], load);
}

/* The square of what is above comfort, over all there is: its slope is twice the excess, so two nodes even out at equal fills. */
static double excess_cost(double used, double most, double comfort)
{
	double excess = used - most * comfort;
	if (excess <= 0)
		return 0;
	return most > 0 ? excess * excess / most : excess;
}

double load_node_cost(const struct load *load, const struct placement_settings *s, const struct node_load *node)
{
	double comfort = s->comfort_percent / 100.0;
	double used = (double)node->pages, most = (double)node->most_pages;
	double memory = excess_cost(used, most, comfort) + (used > most ? OVERFULL_WEIGHT * (used - most) : 0);
	double cpu = excess_cost((double)node->permille / 1000, node->nr_cpus, comfort);
	return memory + cpu * load->pages_per_cpu;
}

double load_distance(const struct topology *t, unsigned from, unsigned to)
{
	unsigned both = t->nodes[from].distance[to] + t->nodes[to].distance[from];
	double far = (both - 2 * TOPOLOGY_LOCAL) / (2.0 * TOPOLOGY_LOCAL);
	return from == to ? 0 : far > FARTHEST ? FARTHEST : far;
}

bool load_is_allowed(const struct topology *t, const struct placement_guest *guest, unsigned node)
{
	return t->nodes[node].nr_pages && (!guest->nodes || guest->nodes >> t->nodes[node].id & 1);
}

int placement_vcpu_node(const struct placement *p, unsigned vcpu)
{
	for (unsigned i = 0; i < p->nr_vnodes; i++)
		if (vcpu >= p->vnodes[i].first_vcpu && vcpu - p->vnodes[i].first_vcpu < p->vnodes[i].nr_vcpus)
			return (int)i;
	return -1;
}
