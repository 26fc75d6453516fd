/* See host_report.h. Prometheus' format: https://prometheus.io/docs/instrumenting/exposition_formats, "Text-based format". */
#include "host/host_report.h"
#include "base/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dedup/protocol.h"
#include "host/dedup_server.h"
#include "host/guest_report.h"
#include "host/host_memory.h"

void host_sums(const struct guests *guests, const struct dedup_server *dedup, struct host_sums *sums)
{
	struct protocol_status status = {.pool_bytes = 0};
	*sums = (struct host_sums){.granted = 0};
	for (const struct guest *g = guests->first; g; g = g->next) {
		struct guest_use use;
		sums->nr[g->state]++;
		if (!guest_has_vmm(g))
			continue;
		const struct definition *d = guest_in_force(g);
		sums->guest_memory += (double)d->memory;
		sums->minimums += (double)(d->pinned ? d->memory : d->minimum);
		if (!guest_use(g, &use)) {
			/* Nothing is known of it yet, or never will be. */
			sums->granted += d->pinned ? (double)d->memory : 0;
			continue;
		}
		sums->granted += use.granted;
		sums->shared += use.shared;
		sums->zero += use.zero;
		sums->compressed += use.compressed;
		sums->compressed_memory += use.compressed_memory;
		sums->swapped += use.swapped;
		sums->balloon += use.balloon;
		sums->overhead += use.overhead;
		sums->faults += use.faults;
		sums->stall += use.stall;
	}
	if (dedup)
		dedup_server_status(dedup, &status);
	sums->pool = (double)status.pages_shared * 4096;
	sums->without_twin = (double)status.pages_unshared * 4096;
	sums->saved = sums->shared > sums->pool ? sums->shared - sums->pool : 0;
}

static json_t *size(double bytes)
{
	return json_integer((json_int_t)bytes);
}

json_t *host_report_line(const struct guests *guests, const struct dedup_server *dedup)
{
	struct host_memory m = {.total = 0};
	struct host_sums s;
	host_memory_read(&m);
	host_sums(guests, dedup, &s);
	double taken = s.granted + s.pool, budget = (double)guests->budget;
	json_t *psi = m.has_psi ? json_pack("{s:f, s:f, s:f, s:f}", "some-avg10", m.some_avg10, "some-avg60", m.some_avg60,
					    "full-avg10", m.full_avg10, "full-avg60", m.full_avg60)
				: NULL;
	json_t *count = json_pack("{s:i, s:i, s:i, s:i}", "defined", (int)(s.nr[GUEST_DEFINED] + s.nr[GUEST_STOPPED]), "running",
				  (int)(s.nr[GUEST_STARTING] + s.nr[GUEST_RUNNING] + s.nr[GUEST_STOPPING]), "paused",
				  (int)s.nr[GUEST_PAUSED], "crashed", (int)s.nr[GUEST_CRASHED]);
	return json_pack("{s:o, s:o, s:o, s:o, s:o*, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:o}",
			 "memory", size((double)m.total), "available", size((double)m.available), "budget", size(budget), "free",
			 size(budget > taken ? budget - taken : 0), "psi", psi, "granted", size(s.granted), "minimums",
			 size(s.minimums), "guest-memory", size(s.guest_memory), "saved", size(s.saved), "shared", size(s.shared),
			 "pool", size(s.pool), "zero", size(s.zero), "compressed", size(s.compressed), "compressed-memory",
			 size(s.compressed_memory), "swapped", size(s.swapped), "balloon", size(s.balloon), "overhead",
			 size(s.overhead), "faults", s.faults, "stall", s.stall, "guests", count);
}

/* --- Prometheus --- */

static void head(FILE *out, const char *name, const char *kind, const char *text)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, text, name, kind);
}

static void host_gauge(FILE *out, const char *name, double value, const char *text)
{
	char whole[80];
	snprintf(whole, sizeof(whole), "pagoda_host_%s", name);
	head(out, whole, "gauge", text);
	fprintf(out, "%s %.17g\n", whole, value);
}

