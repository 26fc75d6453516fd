/* See stalls.h. */
#include "bench/memory/stalls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double stalls_ns_per_cycle(void)
{
	static double ns_per_cycle;
	if (ns_per_cycle > 0)
		return ns_per_cycle;
	uint64_t start = now_ns(), cycles = stalls_cycles(), end;
	do {
		end = now_ns();
	} while (end - start < 50000000);
	ns_per_cycle = (double)(end - start) / (double)(stalls_cycles() - cycles);
	return ns_per_cycle;
}

int stalls_open(struct stalls *stalls, size_t max, uint64_t threshold_ns)
{
	*stalls = (struct stalls){.max = max, .threshold_ns = threshold_ns};
	stalls->ns = malloc(max * sizeof(*stalls->ns));
	if (!stalls->ns)
		return -ENOMEM;
	memset(stalls->ns, 1, max * sizeof(*stalls->ns));
	return 0;
}

void stalls_close(struct stalls *stalls)
{
	free(stalls->ns);
	stalls->ns = NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

static double quantile_us(const struct stalls *stalls, double quantile)
{
	return stalls->nr ? stalls->ns[(size_t)((double)(stalls->nr - 1) * quantile)] / 1e3 : 0;
}

void stalls_print(struct stalls *stalls)
{
	qsort(stalls->ns, stalls->nr, sizeof(*stalls->ns), compare);
	printf(" stalls=%zu mean_us=%.3f p50_us=%.3f p90_us=%.3f p99_us=%.3f max_us=%.1f total_us=%.1f", stalls->nr,
	       (double)stalls->total_ns / 1e3 / (double)(stalls->nr ? stalls->nr : 1), quantile_us(stalls, 0.5),
	       quantile_us(stalls, 0.9), quantile_us(stalls, 0.99), quantile_us(stalls, 1), (double)stalls->total_ns / 1e3);
}
