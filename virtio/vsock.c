/* See vsock.h and vsock_device.h: the device's life, and what happens at the host's sockets. */
#include "virtio/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "virtio/vsock_device.h"

#define QUEUE_SIZE 256
#define FIRST_HOST_PORT (1u << 30)
/* For a client to say CONNECT, and for the guest to answer. */
#define HELLO_SECONDS 10.
#define REQUEST_SECONDS 10.
/* After accept() ran out of descriptors. */
#define ACCEPT_RETRY_SECONDS 1.

static struct vsock *from_device(struct virtio_device *dev)
{
	return (struct vsock *)dev; /* the first member */
}

/* --- events of sockets --- */

static struct vsock_conn *of_readable(ev_io *watcher)
{
	return container_of(watcher, struct vsock_conn, readable);
}

static struct vsock_conn *of_writable(ev_io *watcher)
{
	return container_of(watcher, struct vsock_conn, writable);
}

static struct vsock_conn *of_timeout(ev_timer *watcher)
{
	return container_of(watcher, struct vsock_conn, timeout);
}

static uint32_t unused_host_port(struct vsock *vs, uint32_t guest_port)
{
	uint32_t port;
	do {
		port = vs->next_port++;
		if (vs->next_port < FIRST_HOST_PORT || vs->next_port == UINT32_MAX)
			vs->next_port = FIRST_HOST_PORT;
	} while (vsock_find(vs, guest_port, port));
	return port;
}

/* Reads on in a client's first line. conn may be gone afterwards. */
static void hear_hello(struct vsock_conn *conn)
{
	struct vsock *vs = conn->vsock;
	uint32_t guest_port;
	int ret = vsock_conn_hello(conn, &guest_port);
	if (ret < 0) {
		vsock_destroy_conn(conn);
		return;
	}
	if (ret == 0)
		return;
	conn->state = VSOCK_CONN_REQUESTED;
	vsock_enter_bucket(conn, guest_port, unused_host_port(vs, guest_port));
	ev_timer_stop(vs->worker.loop, &conn->timeout);
	ev_timer_set(&conn->timeout, REQUEST_SECONDS, 0.);
	ev_timer_start(vs->worker.loop, &conn->timeout);
	vsock_owe(conn, VSOCK_OWED_REQUEST);
	vsock_watch(conn);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct vsock_conn *conn = of_readable(watcher);
	struct vsock *vs = conn->vsock;
	if (conn->state == VSOCK_CONN_HELLO) {
		hear_hello(conn);
	} else {
		conn->has_data = true;
		vsock_make_ready(conn);
		vsock_watch(conn);
	}
	vsock_serve_rx(vs);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct vsock_conn *conn = of_writable(watcher);
	struct vsock *vs = conn->vsock;
	vsock_written(conn, vsock_conn_flush(conn));
	vsock_serve_rx(vs);
}

static void on_timeout(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct vsock_conn *conn = of_timeout(watcher);
	struct vsock *vs = conn->vsock;
	vsock_abort_conn(conn);
	vsock_serve_rx(vs);
}

/* A connection for fd, which it owns. Returns NULL, with fd closed, when there are too many or memory is short. */
struct vsock_conn *vsock_new_conn(struct vsock *vs, int fd, enum vsock_conn_state state)
{
	struct vsock_conn *conn = vs->nr_conns < VSOCK_MAX_CONNS ? vsock_conn_new(vs, fd, state) : NULL;
	if (!conn) {
		close(fd);
		return NULL;
	}
	LIST_INSERT_HEAD(&vs->all, conn, all);
	vs->nr_conns++;
	ev_io_init(&conn->readable, on_readable, fd, EV_READ);
	ev_io_init(&conn->writable, on_writable, fd, EV_WRITE);
	ev_timer_init(&conn->timeout, on_timeout, HELLO_SECONDS, 0.);
	return conn;
}

static void on_accept_again(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	(void)revents;
	struct vsock *vs = container_of(watcher, struct vsock, accept_again);
	ev_io_start(loop, &vs->listen);
}

static void on_listen(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)revents;
	struct vsock *vs = container_of(watcher, struct vsock, listen);
	if (vs->nr_conns == VSOCK_MAX_CONNS || virtio_device_failed(&vs->dev)) {
		ev_io_stop(loop, watcher); /* until vsock_destroy_conn(), or the next start */
		return;
	}
	int fd = vsock_host_accept(vs->listen_fd);
	if (fd == -EAGAIN || fd == -ECONNABORTED || fd == -EINTR)
		return;
	if (fd < 0) {
		log_guest_error("%s: cannot accept a client at %s: %s", vs->dev.name, vs->path, strerror(-fd));
		ev_io_stop(loop, watcher);
		ev_timer_set(&vs->accept_again, ACCEPT_RETRY_SECONDS, 0.);
		ev_timer_start(loop, &vs->accept_again);
		return;
	}
	struct vsock_conn *conn = vsock_new_conn(vs, fd, VSOCK_CONN_HELLO);
	if (!conn)
		return;
	ev_timer_start(loop, &conn->timeout);
	vsock_watch(conn);
}

