/* See placement_seat.h. */
#include "host/placement_seat.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define PAGE_BYTES 4096

static unsigned long long mib(uint64_t pages)
{
	return pages / 256;
}

/* "node 1", "nodes 0, 1" */
static const char *name_nodes(const struct placement_seat *s, const struct topology *t, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, s->at.nr_vnodes == 1 ? "node" : "nodes");
	for (unsigned v = 0; v < s->at.nr_vnodes && len < size; v++)
		len += (size_t)snprintf(text + len, size - len, "%s %u", v ? "," : "", t->nodes[s->at.vnodes[v].node].id);
	return text;
}

void placement_seat_put(struct placement_seat *s, const struct topology *t, const struct placement *at, bool pinned,
			uint64_t now_ms)
{
	char nodes[80];
	s->at = *at;
	s->since_ms = now_ms;
	name_nodes(s, t, nodes, sizeof(nodes));
	if (at->overfull)
		snprintf(s->why, sizeof(s->why), "Started on %s: it fits nowhere, and does least harm there.", nodes);
	else if (pinned)
		snprintf(s->why, sizeof(s->why), "Started on %s: of the nodes that its definition allows, it costs least there.",
			 nodes);
	else if (at->nr_vnodes > 1)
		snprintf(s->why, sizeof(s->why), "Started on %s: it fits on fewer nowhere, and sees them as its own.", nodes);
	else
		snprintf(s->why, sizeof(s->why), "Started on %s: it fits there whole, and costs least.", nodes);
}

/* --- what the VMM tells --- */

static bool is_count(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT64_C(1) << 52;
}

/* Pages by node; nodes that the topology lacks are left out. Returns the node with most, or 0. */
static int hear_pages(const struct topology *t, const json_t *on, uint64_t pages[TOPOLOGY_MOST_NODES], unsigned *most)
{
	const json_t *item;
	size_t i;
	*most = 0;
	json_array_foreach(on, i, item)
	{
		const json_t *id = json_object_get(item, "host-node"), *nr = json_object_get(item, "pages");
		if (!is_count(id) || !is_count(nr) || json_integer_value(id) >= TOPOLOGY_MOST_NODES)
			return -EPROTO;
		int node = topology_find(t, (unsigned)json_integer_value(id));
		if (node >= 0)
			pages[node] = (uint64_t)json_integer_value(nr);
		if (node >= 0 && pages[node] > pages[*most])
			*most = (unsigned)node;
	}
	return 0;
}

/* One virtual node. *ours: it is bound to one node at most. */
static int hear_node(const struct topology *t, const json_t *item, struct placement_vnode *v, uint64_t pages[TOPOLOGY_MOST_NODES],
		     bool *moving, bool *ours)
{
	const json_t *bytes = json_object_get(item, "bytes"), *bound = json_object_get(item, "host-nodes");
	unsigned most;
	if (!is_count(bytes) || json_integer_value(bytes) < PAGE_BYTES || !json_is_array(bound) ||
	    hear_pages(t, json_object_get(item, "on"), pages, &most) != 0)
		return -EPROTO;
	v->nr_pages = (uint64_t)json_integer_value(bytes) / PAGE_BYTES;
	v->node = most;
	*moving = json_is_true(json_object_get(item, "moving"));
	*ours = json_array_size(bound) <= 1;
	if (json_array_size(bound) == 1) {
		const json_t *id = json_array_get(bound, 0);
		int node = is_count(id) && json_integer_value(id) < TOPOLOGY_MOST_NODES
				   ? topology_find(t, (unsigned)json_integer_value(id))
				   : -1;
		if (node >= 0)
			v->node = (unsigned)node;
		else
			*ours = false;
	}
	return 0;
}

/* Pages that are not at home, and the node with most of them. */
static uint64_t count_behind(const uint64_t pages[TOPOLOGY_MOST_NODES], unsigned home, unsigned *from)
{
	uint64_t most = 0;
	for (unsigned n = 0; n < TOPOLOGY_MOST_NODES; n++)
		if (n != home && pages[n] > most) {
			most = pages[n];
			*from = n;
		}
	return most;
}

