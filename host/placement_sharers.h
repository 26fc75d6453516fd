/*
 * Who shares pages with whom, as placement needs it: pairs of guests. The row of one guest at a time is counted (dedup_map.h), each PLACEMENT_SHARERS_S the next one's,
 * so that the cost does not grow with the number of guests: what is known of a guest is as old as it takes to come round. Everything is called from the loop's thread.
 */
#ifndef HOST_PLACEMENT_SHARERS_H
#define HOST_PLACEMENT_SHARERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/dedup_map.h"
#include "host/placement.h"

#define PLACEMENT_SHARERS_S 10
#define PLACEMENT_SHARERS_MOST 64 /* of each guest: those with which it has the most pages in common */

struct placement_sharers_row;

struct placement_sharers {
	struct dedup_server *server; /* NULL: nobody shares */
	struct dedup_map map;        /* the question that is being counted */
	pid_t asked;                 /* whose it is; 0: none */
	uint16_t asked_client;
	uint32_t next_client;
	unsigned round;
	double begun_at;
	struct placement_sharers_row *rows;
};

void placement_sharers_init(struct placement_sharers *s, struct dedup_server *server);
/* The server is still there, or s->server is NULL. */
void placement_sharers_destroy(struct placement_sharers *s);

/* Begins with the next row, if it is time and the last one is done. now_s: any clock in seconds. */
void placement_sharers_tick(struct placement_sharers *s, double now_s);

/*
 * Pairs among VMMs: pids[0] to pids[nr - 1], whose indices the pairs have, each once. Returns an array that the caller frees, and its length in *nr_pairs; NULL
 * when there are none, or no memory.
 */
struct placement_sharing *placement_sharers_pairs(const struct placement_sharers *s, const pid_t pids[], size_t nr,
						  size_t *nr_pairs);

#endif
