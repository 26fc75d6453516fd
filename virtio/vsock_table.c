/* See vsock_device.h: the device's connections, from the first packet or client to the last byte. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/vsock_device.h"

static struct vsock_conn_list *bucket_of(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	uint32_t hash = (guest_port * 2654435761u) ^ (host_port * 2246822519u);
	return &vs->buckets[(hash >> 16) % VSOCK_NR_BUCKETS];
}

struct vsock_conn *vsock_find(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	struct vsock_conn *conn = LIST_FIRST(bucket_of(vs, guest_port, host_port));
	while (conn && (conn->guest_port != guest_port || conn->host_port != host_port))
		conn = LIST_NEXT(conn, bucket);
	return conn;
}

void vsock_enter_bucket(struct vsock_conn *conn, uint32_t guest_port, uint32_t host_port)
{
	conn->guest_port = guest_port;
	conn->host_port = host_port;
	LIST_INSERT_HEAD(bucket_of(conn->vsock, guest_port, host_port), conn, bucket);
	conn->in_bucket = true;
}

static void leave_bucket(struct vsock_conn *conn)
{
	if (conn->in_bucket)
		LIST_REMOVE(conn, bucket);
	conn->in_bucket = false;
}

void vsock_make_ready(struct vsock_conn *conn)
{
	if (!conn->is_ready)
		TAILQ_INSERT_TAIL(&conn->vsock->ready, conn, ready);
	conn->is_ready = true;
}

void vsock_leave_ready(struct vsock_conn *conn)
{
	if (conn->is_ready)
		TAILQ_REMOVE(&conn->vsock->ready, conn, ready);
	conn->is_ready = false;
}

void vsock_owe(struct vsock_conn *conn, enum vsock_conn_owed what)
{
	conn->owed |= what;
	vsock_make_ready(conn);
}

/* --- a connection's socket --- */

bool vsock_is_readable(const struct vsock_conn *conn)
{
	if (conn->fd < 0)
		return false;
	if (conn->state == VSOCK_CONN_HELLO)
		return true;
	return conn->state == VSOCK_CONN_OPEN && !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
	       !(conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

void vsock_watch(struct vsock_conn *conn)
{
	struct ev_loop *loop = conn->vsock->worker.loop;
	if (vsock_is_readable(conn) && !conn->has_data)
		ev_io_start(loop, &conn->readable);
	else
		ev_io_stop(loop, &conn->readable);
	if (conn->fd >= 0 && conn->buffer_len)
		ev_io_start(loop, &conn->writable);
	else
		ev_io_stop(loop, &conn->writable);
}

void vsock_close_socket(struct vsock_conn *conn)
{
	struct ev_loop *loop = conn->vsock->worker.loop;
	ev_io_stop(loop, &conn->readable);
	ev_io_stop(loop, &conn->writable);
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
	conn->has_data = false;
}

void vsock_destroy_conn(struct vsock_conn *conn)
{
	struct vsock *vs = conn->vsock;
	vsock_close_socket(conn);
	ev_timer_stop(vs->worker.loop, &conn->timeout);
	leave_bucket(conn);
	vsock_leave_ready(conn);
	LIST_REMOVE(conn, all);
	vs->nr_conns--;
	vsock_conn_free(conn);
	/* There is room for another. */
	if (!ev_is_active(&vs->accept_again))
		ev_io_start(vs->worker.loop, &vs->listen);
}

void vsock_abort_conn(struct vsock_conn *conn)
{
	if (!conn->in_bucket || (conn->owed & VSOCK_OWED_REQUEST)) {
		vsock_destroy_conn(conn);
		return;
	}
	vsock_close_socket(conn);
	ev_timer_stop(conn->vsock->worker.loop, &conn->timeout);
	conn->buffer_len = 0;
	conn->state = VSOCK_CONN_DEAD;
	conn->owed = 0;
	vsock_owe(conn, VSOCK_OWED_RST);
}

void vsock_finish_conn(struct vsock_conn *conn, bool guest_knows)
{
	if (conn->buffer_len == 0 || conn->fd < 0) {
		if (guest_knows)
			vsock_destroy_conn(conn);
		else
			vsock_abort_conn(conn);
		return;
	}
	if (guest_knows) {
		conn->state = VSOCK_CONN_DRAINING;
		conn->owed = 0;
		leave_bucket(conn);
		vsock_leave_ready(conn);
	}
	vsock_watch(conn);
}

void vsock_written(struct vsock_conn *conn, int ret)
{
	if (ret && ret != -EAGAIN) {
		if (conn->state == VSOCK_CONN_DRAINING)
			vsock_destroy_conn(conn);
		else
			vsock_abort_conn(conn);
		return;
	}
	if (conn->state == VSOCK_CONN_DRAINING && conn->buffer_len == 0) {
		vsock_destroy_conn(conn);
		return;
	}
	if (conn->state == VSOCK_CONN_OPEN) {
		if (vsock_conn_credit_is_due(conn))
			vsock_owe(conn, VSOCK_OWED_CREDIT);
		if (conn->guest_shut == VSOCK_SHUTDOWN_BOTH) {
			vsock_finish_conn(conn, false);
			return;
		}
		if (conn->buffer_len == 0 && (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND))
			shutdown(conn->fd, SHUT_WR);
	}
	vsock_watch(conn);
}
