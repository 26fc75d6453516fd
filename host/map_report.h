/* Who shares with whom, as docs/API.md has it: counted guest by guest from the loop (dedup_map.h). */
#ifndef HOST_MAP_REPORT_H
#define HOST_MAP_REPORT_H

#include <jansson.h>

#include "base/error.h"

struct dedup_server;
struct map_report;

#define MAP_MOST_GUESTS 512

/*
 * Begins; done is called later, with a new object, or NULL when memory was short. Then the report frees itself. Returns 0, -ENOMEM, or -E2BIG when more than
 * MAP_MOST_GUESTS share pages, with a sentence.
 */
int map_report_start(struct dedup_server *server, void (*done)(void *data, json_t *map), void *data, struct error *err);

#endif