/* vCPUs are numbered on from node to node, and so are those of our own words. */
static void count_vcpus(struct placement_seat *s)
{
	unsigned first = 0;
	if (s->nr_vcpus == 0)
		return;
	for (unsigned v = 0; v < s->at.nr_vnodes; v++) {
		unsigned nr = 0;
		for (unsigned c = 0; c < s->nr_vcpus; c++)
			nr += s->vcpus[c].vnode == v;
		s->at.vnodes[v].first_vcpu = first;
		s->at.vnodes[v].nr_vcpus = nr;
		first += nr;
	}
}

static void end_move(struct placement_seat *s, const struct topology *t, uint64_t now_ms)
{
	uint64_t left = s->move.behind_pages;
	s->since_ms = now_ms;
	snprintf(s->why, sizeof(s->why), "Moved from node %u to node %u%s", t->nodes[s->move.from].id, t->nodes[s->move.to].id,
		 left > 256 ? "" : ".");
	if (left > 256)
		snprintf(s->why + strlen(s->why), sizeof(s->why) - strlen(s->why), "; %llu MiB could not be moved, and stay.",
			 mib(left));
	s->move = (struct placement_seat_move){.under_way = false};
}

int placement_seat_hear_nodes(struct placement_seat *s, const struct topology *t, const json_t *nodes, uint64_t now_ms)
{
	struct placement at = {.nr_vnodes = (unsigned)json_array_size(nodes), .overfull = s->at.overfull};
	uint64_t resident[PLACEMENT_MOST_VNODES][TOPOLOGY_MOST_NODES] = {{0}};
	struct placement_seat_move move = {.under_way = false};
	bool elsewhere = false;
	char text[80];
	if (!json_is_array(nodes) || json_array_size(nodes) < 1 || json_array_size(nodes) > PLACEMENT_MOST_VNODES)
		return -EPROTO;
	for (unsigned v = 0; v < at.nr_vnodes; v++) {
		bool moving, ours;
		if (hear_node(t, json_array_get(nodes, v), &at.vnodes[v], resident[v], &moving, &ours) != 0)
			return -EPROTO;
		elsewhere |= !ours;
		if (moving && !move.under_way) {
			move = (struct placement_seat_move){.under_way = true, .vnode = v, .to = at.vnodes[v].node};
			move.behind_pages = count_behind(resident[v], move.to, &move.from);
		}
	}
	bool is_new = s->at.nr_vnodes == 0;
	/* vCPUs are known from the start, or from the other answer. */
	for (unsigned v = 0; v < at.nr_vnodes && s->at.nr_vnodes == at.nr_vnodes; v++) {
		at.vnodes[v].first_vcpu = s->at.vnodes[v].first_vcpu;
		at.vnodes[v].nr_vcpus = s->at.vnodes[v].nr_vcpus;
	}
	s->at = at;
	s->elsewhere = elsewhere;
	memcpy(s->resident, resident, sizeof(resident));
	count_vcpus(s);
	if (is_new) {
		s->since_ms = now_ms;
		snprintf(s->why, sizeof(s->why), "Found on %s when the daemon started.", name_nodes(s, t, text, sizeof(text)));
	}
	if (move.under_way && s->move.under_way)
		move.from = s->move.from;
	else if (move.under_way)
		snprintf(s->why, sizeof(s->why), "Found on its way from node %u to node %u.", t->nodes[move.from].id,
			 t->nodes[move.to].id);
	if (s->move.under_way && !move.under_way) {
		s->move.behind_pages =
			count_behind(resident[s->move.vnode < at.nr_vnodes ? s->move.vnode : 0], s->move.to, &move.from);
		end_move(s, t, now_ms);
	} else {
		s->move = move;
	}
	if (elsewhere)
		snprintf(s->why, sizeof(s->why), "Bound by its own options; it is left where it is.");
	return 0;
}

int placement_seat_hear_vcpus(struct placement_seat *s, const json_t *vcpus)
{
	const json_t *item;
	size_t i;
	if (!json_is_array(vcpus) || json_array_size(vcpus) == 0 || json_array_size(vcpus) > PLACEMENT_MOST_VCPUS)
		return -EPROTO;
	json_array_foreach(vcpus, i, item)
	{
		const json_t *thread = json_object_get(item, "thread-id"),
			     *node = json_object_get(json_object_get(item, "props"), "node-id");
		if (!is_count(thread) || json_integer_value(thread) < 1 || json_integer_value(thread) > INT32_MAX ||
		    (node && (!is_count(node) || json_integer_value(node) >= PLACEMENT_MOST_VNODES)))
			return -EPROTO;
	}
	json_array_foreach(vcpus, i, item)
	{
		const json_t *node = json_object_get(json_object_get(item, "props"), "node-id");
		s->vcpus[i].thread = (pid_t)json_integer_value(json_object_get(item, "thread-id"));
		s->vcpus[i].vnode = node ? (unsigned)json_integer_value(node) : 0;
	}
	s->nr_vcpus = (unsigned)json_array_size(vcpus);
	count_vcpus(s);
	return 0;
}

