/*
 * The door for clients from other machines: TCP, behind it TLS. Who has no right to be here can do little more than knock:
 *
 * 1. At most RPC_TLS_MOST_SHAKING handshakes are under way, and none for longer than the door's patience. Who comes when all places are taken has that of the
 *    one that has had most time: who stalls keeps nobody out.
 * 2. A handshake is some milliseconds of work for the daemon's only thread, so that one is begun each RPC_TLS_PAUSE_SECONDS at most; others wait in the kernel's queue.
 * 3. Nothing waits for a client; and rpc/server.c hears nothing of one before its certificate was checked.
 */
#ifndef RPC_TLS_DOOR_H
#define RPC_TLS_DOOR_H

#include "rpc/server.h"
#include "rpc/tls.h"

#define RPC_TLS_MOST_SHAKING 32
#define RPC_TLS_PAUSE_SECONDS .02

struct rpc_tls_door;

/*
 * Accepts from fd, which listens and does not block, for the server, which must live longer. patience: seconds for a handshake. fd and the identity are the door's from
 * now on, if it returns 0; else -ENOMEM.
 */
int rpc_tls_door_create(struct rpc_server *server, int fd, struct rpc_tls_identity *identity, double patience,
			struct rpc_tls_door **door);
/* Hangs up on those who are still shaking hands. Those inside are the server's, and must have gone. NULL is let through. */
void rpc_tls_door_destroy(struct rpc_tls_door *door);
unsigned rpc_tls_door_nr_shaking(const struct rpc_tls_door *door);

#endif
