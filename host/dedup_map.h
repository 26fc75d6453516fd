/*
 * The sharing map of a running daemon (dedup/sharing.h), for whoever asks in it: the socket of shared pages, and other front doors. A question is about any
 * set of guests, and is answered from the loop, which counts on for a millisecond at a time between all that it does.
 *
 *     static struct dedup_map map;                         // somewhere that stays
 *     dedup_map_open(server, &map);
 *     dedup_map_add_guest(&map, "acme/web1");
 *     dedup_map_start(&map, on_done);  ... on_done(&map): dedup_map_result(&map), dedup_map_next_guest() ...
 *     dedup_map_close(&map);
 *
 * Everything is called from the loop's thread.
 */
#ifndef HOST_DEDUP_MAP_H
#define HOST_DEDUP_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "dedup/broker.h"
#include "dedup/sharing.h"

struct dedup_server;

/* The asker's, who finds what is around it by container_of(). */
struct dedup_map {
	struct dedup_server *server; /* NULL: closed */
	struct dedup_map *next;      /* of those that are being counted */
	void (*done)(struct dedup_map *map);
	void (*dropped)(struct dedup_map *map); /* NULL, or set after dedup_map_open() */
	struct broker_walk walk;
	struct sharing *sharing;
	bool counting;
};

/* One that shares pages, or might. The strings are there until the loop goes on. */
struct dedup_map_guest {
	uint16_t client;
	pid_t pid;
	const char *domain, *guest;
	uint64_t references; /* pages that map slots */
};
/* Guests that there are, in turn; *at is 0 at first. Returns false at the end. */
bool dedup_map_next_guest(const struct dedup_server *server, uint32_t *at, struct dedup_map_guest *guest);
/* The one with that number. Returns false when it has gone. */
bool dedup_map_find_guest(const struct dedup_server *server, uint16_t client, struct dedup_map_guest *guest);

struct dedup_map_pool {
	const char *domain;
	int node;                   /* -1: all */
	uint64_t pages, references; /* that are shared; that map them */
};
/* Pools that have memory, in turn; *at is 0 at first. Returns false at the end. */
bool dedup_map_next_pool(const struct dedup_server *server, uint32_t *at, struct dedup_map_pool *pool);

/* A question about nobody so far. Returns 0 or -ENOMEM. */
int dedup_map_open(struct dedup_server *server, struct dedup_map *map);
/*
 * At any time, also while it is being counted: then neither done nor dropped is called. Twice is once. The server's end closes all that are being counted, and tells their
 * owners by `dropped`, so that they can free what they have.
 */
void dedup_map_close(struct dedup_map *map);

/* Into the set: by number, one that is none is left out. */
void dedup_map_add_client(struct dedup_map *map, uint32_t client);
/*
 * Into the set: all guests of that name ("web1"), those of a domain ("acme/"), both ("acme/web1"), or all (""). Returns 0, or -ENOENT with a
 * sentence.
 */
int dedup_map_add_guest(struct dedup_map *map, const char *name, struct error *err);

/* Begins to count; done is called from the loop, and may close the map. */
void dedup_map_start(struct dedup_map *map, void (*done)(struct dedup_map *map));
/* What was counted; with[] is by client number. For done(), and until the map is closed. */
const struct sharing *dedup_map_result(const struct dedup_map *map);

/* For the server: counts on, one question after the other. Returns whether there is more to count. */
bool dedup_maps_continue(struct dedup_server *server);

#endif
