/* See placement_sharers.h. */
#include "host/placement_sharers.h"

#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"

struct partner {
	pid_t pid;
	uint32_t nr_pages;
};

/* What is known of one guest's pool; a VMM may have several, one for each pool that it is in. */
struct placement_sharers_row {
	struct placement_sharers_row *next;
	uint16_t client;
	pid_t pid;
	unsigned round; /* in which it was counted */
	size_t nr;
	struct partner partners[PLACEMENT_SHARERS_MOST];
};

/* --- counting --- */

static struct placement_sharers_row *row_of(struct placement_sharers *s, uint16_t client)
{
	struct placement_sharers_row *row = s->rows;
	while (row && row->client != client)
		row = row->next;
	if (!row && (row = calloc(1, sizeof(*row)))) {
		row->client = client;
		row->next = s->rows;
		s->rows = row;
	}
	return row;
}

/* In the place of the least, when all are taken and it is more. */
static void add_partner(struct placement_sharers_row *row, pid_t pid, uint32_t nr_pages)
{
	struct partner *least = row->partners;
	if (row->nr < PLACEMENT_SHARERS_MOST) {
		row->partners[row->nr++] = (struct partner){pid, nr_pages};
		return;
	}
	for (size_t i = 1; i < row->nr; i++)
		if (row->partners[i].nr_pages < least->nr_pages)
			least = &row->partners[i];
	if (nr_pages > least->nr_pages)
		*least = (struct partner){pid, nr_pages};
}

static void on_counted(struct dedup_map *map)
{
	struct placement_sharers *s = container_of(map, struct placement_sharers, map);
	const struct sharing *sharing = dedup_map_result(map);
	struct placement_sharers_row *row = row_of(s, s->asked_client);
	struct dedup_map_guest other;
	if (row) {
		row->pid = s->asked;
		row->round = s->round;
		row->nr = 0;
		for (uint32_t at = 0; dedup_map_next_guest(s->server, &at, &other);)
			if (other.pid != s->asked && sharing->with[other.client])
				add_partner(row, other.pid, sharing->with[other.client]);
	}
	s->asked = 0;
	dedup_map_close(map);
}

static void on_dropped(struct dedup_map *map)
{
	struct placement_sharers *s = container_of(map, struct placement_sharers, map);
	s->server = NULL;
	s->asked = 0;
}

/* All guests have had their turn: what was not counted again has gone. */
static void forget_old(struct placement_sharers *s)
{
	for (struct placement_sharers_row **at = &s->rows; *at;) {
		struct placement_sharers_row *row = *at;
		if (row->round == s->round) {
			at = &row->next;
			continue;
		}
		*at = row->next;
		free(row);
	}
	s->round++;
	s->next_client = 0;
}

void placement_sharers_tick(struct placement_sharers *s, double now_s)
{
	struct dedup_map_guest guest;
	if (!s->server || s->asked || now_s < s->begun_at + PLACEMENT_SHARERS_S)
		return;
	s->begun_at = now_s;
	if (!dedup_map_next_guest(s->server, &s->next_client, &guest)) {
		forget_old(s);
		if (!dedup_map_next_guest(s->server, &s->next_client, &guest))
			return;
	}
	if (dedup_map_open(s->server, &s->map) != 0)
		return;
	s->map.dropped = on_dropped;
	s->asked = guest.pid;
	s->asked_client = guest.client;
	dedup_map_add_client(&s->map, guest.client);
	dedup_map_start(&s->map, on_counted);
}

/* --- pairs --- */

struct place {
	pid_t pid;
	uint32_t index;
};

static int by_pid(const void *a, const void *b)
{
	const struct place *left = a, *right = b;
	return (left->pid > right->pid) - (left->pid < right->pid);
}

static const struct place *find(const struct place *places, size_t nr, pid_t pid)
{
	struct place wanted = {.pid = pid};
	return bsearch(&wanted, places, nr, sizeof(*places), by_pid);
}

static int by_guests(const void *a, const void *b)
{
	const struct placement_sharing *left = a, *right = b;
	if (left->a != right->a)
		return left->a < right->a ? -1 : 1;
	return (left->b > right->b) - (left->b < right->b);
}

/* Both rows may tell of a pair, one of them later: the larger number is taken. Returns how many are left. */
static size_t keep_one_of_each(struct placement_sharing *pairs, size_t nr)
{
	size_t left = 0;
	qsort(pairs, nr, sizeof(*pairs), by_guests);
	for (size_t i = 0; i < nr; i++) {
		if (!left || by_guests(&pairs[left - 1], &pairs[i]) != 0)
			pairs[left++] = pairs[i];
		else if (pairs[i].nr_pages > pairs[left - 1].nr_pages)
			pairs[left - 1].nr_pages = pairs[i].nr_pages;
	}
	return left;
}

struct placement_sharing *placement_sharers_pairs(const struct placement_sharers *s, const pid_t pids[], size_t nr,
						  size_t *nr_pairs)
{
	size_t most = 0, found = 0;
	*nr_pairs = 0;
	for (const struct placement_sharers_row *row = s->rows; row; row = row->next)
		most += row->nr;
	if (!most || !nr)
		return NULL;
	struct placement_sharing *pairs = calloc(most, sizeof(*pairs));
	struct place *places = calloc(nr, sizeof(*places));
	if (!pairs || !places) {
		free(pairs);
		free(places);
		return NULL;
	}
	for (size_t i = 0; i < nr; i++)
		places[i] = (struct place){pids[i], (uint32_t)i};
	qsort(places, nr, sizeof(*places), by_pid);
	for (const struct placement_sharers_row *row = s->rows; row; row = row->next) {
		const struct place *a = find(places, nr, row->pid);
		for (size_t i = 0; a && i < row->nr; i++) {
			const struct place *b = find(places, nr, row->partners[i].pid);
			if (!b)
				continue;
			bool first = a->index < b->index;
			pairs[found++] = (struct placement_sharing){first ? a->index : b->index, first ? b->index : a->index,
								    row->partners[i].nr_pages};
		}
	}
	free(places);
	*nr_pairs = keep_one_of_each(pairs, found);
	return pairs;
}

/* --- life --- */

void placement_sharers_init(struct placement_sharers *s, struct dedup_server *server)
{
	*s = (struct placement_sharers){.server = server, .begun_at = -PLACEMENT_SHARERS_S};
}

void placement_sharers_destroy(struct placement_sharers *s)
{
	if (s->asked)
		dedup_map_close(&s->map);
	while (s->rows) {
		struct placement_sharers_row *next = s->rows->next;
		free(s->rows);
		s->rows = next;
	}
	*s = (struct placement_sharers){.server = NULL};
}
