/* The daemon's dedup service: VMMs connect to its socket and speak the protocol of dedup/protocol.h. Everything happens in the loop's thread. */
#ifndef HOST_DEDUP_SERVER_H
#define HOST_DEDUP_SERVER_H

#include <ev.h>
#include <stdbool.h>

#include "base/error.h"
#include "host/options.h"

struct dedup_server;
struct protocol_status;

/* Listens. Returns 0 or -errno with a sentence. */
int dedup_server_create(struct ev_loop *loop, const struct host_options *options, struct dedup_server **server, struct error *err);
/* Hangs up. VMMs keep what they have, and the state stays: the next daemon takes it over. */
void dedup_server_destroy(struct dedup_server *server);

/*
 * Whether guests on different NUMA nodes share pages. It is for those that come from now on: those that are there keep the pool that they have, and so it is not to be
 * changed while there are any (dedup_server_is_used()).
 */
void dedup_server_set_across(struct dedup_server *server, bool across);
bool dedup_server_across(const struct dedup_server *server);
/* Whether some process has a pool, or had one of the daemon before and may come back. */
bool dedup_server_is_used(const struct dedup_server *server);

/* What it has saved, see dedup/protocol.h. */
void dedup_server_status(const struct dedup_server *server, struct protocol_status *status);

#endif