/* --- what the daemon decides --- */

void placement_seat_go(struct placement_seat *s, const struct topology *t, const struct placement_move *move, uint64_t now_ms)
{
	uint64_t pages = s->resident[move->vnode][move->from];
	s->at.vnodes[move->vnode].node = move->to;
	s->since_ms = now_ms;
	s->move = (struct placement_seat_move){
		.under_way = true, .vnode = move->vnode, .from = move->from, .to = move->to, .behind_pages = pages};
	snprintf(s->why, sizeof(s->why),
		 "Moves from node %u to node %u, %llu MiB, %u MiB/s: guests then lie better by what %llu MiB of memory are worth.",
		 t->nodes[move->from].id, t->nodes[move->to].id, mib(pages), move->pages_per_second / 256, mib(move->gain_pages));
}

void placement_seat_stay(struct placement_seat *s, const struct topology *t, const char *why, uint64_t now_ms)
{
	if (!s->move.under_way)
		return;
	snprintf(s->why, sizeof(s->why), "Could not be moved to node %u: %s", t->nodes[s->move.to].id, why);
	if (s->move.vnode < s->at.nr_vnodes)
		s->at.vnodes[s->move.vnode].node = s->move.from;
	s->since_ms = now_ms;
	s->move = (struct placement_seat_move){.under_way = false};
}

void placement_seat_describe(const struct placement_seat *s, struct placement_guest *guest)
{
	guest->at = s->at;
	guest->since_ms = s->since_ms;
	guest->behind_pages = s->move.under_way ? s->move.behind_pages : 0;
	guest->behind_node = s->move.under_way ? s->move.from : 0;
	/* One page at least says that it is under way. */
	if (s->move.under_way && guest->behind_pages == 0)
		guest->behind_pages = 1;
}

/* --- vCPU threads --- */

static bool is_within(const struct topology_cpus *cpus, const struct topology_cpus *of)
{
	for (size_t i = 0; i < sizeof(cpus->bits) / sizeof(cpus->bits[0]); i++)
		if (cpus->bits[i] & ~of->bits[i])
			return false;
	return true;
}

unsigned placement_seat_pin(const struct placement_seat *s, const struct topology *t, pid_t process)
{
	unsigned done = 0;
	for (unsigned c = 0; c < s->nr_vcpus; c++) {
		pid_t thread = s->vcpus[c].thread;
		struct topology_cpus has = {{0}};
		char path[64];
		if (s->vcpus[c].vnode >= s->at.nr_vnodes || s->vcpus[c].is_chosen)
			continue;
		const struct topology_node *node = &t->nodes[s->at.vnodes[s->vcpus[c].vnode].node];
		snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)process, (int)thread);
		if (node->nr_cpus == 0 || access(path, F_OK) != 0)
			continue;
		/* The kernel's sets of CPUs are words of 64 bits, as ours. */
		if (sched_getaffinity(thread, sizeof(has.bits), (cpu_set_t *)(void *)has.bits) < 0 || is_within(&has, &node->cpus))
			continue;
		if (sched_setaffinity(thread, sizeof(node->cpus.bits), (const cpu_set_t *)(const void *)node->cpus.bits) < 0)
			log_debug("process %d: vCPU %u cannot be given the CPUs of node %u: %s", (int)process, c, node->id,
				  strerror(errno));
		else
			done++;
	}
	return done;
}

uint64_t placement_seat_resident(const struct placement_seat *s, unsigned node)
{
	uint64_t pages = 0;
	for (unsigned v = 0; v < s->at.nr_vnodes; v++)
		pages += s->resident[v][node];
	return pages;
}

bool placement_seat_is_on(const struct placement_seat *s, unsigned node)
{
	for (unsigned v = 0; v < s->at.nr_vnodes; v++)
		if (s->at.vnodes[v].node == node)
			return true;
	return false;
}
