/*
 * A server of libvirt's remote protocol: doors, clients, calls. It knows nothing of what is asked; that is the program's (struct rpc_program). Everything happens
 * in the loop's thread, and nothing in it waits: a call may be answered later, and calls of one client out of order.
 *
 *   accepted --rpc_server_take()--> messages are read, at most RPC_MOST_CALLS calls open --end of file, a broken rule, too much unread--> lost --> closed
 *
 * 1. A call knows its client until that is closed; then it is answered to nobody. Neither ever points to what was freed.
 * 2. What waits to be sent is bounded. A client that does not read is lost; who sends streams stops before that (rpc_is_full()).
 * 3. A client is closed by the loop's callbacks alone, never while somebody has it in hand.
 * 4. Who is outside is answered by procedures for that alone, takes one of few places, and for some time.
 */
#ifndef RPC_SERVER_H
#define RPC_SERVER_H

#include <ev.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/error.h"
#include "rpc/message.h"

#define RPC_MOST_CLIENTS 64
#define RPC_MOST_READ_ONLY 32
#define RPC_MOST_CALLS 64
#define RPC_MOST_OUTSIDE 20
#define RPC_OUTSIDE_SECONDS 120. /* somebody may have to type a password */

enum rpc_access {
	RPC_READ_WRITE,
	RPC_READ_ONLY,
};

struct rpc_server;
struct rpc_client;
struct rpc_procedure;
struct rpc_tls;

/* One call until it is answered: exactly once, by rpc_answer() or rpc_refuse(), which free it. */
struct rpc_call {
	struct rpc_server *server;
	struct rpc_client *client; /* NULL when it has gone */
	struct rpc_call *next;     /* of the client's */
	const struct rpc_procedure *procedure;
	uint32_t serial;
	struct xdr_reader in;  /* arguments; there until run() returns */
	struct xdr_writer out; /* what is returned */
};

struct rpc_procedure {
	uint32_t number;
	const char *name;
	bool changes; /* so that who may only read is refused */
	bool outside; /* for those, too, who are still outside */
	void (*run)(struct rpc_call *call);
};

struct rpc_program {
	size_t call_bytes; /* of the structure that begins with struct rpc_call, made anew and zero for each call */
	/* NULL: there is none. */
	const struct rpc_procedure *(*find)(uint32_t number);
	/* A packet of a stream that a procedure has begun. */
	void (*stream)(struct rpc_client *client, const struct rpc_header *header, struct xdr_reader *data);
	/* What was sent to a client that was full has left. */
	void (*drained)(struct rpc_client *client);
	/* Nothing may be sent to it any more, and its calls are answered to nobody. */
	void (*gone)(struct rpc_client *client);
};

struct rpc_server {
	struct ev_loop *loop;
	const struct rpc_program *program;
	struct rpc_door {
		struct rpc_server *server;
		enum rpc_access access;
		int fd; /* -1: none */
		ev_io acceptor;
	} doors[2];
	ev_timer accept_again;
	bool asks; /* who comes by the socket for everything, and is neither root nor our own user, is outside until rpc_let_in() */
	struct rpc_client *clients;
	unsigned nr_clients, nr_read_only, nr_outside;
};

/* Accepts from sockets that listen and do not block, in the order of enum rpc_access; they are the server's from now on. -1: none. */
void rpc_server_create(struct ev_loop *loop, const struct rpc_program *program, const int fds[2], struct rpc_server *server);
/* Hangs up. Calls that wait are answered to nobody. */
void rpc_server_destroy(struct rpc_server *server);
/* Serves who is connected by fd, which does not block; it is the server's from now on. Returns 0, or -errno and fd is closed. */
int rpc_server_take(struct rpc_server *server, int fd, enum rpc_access access);
/*
 * The same for who has shaken hands over a network; peer: where it comes from. It may do everything, and is sent the byte that libvirt's clients wait for. Both fd and tls
 * are the server's from now on.
 */
int rpc_server_take_tls(struct rpc_server *server, int fd, struct rpc_tls *tls, const char *peer);

void rpc_answer(struct rpc_call *call);
void rpc_refuse(struct rpc_call *call, enum rpc_error code, const char *text);

struct rpc_server *rpc_client_server(const struct rpc_client *client);
bool rpc_is_read_only(const struct rpc_client *client);
/* From now on. */
void rpc_make_read_only(struct rpc_client *client);
/* Whether it must still show that it may come in; nothing else is answered until then. */
bool rpc_is_outside(const struct rpc_client *client);
void rpc_let_in(struct rpc_client *client);
int rpc_client_socket(const struct rpc_client *client);
/* "user 0, process 123", or the name in its certificate and where it comes from. */
const char *rpc_client_who(const struct rpc_client *client);

/* What is sent unasked: begun with rpc_begin(), and freed here. */
void rpc_send_event(struct rpc_client *client, uint32_t procedure, struct xdr_writer *message);
/* A packet of a stream; with RPC_OK and without data: its end. */
void rpc_send_stream(struct rpc_client *client, uint32_t procedure, uint32_t serial, enum rpc_status status, const void *data,
		     size_t len);
/* A stream's end by an error. */
void rpc_break_stream(struct rpc_client *client, uint32_t procedure, uint32_t serial, enum rpc_error code, const char *text);
/* Whether enough waits to be sent: the program's drained() is called when there is room. */
bool rpc_is_full(const struct rpc_client *client);

#endif
