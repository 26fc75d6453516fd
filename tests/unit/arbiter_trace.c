/* See arbiter_trace.h. */
#include "tests/unit/arbiter_trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void options(struct sim *sim, struct sim_guest *g, char *text)
{
	double shared;
	for (char *save = NULL, *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (strcmp(word, "pinned") == 0)
			g->pinned = true;
		else if (strcmp(word, "no-balloon") == 0)
			g->no_balloon = true;
		else if (strcmp(word, "incompressible") == 0)
			g->incompressible = true;
		else if (sscanf(word, "shared=%lf", &shared) == 1)
			g->shared = shared * SIM_MIB;
	}
	/* One copy of what all have in common. */
	if (g->shared > sim->pool)
		sim->pool = g->shared;
}

static void plot_line(const struct sim *sim, FILE *plot)
{
	fprintf(plot, "%g", (double)sim->now_ms / 1e3 - 1);
	for (size_t i = 0; i < sim->nr; i++) {
		const struct sim_guest *g = &sim->guests[i];
		double given = sim->policy == SIM_ARBITER ? g->target : g->size - g->balloon;
		fprintf(plot, "\t%.1f\t%.1f\t%.1f", g->ws / SIM_MIB, sim_used(g) / SIM_MIB, given / SIM_MIB);
	}
	fputc('\n', plot);
}

static void run_until(struct sim *sim, double seconds, FILE *plot)
{
	double now;
	while ((now = (double)sim->now_ms / 1e3 - 1) < seconds - 0.001) {
		double next = plot && seconds - now > 1 ? 1 : seconds - now;
		sim_run(sim, next);
		if (plot)
			plot_line(sim, plot);
	}
}

/* Its random numbers are not the simulator's, so that they are the same under all policies. */
struct variation {
	uint64_t seed;
	double all; /* loads are so many times as large */
};

static double random_of(struct variation *v)
{
	v->seed = v->seed * 6364136223846793005ull + 1442695040888963407ull; /* Knuth's MMIX */
	return (double)(v->seed >> 11) / 9007199254740992.0;
}

static double varied(struct variation *v, double value)
{
	return v->all > 0 ? value * v->all * (0.9 + 0.2 * random_of(v)) : value;
}

static bool act(struct sim *sim, char *line, struct variation *v, FILE *plot)
{
	char name[16], what[16];
	double t, a = 0, b = 0;
	if (sscanf(line, "at %lf %15s %15s %lf %lf", &t, name, what, &a, &b) < 3)
		return false;
	struct sim_guest *g = sim_find(sim, name);
	if (!g)
		return false;
	run_until(sim, v->all > 0 && t > 0 ? t + 3 * random_of(v) : t, plot);
	if (strcmp(what, "load") == 0) {
		double ws = varied(v, a), cold = varied(v, b);
		sim_load(g, ws, cold);
	} else if (strcmp(what, "break") == 0)
		g->breaking = g->shared * a / 100;
	else if (strcmp(what, "stop") == 0)
		sim_stop(g);
	else
		return false;
	return true;
}

static bool take_line(struct sim *sim, char *line, struct variation *v, FILE *plot)
{
	char name[16];
	double size, min, max, end;
	unsigned shares;
	int rest = 0;
	if (line[0] == '#' || line[0] == '\n')
		return true;
	if (sscanf(line, "budget %lf", &sim->budget) == 1) {
		sim->mom.total = sim->budget *= SIM_MIB;
		return true;
	}
	if (sscanf(line, "guest %15s %lf %lf %lf %u%n", name, &size, &min, &max, &shares, &rest) == 5 && rest) {
		options(sim, sim_add(sim, name, size, min, max, shares), line + rest);
		return true;
	}
	if (sscanf(line, "end %lf", &end) == 1) {
		run_until(sim, end, plot);
		return true;
	}
	return act(sim, line, v, plot);
}

int arbiter_trace_play(const char *path, const struct arbiter_trace_run *run, struct sim **out, struct error *err)
{
	char line[256];
	unsigned nr = 0;
	FILE *file = fopen(path, "r");
	if (!file)
		return error_set(err, errno, "%s cannot be opened: %s", path, strerror(errno));
	struct variation v = {.seed = run->variation};
	if (run->variation)
		v.all = 0.9 + 0.2 * random_of(&v);
	struct sim *sim = sim_create(run->policy, 1 + run->variation, 0);
	sim->mom_zram = run->mom_zram;
	while (fgets(line, sizeof(line), file)) {
		nr++;
		if (!take_line(sim, line, &v, run->plot)) {
			fclose(file);
			sim_destroy(sim);
			return error_set(err, EINVAL, "%s, line %u is none of those that README.md has", path, nr);
		}
	}
	fclose(file);
	*out = sim;
	return 0;
}
