/* The host as docs/API.md writes it: the host line, nodes, and Prometheus' text. */
#ifndef HOST_HOST_REPORT_H
#define HOST_HOST_REPORT_H

#include <jansson.h>

#include "host/guest.h"

struct dedup_server;

/* Sums over guests, and what the host has. */
struct host_sums {
	double granted, shared, zero, compressed, compressed_memory, swapped, balloon, overhead, faults, stall;
	double guest_memory, minimums, pool, saved;
	double without_twin;            /* pages that were offered to be shared, and are like no other */
	unsigned nr[GUEST_CRASHED + 1]; /* guests by state */
};
void host_sums(const struct guests *guests, const struct dedup_server *dedup, struct host_sums *sums);

/* New objects, NULL without memory. */
json_t *host_report_line(const struct guests *guests, const struct dedup_server *dedup);
/* A new string in Prometheus' text format, for free(3). NULL without memory. */
char *host_report_metrics(const struct guests *guests, const struct dedup_server *dedup);

#endif