static void print_host(FILE *out, const struct guests *guests, const struct dedup_server *dedup)
{
	struct host_memory m = {.total = 0};
	struct host_sums s;
	host_memory_read(&m);
	host_sums(guests, dedup, &s);
	head(out, "pagoda_build_info", "gauge", "The daemon's version");
	fprintf(out, "pagoda_build_info{version=\"" PAGODA_VERSION "\"} 1\n");
	host_gauge(out, "memory_bytes", (double)m.total, "The host's memory");
	host_gauge(out, "available_bytes", (double)m.available, "What the kernel could give without swapping");
	host_gauge(out, "budget_bytes", (double)guests->budget, "What guests may take together");
	host_gauge(out, "granted_bytes", s.granted, "What guests take");
	host_gauge(out, "minimums_bytes", s.minimums, "What guests that run never have less of");
	host_gauge(out, "guest_memory_bytes", s.guest_memory, "Memory that guests that run have as they see it");
	host_gauge(out, "pool_bytes", s.pool, "Pages that guests share");
	host_gauge(out, "saved_bytes", s.saved, "Saved by sharing");
	host_gauge(out, "swapped_bytes", s.swapped, "In swap files alone");
	head(out, "pagoda_guests", "gauge", "Guests by state");
	for (int i = 0; i <= GUEST_CRASHED; i++)
		fprintf(out, "pagoda_guests{state=\"%s\"} %u\n", guest_state_name((enum guest_state)i), s.nr[i]);
}

/* "compressed-memory" to "compressed_memory" */
static void metric_name(const char *name, const char *suffix, char *text, size_t room)
{
	snprintf(text, room, "pagoda_guest_%s%s", name, suffix);
	for (char *c = text; *c; c++)
		if (*c == '-')
			*c = '_';
}

/* All guests of one metric stand together, as the format demands. Names of guests need no escapes. */
static void print_guests(FILE *out, const struct guests *guests)
{
	char name[120];
	head(out, "pagoda_guest_up", "gauge", "Whether it runs");
	for (const struct guest *g = guests->first; g; g = g->next)
		fprintf(out, "pagoda_guest_up{guest=\"%s\"} %d\n", g->definition->name, guest_has_vmm(g));
	head(out, "pagoda_guest_memory_bytes", "gauge", "Memory that it has as it sees it");
	for (const struct guest *g = guests->first; g; g = g->next)
		fprintf(out, "pagoda_guest_memory_bytes{guest=\"%s\"} %" PRIu64 "\n", g->definition->name,
			guest_in_force(g)->memory);
	for (size_t i = 0; i < GUEST_USE_NR; i++) {
		const struct guest_use_field *f = &guest_use_fields[i];
		if (f->is_rate)
			continue; /* Prometheus makes rates of counters */
		metric_name(f->name, "_bytes", name, sizeof(name));
		head(out, name, "gauge", f->text);
		for (const struct guest *g = guests->first; g; g = g->next) {
			struct guest_use use;
			double value;
			if (!guest_has_vmm(g) || !guest_use(g, &use))
				continue;
			memcpy(&value, (const char *)&use + f->offset, sizeof(value));
			fprintf(out, "%s{guest=\"%s\"} %.17g\n", name, g->definition->name, value);
		}
	}
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++) {
		const struct memmgr_stats_field *f = &memmgr_stats_fields[i];
		if (!f->is_count)
			continue;
		metric_name(f->name, "_total", name, sizeof(name));
		head(out, name, "counter", f->text);
		for (const struct guest *g = guests->first; g; g = g->next) {
			uint64_t value;
			memcpy(&value, (const char *)&g->stats.now + f->offset, sizeof(value));
			if (guest_has_vmm(g) && g->stats.now_ns)
				fprintf(out, "%s{guest=\"%s\"} %" PRIu64 "\n", name, g->definition->name, value);
		}
	}
}

char *host_report_metrics(const struct guests *guests, const struct dedup_server *dedup)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return NULL;
	print_host(out, guests, dedup);
	print_guests(out, guests);
	bool failed = ferror(out);
	if (fclose(out) || failed) {
		free(text);
		return NULL;
	}
	return text;
}