static void on_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct vsock_kick *w = (struct vsock_kick *)watcher; /* the first member */
	struct vsock *vs = w->vsock;
	uint64_t kicks;
	ssize_t ignored = read(watcher->fd, &kicks, sizeof(kicks));
	(void)ignored;
	if (w == &vs->kicks[VSOCK_RX])
		vsock_serve_rx(vs);
	else if (w == &vs->kicks[VSOCK_TX])
		vsock_serve_tx(vs);
	else
		vsock_serve_event(vs);
}

/* --- life --- */

/* Watchers stay in the loop while it does not run: connections survive a pause. */
static int vsock_start(struct virtio_device *dev)
{
	struct vsock *vs = from_device(dev);
	ev_io_start(vs->worker.loop, &vs->listen);
	return worker_start(&vs->worker, "virtio-vsock");
}

static void vsock_stop(struct virtio_device *dev)
{
	worker_stop(&from_device(dev)->worker);
}

static void drop_all(struct vsock *vs)
{
	struct vsock_conn *conn;
	while ((conn = LIST_FIRST(&vs->all)))
		vsock_destroy_conn(conn);
	vs->nr_strays = 0;
	vs->reset_event = false;
}

static void vsock_reset(struct virtio_device *dev)
{
	drop_all(from_device(dev));
}

static void vsock_load(struct virtio_device *dev, struct state_reader *r)
{
	(void)r;
	from_device(dev)->reset_event = true;
}

static void vsock_destroy(struct virtio_device *dev)
{
	struct vsock *vs = from_device(dev);
	drop_all(vs);
	ev_io_stop(vs->worker.loop, &vs->listen);
	ev_timer_stop(vs->worker.loop, &vs->accept_again);
	for (unsigned i = 0; i < VSOCK_NR_QUEUES; i++)
		ev_io_stop(vs->worker.loop, &vs->kicks[i].watcher);
	worker_fini(&vs->worker);
	close(vs->listen_fd);
	if (vs->unlink_path)
		unlink(vs->path);
	virtio_device_fini(dev);
	free(vs);
}

static const struct virtio_device_ops vsock_ops = {
	.start = vsock_start,
	.stop = vsock_stop,
	.reset = vsock_reset,
	.load = vsock_load,
	.destroy = vsock_destroy,
};

static int check_params(const struct virtio_vsock_params *params, struct error *err)
{
	if (params->guest_cid <= VSOCK_HOST_CID || params->guest_cid >= UINT32_MAX)
		return error_set(err, EINVAL, "%s: guest-cid %llu, must be 3 to 4294967294", params->name,
				 (unsigned long long)params->guest_cid);
	if (!params->uds_path || !params->uds_path[0])
		return error_set(err, EINVAL, "%s: needs the path of a unix socket (uds=PATH)", params->name);
	if (strlen(params->uds_path) > VSOCK_HOST_PATH_MAX)
		return error_set(err, ENAMETOOLONG, "%s: the path %s is longer than %d bytes", params->name, params->uds_path,
				 VSOCK_HOST_PATH_MAX);
	return 0;
}

static int init_loop(struct vsock *vs)
{
	int ret = worker_init(&vs->worker);
	if (ret)
		return ret;
	fcntl(vs->listen_fd, F_SETFL, fcntl(vs->listen_fd, F_GETFL) | O_NONBLOCK); /* one given to us may not be */
	for (unsigned i = 0; i < VSOCK_NR_QUEUES; i++) {
		vs->kicks[i].vsock = vs;
		ev_io_init(&vs->kicks[i].watcher, on_kick, vs->dev.kick_fds[i], EV_READ);
		ev_io_start(vs->worker.loop, &vs->kicks[i].watcher);
	}
	ev_io_init(&vs->listen, on_listen, vs->listen_fd, EV_READ);
	ev_timer_init(&vs->accept_again, on_accept_again, ACCEPT_RETRY_SECONDS, 0.);
	return 0;
}

int virtio_vsock_create(const struct virtio_vsock_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			struct error *err)
{
	int ret = check_params(params, err);
	if (ret)
		return ret;
	struct vsock *vs = calloc(1, sizeof(*vs));
	if (!vs)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	memcpy(vs->path, params->uds_path, strlen(params->uds_path));
	vs->guest_cid = params->guest_cid;
	vs->next_port = FIRST_HOST_PORT;
	LIST_INIT(&vs->all);
	TAILQ_INIT(&vs->ready);
	vs->listen_fd = params->listen_fd;
	if (vs->listen_fd < 0) {
		vs->listen_fd = ret = vsock_host_listen(params->name, vs->path, err);
		if (ret < 0)
			goto free_vsock;
		vs->unlink_path = true;
	}
	ret = virtio_device_init(&vs->dev, &vsock_ops, VIRTIO_ID_VSOCK_DEVICE, params->name, ram, 0, VSOCK_NR_QUEUES, QUEUE_SIZE,
				 sizeof(struct virtio_vsock_config), err);
	if (ret)
		goto close_listener;
	const struct virtio_vsock_config config = {.guest_cid = params->guest_cid};
	memcpy(vs->dev.config, &config, sizeof(config));
	ret = init_loop(vs);
	if (ret) {
		error_set(err, -ret, "%s: cannot make an event loop: %s", params->name, strerror(-ret));
		goto fini_device;
	}
	*dev = &vs->dev;
	return 0;

fini_device:
	virtio_device_fini(&vs->dev);
close_listener:
	if (vs->unlink_path) {
		close(vs->listen_fd);
		unlink(vs->path);
	}
free_vsock:
	free(vs);
	return ret;
}
