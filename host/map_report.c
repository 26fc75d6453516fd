/* See map_report.h. A row of the matrix is a question about one guest; guests that have gone meanwhile have empty rows. */
#include "host/map_report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/container_of.h"
#include "host/dedup_map.h"

#define PAGE_BYTES 4096

struct map_report {
	struct dedup_server *server;
	struct dedup_map map;
	void (*done)(void *data, json_t *map);
	void *data;
	size_t nr, next;
	json_t *names, *own, *shared;
	uint16_t clients[MAP_MOST_GUESTS];
};

static json_t *pools(const struct dedup_server *server)
{
	struct dedup_map_pool pool;
	json_t *list = json_array();
	for (uint32_t at = 0; list && dedup_map_next_pool(server, &at, &pool);)
		json_array_append_new(list, json_pack("{s:s, s:i, s:I, s:I}", "domain", pool.domain, "node", pool.node, "pages",
						      (json_int_t)pool.pages, "references", (json_int_t)pool.references));
	return list;
}

/* The daemon ends: nobody is there any more who would want it. */
static void on_dropped(struct dedup_map *map)
{
	struct map_report *r = container_of(map, struct map_report, map);
	json_decref(r->names);
	json_decref(r->own);
	json_decref(r->shared);
	r->done(r->data, NULL);
	free(r);
}

static void finish(struct map_report *r)
{
	json_t *map = json_pack("{s:o, s:o, s:o, s:o}", "guests", r->names, "own", r->own, "shared", r->shared, "pools",
				pools(r->server));
	dedup_map_close(&r->map);
	r->done(r->data, map);
	free(r);
}

/* Slots in common, as bytes, in the order of guests. */
static void add_row(struct map_report *r)
{
	const struct sharing *sharing = dedup_map_result(&r->map);
	json_t *row = json_array();
	for (size_t i = 0; i < r->nr; i++) {
		bool itself = i == r->next;
		json_array_append_new(row, json_integer(itself ? 0 : (json_int_t)sharing->with[r->clients[i]] * PAGE_BYTES));
	}
	json_array_append_new(r->shared, row);
	json_array_append_new(r->own, json_integer((json_int_t)sharing->pages * PAGE_BYTES));
}

static void ask_next(struct map_report *r);

static void on_counted(struct dedup_map *map)
{
	struct map_report *r = container_of(map, struct map_report, map);
	add_row(r);
	dedup_map_close(&r->map);
	r->next++;
	ask_next(r);
}

static void ask_next(struct map_report *r)
{
	if (r->next == r->nr || dedup_map_open(r->server, &r->map) != 0) {
		finish(r);
		return;
	}
	r->map.dropped = on_dropped;
	dedup_map_add_client(&r->map, r->clients[r->next]);
	dedup_map_start(&r->map, on_counted);
}

int map_report_start(struct dedup_server *server, void (*done)(void *data, json_t *map), void *data, struct error *err)
{
	struct dedup_map_guest guest;
	struct map_report *r = calloc(1, sizeof(*r));
	if (!r)
		return error_set(err, ENOMEM, "out of memory");
	*r = (struct map_report){
		.server = server, .done = done, .data = data, .names = json_array(), .own = json_array(), .shared = json_array()};
	for (uint32_t at = 0; dedup_map_next_guest(server, &at, &guest);) {
		if (r->nr == MAP_MOST_GUESTS) {
			json_decref(r->names);
			json_decref(r->own);
			json_decref(r->shared);
			free(r);
			return error_set(err, E2BIG, "more than %d guests share pages; ask for their statistics one by one",
					 MAP_MOST_GUESTS);
		}
		json_array_append_new(r->names, json_string(guest.guest));
		r->clients[r->nr++] = guest.client;
	}
	ask_next(r);
	return 0;
}
