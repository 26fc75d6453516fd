/* See mom_rules.h. */
#include "tests/unit/mom_rules.h"

#include <math.h>

#define HOST_SHORT 0.20
#define HOST_CRITICAL 0.05
#define GUEST_FREE 0.20
#define MOST_CHANGE 0.05
#define LEAST_CHANGE 0.0025

void mom_sample(struct mom_average *a, double value)
{
	a->samples[a->next] = value;
	a->next = (a->next + 1) % MOM_HISTORY;
	if (a->nr < MOM_HISTORY)
		a->nr++;
}

double mom_mean(const struct mom_average *a)
{
	double sum = 0;
	for (size_t i = 0; i < a->nr; i++)
		sum += a->samples[i];
	return a->nr ? sum / (double)a->nr : 0;
}

static double shrunk(const struct mom_guest *g, double in_use, double host_free)
{
	double wanted_free = host_free <= HOST_CRITICAL ? host_free - 0.05 : GUEST_FREE * host_free / HOST_SHORT;
	double size = fmax(g->current * (1 - MOST_CHANGE), in_use + wanted_free * g->current);
	return fmin(size, g->current);
}

static double grown(const struct mom_guest *g, double in_use)
{
	double size = fmin(g->current * (1 + MOST_CHANGE), g->max);
	return fmin(fmax(size, in_use + GUEST_FREE * g->max), g->max);
}

double mom_target(const struct mom_host *host, const struct mom_guest *g)
{
	double host_free = mom_mean(&host->free) / host->total;
	double in_use = mom_mean(&g->current_average) - mom_mean(&g->unused);
	double size = host_free < HOST_SHORT ? shrunk(g, in_use, host_free) : grown(g, in_use);
	size = fmin(fmax(size, g->min), g->max);
	return fabs(size - g->current) > LEAST_CHANGE * g->current ? size : g->current;
}
