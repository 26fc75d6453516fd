/* Where guests lie, for people and programs: the reports of placement_loop.h. */
#include <stdlib.h>

#include "host/guest_report.h"
#include "host/host_memory.h"
#include "host/placement_loop.h"

#define PAGE_BYTES 4096
#define MOST_NODES 64

static json_t *bytes_of(uint64_t pages)
{
	return json_integer((json_int_t)pages * PAGE_BYTES);
}

/* {"from", "to", "behind"} or null. */
static json_t *move_object(const struct topology *t, const struct placement_seat *s)
{
	if (!s->move.under_way)
		return json_null();
	return json_pack("{s:i, s:i, s:o}", "from", (int)t->nodes[s->move.from].id, "to", (int)t->nodes[s->move.to].id, "behind",
			 bytes_of(s->move.behind_pages));
}

/* A guest's part of a node; NULL: it has none there. */
static json_t *part(const struct placement_loop *p, const struct guest *g, unsigned node)
{
	struct guest_use use;
	if (!guest_has_vmm(g))
		return NULL;
	if (!p->topology)
		return json_pack("{s:s, s:I, s:b}", "guest", g->definition->name, "resident",
				 guest_use(g, &use) ? (json_int_t)use.resident : 0, "home", true);
	const struct placement_seat *s = placement_loop_seat(p, g);
	int index = topology_find(p->topology, node);
	if (!s || index < 0)
		return NULL;
	uint64_t pages = placement_seat_resident(s, (unsigned)index);
	bool home = placement_seat_is_on(s, (unsigned)index);
	if (!pages && !home)
		return NULL;
	return json_pack("{s:s, s:o, s:b, s:s, s:o}", "guest", g->definition->name, "resident", bytes_of(pages), "home", home,
			 "why", s->why, "move", move_object(p->topology, s));
}

json_t *placement_loop_report(const struct placement_loop *p)
{
	struct host_node nodes[MOST_NODES];
	unsigned nr = host_nodes_read(nodes, MOST_NODES);
	json_t *list = json_array();
	for (unsigned i = 0; list && i < nr; i++) {
		json_t *on = json_array();
		for (const struct guest *g = p->guests->first; on && g; g = g->next) {
			json_t *object = part(p, g, nodes[i].node);
			if (object)
				json_array_append_new(on, object);
		}
		json_t *node =
			json_pack("{s:i, s:I, s:I, s:s, s:o}", "node", (int)nodes[i].node, "memory", (json_int_t)nodes[i].total,
				  "free", (json_int_t)nodes[i].free, "cpus", nodes[i].cpus, "guests", on);
		if (json_array_append_new(list, node) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

json_t *placement_loop_explain(const struct placement_loop *p, const struct guest *g)
{
	const struct placement_seat *s = placement_loop_seat(p, g);
	json_t *parts = s ? json_array() : NULL;
	if (!s || !parts)
		return NULL;
	for (unsigned v = 0; v < s->at.nr_vnodes; v++) {
		const struct placement_vnode *vnode = &s->at.vnodes[v];
		json_t *resident = json_array();
		for (unsigned n = 0; n < p->topology->nr_nodes; n++)
			if (s->resident[v][n])
				json_array_append_new(resident, json_pack("{s:i, s:o}", "node", (int)p->topology->nodes[n].id,
									  "bytes", bytes_of(s->resident[v][n])));
		json_array_append_new(parts, json_pack("{s:i, s:i, s:o, s:i, s:i, s:o}", "part", (int)v, "node",
						       (int)p->topology->nodes[vnode->node].id, "memory", bytes_of(vnode->nr_pages),
						       "first-vcpu", (int)vnode->first_vcpu, "vcpus", (int)vnode->nr_vcpus,
						       "resident", resident));
	}
	return json_pack("{s:s, s:o, s:o}", "why", s->why, "parts", parts, "move", move_object(p->topology, s));
}
