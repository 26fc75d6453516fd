/* Shared by dedup_server.c (socket, pools, what goes on by itself) and dedup_peer.c (one connection). */
#ifndef HOST_DEDUP_SERVER_INTERNAL_H
#define HOST_DEDUP_SERVER_INTERNAL_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "dedup/broker.h"
#include "host/dedup_map.h"
#include "host/dedup_server.h"
#include "host/dedup_state.h"
#include "host/process.h"

struct peer;

/* A process that may map slots of a pool, from before this daemon: nothing of the pool is freed until it has come or ended. */
struct awaited {
	ev_io exited;
	struct process process;
	struct record *record;
	struct awaited *next;
};

/* What the daemon knows of a pool beyond the broker. */
struct record {
	struct dedup_server *server;
	uint16_t pool;
	bool known;     /* identity is that of a file that there is, or was */
	bool impatient; /* awaited processes had their time to bring the pool back */
	struct pool_identity identity;
	struct awaited *awaited;
	ev_timer patience;
};

struct dedup_server {
	struct ev_loop *loop;
	struct broker *broker;
	struct dedup_state state;
	char *path;
	int listen_fd;
	bool merge_across_nodes;
	uint64_t refused;
	ev_io acceptor;
	ev_timer accept_again;
	ev_idle idle;  /* broker_work() at full speed while nothing else is to be done */
	ev_timer work; /* and a little of it when there is */
	ev_timer trim;
	struct record *records[BROKER_MOST_POOLS];
	struct peer *peers; /* all */
	struct peer *by_client[BROKER_MOST_CLIENTS];
	struct dedup_map *maps; /* that are being counted, the first one now */
	uint8_t *contents;      /* BROKER_MOST_BATCH pages: copies that no VMM can change */
};

/* --- dedup_server.c --- */

/*
 * The pool for a guest, with memory. fd: the pool that the VMM has from before, -1 if none. *resumed: it is this one. Returns 0, -EAGAIN when the pool
 * of the daemon before may still be brought back by others, or -errno with a sentence.
 */
int server_pool(struct dedup_server *s, const struct protocol_hello *hello, int fd, uint16_t *pool, bool *resumed,
		struct error *err);
/* Writes down who may have slots mapped. Returns 0 or -errno. */
int server_save(struct dedup_server *s);
/* Whether this process is one that is awaited. */
bool server_awaits(const struct dedup_server *s, uint16_t pool, const struct process *process);
/* It has come and claimed what it had, or has nothing. */
void server_came(struct dedup_server *s, uint16_t pool, const struct process *process);
/* There is something for broker_work() to do, or for broker_trim(). */
void server_has_work(struct dedup_server *s);
void server_has_holes(struct dedup_server *s);
/* Hands out what broker_content() has brought others. */
void server_deliver_twins(struct dedup_server *s);

/* --- dedup_peer.c --- */

/* Takes over a connection. */
void peer_accept(struct dedup_server *s, int fd);
/* Ends all connections; for the daemon's end. */
void peers_destroy(struct dedup_server *s);
/* Pools have come, or hashes are known: who waited for that goes on. Returns whether somebody did, and others may. */
bool peers_continue(struct dedup_server *s);
/* One more twin for it. Returns false if it cannot be told. */
bool peer_tell_twin(struct peer *peer, const struct broker_twin *twin);
/* Whose client that is. Returns false if nobody's any more. */
bool peer_of_client(const struct dedup_server *s, uint16_t client, uint16_t *pool, const struct process **process,
		    const char **guest);
/* The next process of a peer that has, or may have, slots of the pool mapped. *at: NULL at first. Returns NULL at the end. */
const struct process *peer_next_process(const struct dedup_server *s, uint16_t pool, const struct peer **at);

#endif
