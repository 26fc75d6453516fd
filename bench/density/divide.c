/*
 * The daemon's arbiter (host/arbiter.h) for desktops that are no VMMs, as a filter: asked on standard input, it answers on standard output.
 *
 *   divide RESERVE [shared]      percent of the budget that is kept free; 0: by its size. shared: desktops are in the shared group (host/shared_group.h)
 *
 *   g ID SIZE USED ACTIVE STORED STORED_TAKEN SHARED FAULTS STALL_NS      a guest, in rising order of ID; pages
 *   h BUDGET POOL                                                         the host, after all guests; pages. Answered by
 *
 *   divide: guest id= target=BYTES cpu=PERCENT sample=0|1     for each
 *   divide: decided state= again_ms=
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/arbiter_common.h"
#include "host/shared_group.h"

enum { MOST = 512, LINE = 400, PAGE_BYTES = 4096 };

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct shared_group *shared; /* NULL: desktops keep their targets themselves */

static int decide(struct arbiter *arbiter, uint64_t budget, uint64_t pool, const struct arbiter_guest guests[], size_t nr)
{
	static struct arbiter_guest_decision decisions[MOST];
	struct arbiter_decision decision;
	struct arbiter_host host = {.now_ns = now_ns(), .budget_pages = budget, .pool_pages = pool, .free_pages = ARBITER_UNKNOWN};
	int ret = arbiter_decide(arbiter, &host, guests, nr, &decision, decisions);
	if (ret)
		return ret;
	uint64_t excess = arbiter_common_excess(guests, decisions, nr);
	if (excess)
		shared_group_ask(shared, excess * PAGE_BYTES);
	for (size_t i = 0; i < nr; i++) {
		uint64_t target = shared ? guests[i].size_pages : decisions[i].target_pages;
		printf("divide: guest id=%llu target=%llu cpu=%u sample=%d\n", (unsigned long long)guests[i].id,
		       (unsigned long long)(target >= guests[i].size_pages ? 0 : target * PAGE_BYTES),
		       decisions[i].dedup_cpu_percent, decisions[i].sample);
	}
	printf("divide: decided state=%s again_ms=%u\n", arbiter_state_name(decision.state), decision.again_ms);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static struct arbiter_guest guests[MOST];
	unsigned long long v[9];
	char line[LINE];
	size_t nr = 0;
	struct arbiter *arbiter;
	struct arbiter_settings settings;
	struct error err = {0};
	arbiter_settings_init(&settings);
	settings.reserve_percent = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	if (arbiter_create(&settings, &arbiter, &err) || arbiter_reserve(arbiter, MOST)) {
		fprintf(stderr, "divide: %s\n", err.text);
		return 1;
	}
	int ret = argc > 2 && !strcmp(argv[2], "shared") ? shared_group_create(&shared) : 0;
	if (ret) {
		fprintf(stderr, "divide: no shared group: %s\n", strerror(-ret));
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		if (nr < MOST && sscanf(line, "g %llu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4],
					&v[5], &v[6], &v[7], &v[8]) == 9) {
			guests[nr++] = (struct arbiter_guest){
				.id = v[0],
				.size_pages = v[1],
				.shares = (uint32_t)(v[1] / 256 * 10),
				.no_swap = true,
				.has_stats = true,
				.in_common = shared,
				.used_pages = v[2],
				.active_pages = v[3],
				.stored_pages = v[4],
				.stored_taken_pages = v[5],
				.shared_pages = v[6],
				.divergence_pages = v[6],
				.faults = v[7],
				.stall_ns = v[8],
				.guest_available_pages = ARBITER_UNKNOWN,
				.guest_swap_ins = ARBITER_UNKNOWN,
			};
		} else if (sscanf(line, "h %llu %llu", &v[0], &v[1]) == 2) {
			if (decide(arbiter, v[0], v[1], guests, nr))
				return 1;
			nr = 0;
		} else {
			fprintf(stderr, "divide: what is '%s'?\n", line);
			return 2;
		}
	}
	arbiter_destroy(arbiter);
	shared_group_destroy(shared);
	return 0;
}
