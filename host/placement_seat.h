/*
 * Where one guest lies, as its VMM tells: virtual nodes and the host nodes that they are bound to, pages by host node, vCPU threads. What the daemon decides is
 * entered here too, so that it counts before the VMM has done it; what the VMM tells next is what holds. So a daemon that starts anew knows of guests that run
 * what there is to know. What VMMs say may be anything.
 */
#ifndef HOST_PLACEMENT_SEAT_H
#define HOST_PLACEMENT_SEAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/placement.h"
#include "host/topology.h"

#define PLACEMENT_MOST_VCPUS 255
#define PLACEMENT_WHY_BYTES 300

struct placement_seat_move {
	bool under_way;
	unsigned vnode, from, to; /* indices of nodes */
	uint64_t behind_pages;
};

struct placement_seat {
	struct placement at; /* nr_vnodes 0: nothing is known yet */
	bool elsewhere;      /* some virtual node is bound to several nodes, or to one that the topology lacks: not ours to move */
	uint64_t resident[PLACEMENT_MOST_VNODES][TOPOLOGY_MOST_NODES]; /* pages, estimated by samples */
	uint64_t since_ms;                                             /* when it came where it is */
	struct placement_seat_move move;
	unsigned nr_vcpus;
	struct {
		pid_t thread;
		unsigned vnode;
		bool is_chosen; /* an admin has chosen its CPUs: they are left alone */
	} vcpus[PLACEMENT_MOST_VCPUS];
	char why[PLACEMENT_WHY_BYTES]; /* a sentence */
};

/* Where it was put at its start. */
void placement_seat_put(struct placement_seat *s, const struct topology *t, const struct placement *at, bool pinned,
			uint64_t now_ms);

/* The answers of query-memory-nodes and query-cpus-fast. Return 0, or -EPROTO: nothing has changed. */
int placement_seat_hear_nodes(struct placement_seat *s, const struct topology *t, const json_t *nodes, uint64_t now_ms);
int placement_seat_hear_vcpus(struct placement_seat *s, const json_t *vcpus);

/* A virtual node goes elsewhere: from now on that is where it is. */
void placement_seat_go(struct placement_seat *s, const struct topology *t, const struct placement_move *move, uint64_t now_ms);
/* Its VMM has refused: all is as before, and it rests. */
void placement_seat_stay(struct placement_seat *s, const struct topology *t, const char *why, uint64_t now_ms);

/* Fills in what the seat knows: at, since_ms, behind. The rest is the caller's. */
void placement_seat_describe(const struct placement_seat *s, struct placement_guest *guest);

/*
 * Gives each vCPU's thread the CPUs of its virtual node's node. Left alone are those that are pinned, and threads that have some of these alone: somebody may have been more
 * particular. A thread that is not one of the process's is none of ours. Returns how many were given other CPUs.
 */
unsigned placement_seat_pin(const struct placement_seat *s, const struct topology *t, pid_t process);

/* Pages on a node, of all virtual nodes. */
uint64_t placement_seat_resident(const struct placement_seat *s, unsigned node);
/* Whether some virtual node's home is that node. */
bool placement_seat_is_on(const struct placement_seat *s, unsigned node);

#endif
