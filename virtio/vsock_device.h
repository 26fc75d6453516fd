/*
 * The vsock device inside: shared by vsock.c (life, sockets' events), vsock_table.c (connections) and vsock_packet.c (queues). All of
 * it belongs to the device's worker while that runs.
 *
 * What goes to the guest is never queued as packets. A connection that has something for the guest, be it a control packet that it
 * is owed or bytes in its socket, stands in the ready list; vsock_serve_rx() makes a packet whenever the guest offers a buffer. Resets
 * for packets that belong to no connection have a short list of their own, and while that is full the guest's packets wait in
 * their queue. So nothing that guest or host can do makes memory grow past VSOCK_MAX_CONNS connections and their buffers.
 *
 * Invariants:
 *  1. A connection's socket is watched for reading exactly while it may be read from (vsock_is_readable()) and has_data is false.
 *  2. Its socket is watched for writing exactly while buffer_len > 0.
 *  3. It is in a bucket in all states but HELLO and DRAINING, and no two in buckets have the same two ports.
 */
#ifndef VIRTIO_VSOCK_DEVICE_H
#define VIRTIO_VSOCK_DEVICE_H

#include "virtio/device.h"
#include "virtio/vsock_conn.h"
#include "virtio/vsock_host.h"
#include "virtio/worker.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_NR_QUEUES };

#define VSOCK_HOST_CID 2u
#define VSOCK_MAX_CONNS 512
#define VSOCK_NR_BUCKETS 128
#define VSOCK_MAX_STRAYS 64
#define VSOCK_SHUTDOWN_BOTH ((uint32_t)(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))

LIST_HEAD(vsock_conn_list, vsock_conn);
TAILQ_HEAD(vsock_conn_queue, vsock_conn);

/* A reset owed to a packet that belongs to no connection. */
struct vsock_stray {
	uint64_t src_cid;
	uint32_t src_port, dst_port;
	uint16_t type;
};

struct vsock_kick {
	ev_io watcher;
	struct vsock *vsock;
};

struct vsock {
	struct virtio_device dev;
	struct worker worker;
	struct vsock_kick kicks[VSOCK_NR_QUEUES];
	ev_io listen;
	ev_timer accept_again;
	uint64_t guest_cid;
	int listen_fd;
	bool unlink_path;
	char path[VSOCK_HOST_PATH_MAX + 1];

	bool reset_event; /* the guest is to hear that all connections are gone */
	unsigned nr_conns;
	uint32_t next_port;
	struct vsock_conn_list all;
	struct vsock_conn_list buckets[VSOCK_NR_BUCKETS];
	struct vsock_conn_queue ready;
	unsigned nr_strays, first_stray;
	struct vsock_stray strays[VSOCK_MAX_STRAYS];
};

/* --- vsock_table.c: functions marked (*) may free the connection --- */

/* The connection between two ports, or NULL. */
struct vsock_conn *vsock_find(struct vsock *vs, uint32_t guest_port, uint32_t host_port);
void vsock_enter_bucket(struct vsock_conn *conn, uint32_t guest_port, uint32_t host_port);
/* Puts a connection at the end of the ready list, unless it is there; and off it. */
void vsock_make_ready(struct vsock_conn *conn);
void vsock_leave_ready(struct vsock_conn *conn);
/* The guest is to get that packet. */
void vsock_owe(struct vsock_conn *conn, enum vsock_conn_owed what);
/* Whether the host's bytes are wanted. */
bool vsock_is_readable(const struct vsock_conn *conn);
/* Restores invariants 1 and 2 after any change. */
void vsock_watch(struct vsock_conn *conn);
void vsock_close_socket(struct vsock_conn *conn);
void vsock_destroy_conn(struct vsock_conn *conn); /* (*) */
/* Ends a connection from our side, at once: the guest is owed a reset if it knows of it. (*) */
void vsock_abort_conn(struct vsock_conn *conn);
/* The guest closed both ways, or reset (guest_knows): its last bytes still go to the host. (*) */
void vsock_finish_conn(struct vsock_conn *conn, bool guest_knows);
/* Bytes were written to the host, or could not be (ret, as of vsock_conn_flush()): does what follows from that. (*) */
void vsock_written(struct vsock_conn *conn, int ret);

/* --- vsock.c --- */

/* A connection for fd, which it owns. Returns NULL, with fd closed, when there are too many or memory is short. */
struct vsock_conn *vsock_new_conn(struct vsock *vs, int fd, enum vsock_conn_state state);

/* --- vsock_packet.c: each serves its queue until nothing is left to do; a guest that breaks it fails the device --- */

void vsock_serve_rx(struct vsock *vs);
void vsock_serve_tx(struct vsock *vs);
void vsock_serve_event(struct vsock *vs);

#endif
