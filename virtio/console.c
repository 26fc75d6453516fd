/*
 * See console.h. Queues: port 0 has 0 (to the guest) and 1 (from it); with multiport 2 and 3 carry control messages, and port n > 0
 * has 2n + 2 and 2n + 3 (virtio 1.2, 5.3.2).
 *
 * Two threads meet here. The main thread puts input into a port's ring buffer and sets flags, under the mutex, and wakes the
 * worker; the worker alone touches queues. Control messages to the guest are not queued but are a set of bits per port ("tell it
 * your name"), so that a guest that asks for them without end makes nothing grow.
 *
 * Output that a backend does not take stays where it is: the request is put back into its ring, and how much of it is already
 * written is remembered in the port (and in saved state).
 */
#include "virtio/console.h"
#include "base/container_of.h"
#include "base/lock.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "virtio/worker.h"

#define QUEUE_SIZE 128
#define MAX_BUFFERS 64
/* Requests, and bytes of output, of one queue in one go, before the loop looks at other events: no guest keeps us from stopping. */
#define BATCH 64
#define BATCH_BYTES (256u << 10)
#define CHUNK 4096
#define MAX_NAME 63

#define CONTROL_TO_GUEST 2u
#define CONTROL_FROM_GUEST 3u
#define MAX_QUEUES (2 * VIRTIO_CONSOLE_MAX_PORTS + 2)

/* Control messages that the guest is owed, in the order in which they are sent. */
enum owed {
	OWED_ADD = 1 << 0,
	OWED_CONSOLE = 1 << 1,
	OWED_NAME = 1 << 2,
	OWED_RESIZE = 1 << 3,
	OWED_OPEN = 1 << 4,
};

struct port {
	struct virtio_console_backend *backend;
	char name[MAX_NAME + 1]; /* empty: none */
	bool is_console;

	/* The worker's. */
	bool guest_ready; /* the guest's driver knows the port */
	bool stalled;     /* the backend took less than it was given */
	uint32_t tx_done; /* bytes of the next request that the backend has already taken */
	uint16_t rx_queue, tx_queue;

	/* Guarded by console.mutex. */
	unsigned owed;
	bool connected;
	bool writable; /* virtio_console_writable() was called */
	bool was_full; /* readable_again is due */
	uint32_t input_start, input_len;
	uint8_t input[VIRTIO_CONSOLE_INPUT_MAX];
};

struct queue_watcher {
	ev_io kick;
	struct console *console;
	unsigned queue;
};

struct console {
	struct virtio_device dev;
	struct worker worker;
	struct queue_watcher watchers[MAX_QUEUES];
	ev_async wake;
	struct lock mutex; /* a leaf */
	unsigned nr_ports;
	struct port ports[];
};

static struct console *from_device(struct virtio_device *dev)
{
	return (struct console *)dev; /* the first member */
}

static bool guest_has_multiport(const struct console *con)
{
	return virtio_device_has(&con->dev, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Takes the next request of a queue: 1, 0 or -EPROTO after failing the device. */
static int pop(struct console *con, unsigned queue, struct iovec iov[MAX_BUFFERS], struct virtq_chain *chain)
{
	int ret = virtq_pop(&con->dev.queues[queue], iov, MAX_BUFFERS, chain);
	if (ret < 0)
		virtio_device_fail(&con->dev, "queue %u is broken", queue);
	return ret;
}

/* --- output: guest to host --- */

/* Gives the backend what is left of a request, at most *budget bytes. Returns whether that was all; port->stalled may say why not. */
static bool write_out(struct port *port, const struct virtq_chain *chain, size_t *budget)
{
	while (port->tx_done < chain->out_len) {
		uint8_t buf[CHUNK];
		size_t len = sizeof(buf) < *budget ? sizeof(buf) : *budget;
		if (len == 0)
			return false;
		len = iov_read(chain->out, chain->nr_out, port->tx_done, buf, len);
		size_t taken = port->backend ? port->backend->ops->write(port->backend, buf, len) : len;
		port->tx_done += (uint32_t)taken;
		*budget -= taken;
		if (taken < len) {
			port->stalled = true;
			return false;
		}
	}
	port->tx_done = 0;
	return true;
}

static void serve_output(struct console *con, struct port *port)
{
	struct virtq *q = &con->dev.queues[port->tx_queue];
	if (port->stalled || virtio_device_failed(&con->dev))
		return;
	virtq_notify_off(q);
	unsigned served = 0;
	size_t budget = BATCH_BYTES;
	int ret = 0;
	while (served < BATCH) {
		struct iovec iov[MAX_BUFFERS];
		struct virtq_chain chain;
		ret = pop(con, port->tx_queue, iov, &chain);
		if (ret <= 0)
			break;
		if (!write_out(port, &chain, &budget)) {
			virtq_unpop(q);
			break;
		}
		virtq_push(q, chain.head, 0);
		served++;
	}
	if (served)
		virtio_device_notify_guest(&con->dev, port->tx_queue);
	if (ret >= 0 && !port->stalled && virtq_notify_on(q))
		virtio_device_kick(&con->dev, port->tx_queue);
}

/* --- input: host to guest --- */

/* Moves up to len bytes out of the port's input into a request's buffers; returns how many. */
static uint32_t take_input(struct console *con, struct port *port, const struct virtq_chain *chain)
{
	uint32_t done = 0;
	lock_take(&con->mutex);
	while (port->input_len && done < chain->in_len) {
		uint32_t run = VIRTIO_CONSOLE_INPUT_MAX - port->input_start;
		if (run > port->input_len)
			run = port->input_len;
		uint32_t put = (uint32_t)iov_write(chain->in, chain->nr_in, done, port->input + port->input_start, run);
		if (put == 0)
			break;
		port->input_start = (port->input_start + put) % VIRTIO_CONSOLE_INPUT_MAX;
		port->input_len -= put;
		done += put;
	}
	lock_release(&con->mutex);
	return done;
}

static bool has_input(struct console *con, struct port *port)
{
	lock_take(&con->mutex);
	bool has = port->input_len != 0;
	lock_release(&con->mutex);
	return has;
}

static void tell_readable_again(struct console *con, struct port *port)
{
	lock_take(&con->mutex);
	bool tell = port->was_full && port->input_len < VIRTIO_CONSOLE_INPUT_MAX;
	if (tell)
		port->was_full = false;
	lock_release(&con->mutex);
	if (tell && port->backend && port->backend->ops->readable_again)
		port->backend->ops->readable_again(port->backend);
}

static void serve_input(struct console *con, struct port *port)
{
	struct virtq *q = &con->dev.queues[port->rx_queue];
	if (virtio_device_failed(&con->dev) || (guest_has_multiport(con) && !port->guest_ready))
		return;
	bool pushed = false;
	while (has_input(con, port)) {
		struct iovec iov[MAX_BUFFERS];
		struct virtq_chain chain;
		virtq_notify_off(q);
		int ret = pop(con, port->rx_queue, iov, &chain);
		if (ret < 0)
			return;
		if (ret == 0) {
			if (!virtq_notify_on(q))
				break;
			continue;
		}
		if (chain.in_len == 0) {
			virtio_device_fail(&con->dev, "an input request has no room");
			return;
		}
		virtq_push(q, chain.head, take_input(con, port, &chain));
		pushed = true;
	}
	if (pushed)
		virtio_device_notify_guest(&con->dev, port->rx_queue);
	tell_readable_again(con, port);
}

/* --- control messages (virtio 1.2, 5.3.6.2) --- */

static void owe(struct console *con, struct port *port, unsigned what)
{
	lock_take(&con->mutex);
	port->owed |= what;
	lock_release(&con->mutex);
}

/* A control message to the guest and what follows it. */
struct message {
	struct virtio_console_control header;
	uint8_t tail[MAX_NAME];
	size_t tail_len;
};

/* Takes the first message that the guest is owed about a port. Returns whether there was one; *bit is what to owe again on failure. */
static bool next_message(struct console *con, unsigned id, struct message *msg, unsigned *bit)
{
	struct port *port = &con->ports[id];
	lock_take(&con->mutex);
	/* Before the guest knows the port, only ADD makes sense to it. */
	unsigned owed = port->guest_ready ? port->owed : port->owed & OWED_ADD;
	*bit = owed & -owed;
	port->owed &= ~*bit;
	bool connected = port->connected;
	lock_release(&con->mutex);

	*msg = (struct message){.header = {.id = id, .value = 1}};
	switch ((enum owed) * bit) {
	case OWED_ADD:
		msg->header.event = VIRTIO_CONSOLE_PORT_ADD;
		return true;
	case OWED_CONSOLE:
		msg->header.event = VIRTIO_CONSOLE_CONSOLE_PORT;
		return true;
	case OWED_NAME:
		msg->header.event = VIRTIO_CONSOLE_PORT_NAME;
		msg->tail_len = strlen(port->name);
		memcpy(msg->tail, port->name, msg->tail_len);
		return true;
	case OWED_RESIZE: {
		uint16_t size[2]; /* columns and rows, in config space as in the message */
		virtio_device_config_read(&con->dev, 0, size, sizeof(size));
		msg->header.event = VIRTIO_CONSOLE_RESIZE;
		memcpy(msg->tail, size, sizeof(size));
		msg->tail_len = sizeof(size);
		return true;
	}
	case OWED_OPEN:
		msg->header.event = VIRTIO_CONSOLE_PORT_OPEN;
		msg->header.value = connected;
		return true;
	}
	return false;
}

/* Sends one message. Returns 1, 0 when the guest offers no buffer, or -EPROTO. */
static int send_message(struct console *con, const struct message *msg)
{
	struct virtq *q = &con->dev.queues[CONTROL_TO_GUEST];
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain;
	int ret;
	do {
		virtq_notify_off(q);
		ret = pop(con, CONTROL_TO_GUEST, iov, &chain);
	} while (ret == 0 && virtq_notify_on(q));
	if (ret <= 0)
		return ret;
	size_t len = sizeof(msg->header) + msg->tail_len;
	if (chain.in_len < len) {
		virtio_device_fail(&con->dev, "a control buffer has %zu bytes, a message %zu", chain.in_len, len);
		return -EPROTO;
	}
	iov_write(chain.in, chain.nr_in, 0, &msg->header, sizeof(msg->header));
	iov_write(chain.in, chain.nr_in, sizeof(msg->header), msg->tail, msg->tail_len);
	virtq_push(q, chain.head, (uint32_t)len);
	return 1;
}

static void send_control(struct console *con)
{
	if (!guest_has_multiport(con) || virtio_device_failed(&con->dev))
		return;
	unsigned sent = 0;
	for (unsigned id = 0; id < con->nr_ports; id++) {
		struct message msg;
		unsigned bit;
		while (next_message(con, id, &msg, &bit)) {
			int ret = send_message(con, &msg);
			if (ret <= 0) {
				owe(con, &con->ports[id], bit);
				goto out;
			}
			sent++;
		}
	}
out:
	if (sent)
		virtio_device_notify_guest(&con->dev, CONTROL_TO_GUEST);
}

static void port_is_ready(struct console *con, struct port *port)
{
	unsigned owed = port->name[0] ? OWED_NAME : 0;
	port->guest_ready = true;
	if (port->is_console)
		owed |= OWED_CONSOLE;
	if (port->is_console && virtio_device_has(&con->dev, VIRTIO_CONSOLE_F_SIZE))
		owed |= OWED_RESIZE;
	lock_take(&con->mutex);
	if (port->connected)
		owed |= OWED_OPEN;
	port->owed |= owed;
	lock_release(&con->mutex);
}

static void handle_control(struct console *con, const struct virtio_console_control *msg)
{
	if (msg->event == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned i = 0; msg->value && i < con->nr_ports; i++)
			owe(con, &con->ports[i], OWED_ADD);
		return;
	}
	if (msg->id >= con->nr_ports) {
		log_guest_error("%s: a control message about port %u, of %u", con->dev.name, msg->id, con->nr_ports);
		return;
	}
	/* PORT_OPEN is for whom the guest's side matters: our backends take bytes at any time. */
	if (msg->event == VIRTIO_CONSOLE_PORT_READY && msg->value)
		port_is_ready(con, &con->ports[msg->id]);
}

static void serve_control(struct console *con)
{
	struct virtq *q = &con->dev.queues[CONTROL_FROM_GUEST];
	if (!guest_has_multiport(con) || virtio_device_failed(&con->dev))
		return;
	virtq_notify_off(q);
	unsigned served = 0;
	int ret = 0;
	while (served < BATCH) {
		struct iovec iov[MAX_BUFFERS];
		struct virtq_chain chain;
		ret = pop(con, CONTROL_FROM_GUEST, iov, &chain);
		if (ret <= 0)
			break;
		struct virtio_console_control msg;
		if (iov_read(chain.out, chain.nr_out, 0, &msg, sizeof(msg)) == sizeof(msg))
			handle_control(con, &msg);
		else
			log_guest_error("%s: a control message is cut short", con->dev.name);
		virtq_push(q, chain.head, 0);
		served++;
	}
	if (served)
		virtio_device_notify_guest(&con->dev, CONTROL_FROM_GUEST);
	if (ret >= 0 && virtq_notify_on(q))
		virtio_device_kick(&con->dev, CONTROL_FROM_GUEST);
	send_control(con);
	for (unsigned i = 0; i < con->nr_ports; i++)
		serve_input(con, &con->ports[i]); /* for a port that became ready */
}

/* --- events --- */

static void serve_queue(struct console *con, unsigned queue)
{
	if (queue == CONTROL_TO_GUEST) {
		send_control(con);
	} else if (queue == CONTROL_FROM_GUEST) {
		serve_control(con);
	} else {
		struct port *port = &con->ports[queue < CONTROL_TO_GUEST ? 0 : queue / 2 - 1];
		if (queue == port->rx_queue)
			serve_input(con, port);
		else
			serve_output(con, port);
	}
}

static void on_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct queue_watcher *w = (struct queue_watcher *)watcher; /* the first member */
	uint64_t kicks;
	ssize_t ignored = read(watcher->fd, &kicks, sizeof(kicks));
	(void)ignored;
	serve_queue(w->console, w->queue);
}

static void on_wake(struct ev_loop *loop, ev_async *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct console *con = container_of(watcher, struct console, wake);
	for (unsigned i = 0; i < con->nr_ports; i++) {
		struct port *port = &con->ports[i];
		lock_take(&con->mutex);
		bool writable = port->writable;
		port->writable = false;
		lock_release(&con->mutex);
		if (writable) {
			port->stalled = false;
			serve_output(con, port);
		}
		serve_input(con, port);
	}
	send_control(con);
}

/* --- the machine's side --- */

static void wake(struct console *con)
{
	ev_async_send(con->worker.loop, &con->wake);
}

size_t virtio_console_room(struct virtio_device *dev, unsigned port_nr)
{
	struct console *con = from_device(dev);
	if (port_nr >= con->nr_ports)
		return 0;
	struct port *port = &con->ports[port_nr];
	lock_take(&con->mutex);
	size_t room = VIRTIO_CONSOLE_INPUT_MAX - port->input_len;
	if (room == 0)
		port->was_full = true;
	lock_release(&con->mutex);
	return room;
}

size_t virtio_console_receive(struct virtio_device *dev, unsigned port_nr, const void *data, size_t len)
{
	struct console *con = from_device(dev);
	if (port_nr >= con->nr_ports)
		return 0;
	struct port *port = &con->ports[port_nr];
	const uint8_t *bytes = data;
	size_t taken = 0;
	lock_take(&con->mutex);
	while (taken < len && port->input_len < VIRTIO_CONSOLE_INPUT_MAX) {
		uint32_t end = (port->input_start + port->input_len) % VIRTIO_CONSOLE_INPUT_MAX;
		size_t run = VIRTIO_CONSOLE_INPUT_MAX - end;
		size_t room = VIRTIO_CONSOLE_INPUT_MAX - port->input_len;
		if (run > room)
			run = room;
		if (run > len - taken)
			run = len - taken;
		memcpy(port->input + end, bytes + taken, run);
		port->input_len += (uint32_t)run;
		taken += run;
	}
	if (taken < len)
		port->was_full = true;
	lock_release(&con->mutex);
	if (taken)
		wake(con);
	return taken;
}

void virtio_console_writable(struct virtio_device *dev, unsigned port_nr)
{
	struct console *con = from_device(dev);
	if (port_nr >= con->nr_ports)
		return;
	lock_take(&con->mutex);
	con->ports[port_nr].writable = true;
	lock_release(&con->mutex);
	wake(con);
}

void virtio_console_set_connected(struct virtio_device *dev, unsigned port_nr, bool connected)
{
	struct console *con = from_device(dev);
	if (port_nr >= con->nr_ports)
		return;
	struct port *port = &con->ports[port_nr];
	lock_take(&con->mutex);
	bool changed = port->connected != connected;
	port->connected = connected;
	if (changed)
		port->owed |= OWED_OPEN;
	lock_release(&con->mutex);
	if (changed)
		wake(con);
}

void virtio_console_resize(struct virtio_device *dev, uint16_t cols, uint16_t rows)
{
	struct console *con = from_device(dev);
	uint16_t size[2] = {cols, rows};
	virtio_device_update_config(dev, 0, size, sizeof(size));
	for (unsigned i = 0; i < con->nr_ports; i++) {
		if (con->ports[i].is_console) {
			owe(con, &con->ports[i], OWED_RESIZE);
			wake(con);
			return;
		}
	}
}

/* --- life --- */

static int console_start(struct virtio_device *dev)
{
	struct console *con = from_device(dev);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		ev_io_start(con->worker.loop, &con->watchers[i].kick);
	/* Backends may have changed their minds while nobody looked; those still slow say so at once. */
	for (unsigned i = 0; i < con->nr_ports; i++)
		con->ports[i].stalled = false;
	wake(con);
	int ret = worker_start(&con->worker, "virtio-console");
	for (unsigned i = 0; ret && i < dev->nr_queues; i++)
		ev_io_stop(con->worker.loop, &con->watchers[i].kick);
	return ret;
}

static void console_stop(struct virtio_device *dev)
{
	struct console *con = from_device(dev);
	worker_stop(&con->worker);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		ev_io_stop(con->worker.loop, &con->watchers[i].kick);
}

static void console_reset(struct virtio_device *dev)
{
	struct console *con = from_device(dev);
	for (unsigned i = 0; i < con->nr_ports; i++) {
		struct port *port = &con->ports[i];
		port->guest_ready = false;
		port->stalled = false;
		port->tx_done = 0;
		lock_take(&con->mutex);
		port->owed = 0;
		if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
			port->input_len = 0; /* was meant for the driver that is gone, unlike what came before any */
		lock_release(&con->mutex);
		tell_readable_again(con, port);
	}
}

struct field_name {
	char text[32];
};

static struct field_name port_field(unsigned port, const char *what)
{
	struct field_name name;
	snprintf(name.text, sizeof(name.text), "port%u.%s", port % 100, what);
	return name;
}

static void console_save(struct virtio_device *dev, struct state_writer *w)
{
	struct console *con = from_device(dev);
	state_put(w, "nr_ports", con->nr_ports);
	for (unsigned i = 0; i < con->nr_ports; i++) {
		struct port *port = &con->ports[i];
		uint8_t input[VIRTIO_CONSOLE_INPUT_MAX];
		lock_take(&con->mutex);
		unsigned owed = port->owed;
		uint32_t len = port->input_len;
		for (uint32_t n = 0; n < len; n++)
			input[n] = port->input[(port->input_start + n) % VIRTIO_CONSOLE_INPUT_MAX];
		lock_release(&con->mutex);
		state_put(w, port_field(i, "guest_ready").text, port->guest_ready);
		state_put(w, port_field(i, "tx_done").text, port->tx_done);
		state_put(w, port_field(i, "owed").text, owed);
		state_put_bytes(w, port_field(i, "input").text, input, len);
	}
}

static void console_load(struct virtio_device *dev, struct state_reader *r)
{
	struct console *con = from_device(dev);
	state_get(r, "nr_ports", con->nr_ports, con->nr_ports);
	for (unsigned i = 0; i < con->nr_ports; i++) {
		struct port *port = &con->ports[i];
		port->guest_ready = state_get(r, port_field(i, "guest_ready").text, 0, 1);
		port->tx_done = (uint32_t)state_get(r, port_field(i, "tx_done").text, 0, UINT32_MAX);
		unsigned owed = (unsigned)state_get(r, port_field(i, "owed").text, 0, 2 * OWED_OPEN - 1);
		size_t len;
		const void *input = state_get_blob(r, port_field(i, "input").text, VIRTIO_CONSOLE_INPUT_MAX, &len);
		lock_take(&con->mutex);
		/* Whoever is connected here need not be who was connected there. */
		port->owed = owed | (port->guest_ready ? OWED_OPEN : 0);
		port->input_start = 0;
		port->input_len = (uint32_t)len;
		if (len)
			memcpy(port->input, input, len);
		lock_release(&con->mutex);
	}
}

static void console_destroy(struct virtio_device *dev)
{
	struct console *con = from_device(dev);
	ev_async_stop(con->worker.loop, &con->wake);
	worker_fini(&con->worker);
	lock_fini(&con->mutex);
	virtio_device_fini(dev);
	free(con);
}

static const struct virtio_device_ops console_ops = {
	.start = console_start,
	.stop = console_stop,
	.reset = console_reset,
	.save = console_save,
	.load = console_load,
	.destroy = console_destroy,
};

static int check_params(const struct virtio_console_params *params, struct error *err)
{
	if (params->nr_ports == 0 || params->nr_ports > VIRTIO_CONSOLE_MAX_PORTS)
		return error_set(err, EINVAL, "%s: %u ports, must be 1 to %d", params->name, params->nr_ports,
				 VIRTIO_CONSOLE_MAX_PORTS);
	for (unsigned i = 0; i < params->nr_ports; i++) {
		const char *name = params->ports[i].name;
		if (name && strlen(name) > MAX_NAME)
			return error_set(err, EINVAL, "%s: the name of port %u is longer than %d bytes", params->name, i, MAX_NAME);
	}
	return 0;
}

int virtio_console_create(const struct virtio_console_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			  struct error *err)
{
	int ret = check_params(params, err);
	if (ret)
		return ret;
	struct console *con = calloc(1, sizeof(*con) + params->nr_ports * sizeof(con->ports[0]));
	if (!con)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	con->nr_ports = params->nr_ports;
	bool multiport = params->nr_ports > 1 || params->ports[0].name || !params->ports[0].is_console;

	uint64_t features = multiport ? 1ull << VIRTIO_CONSOLE_F_MULTIPORT : 0;
	if (params->cols && params->rows)
		features |= 1ull << VIRTIO_CONSOLE_F_SIZE;
	unsigned nr_queues = multiport ? 2 * params->nr_ports + 2 : 2;
	ret = virtio_device_init(&con->dev, &console_ops, VIRTIO_ID_CONSOLE_DEVICE, params->name, ram, features, nr_queues,
				 QUEUE_SIZE, offsetof(struct virtio_console_config, emerg_wr), err);
	if (ret)
		goto free_console;
	ret = worker_init(&con->worker);
	if (ret) {
		error_set(err, -ret, "%s: cannot make an event loop: %s", params->name, strerror(-ret));
		goto fini_device;
	}

	struct virtio_console_config config = {.cols = params->cols, .rows = params->rows, .max_nr_ports = params->nr_ports};
	memcpy(con->dev.config, &config, con->dev.config_len);
	lock_init(&con->mutex, LOCK_CONSOLE);
	ev_async_init(&con->wake, on_wake);
	ev_async_start(con->worker.loop, &con->wake);
	for (unsigned i = 0; i < nr_queues; i++) {
		con->watchers[i].console = con;
		con->watchers[i].queue = i;
		ev_io_init(&con->watchers[i].kick, on_kick, con->dev.kick_fds[i], EV_READ);
	}
	for (unsigned i = 0; i < params->nr_ports; i++) {
		struct port *port = &con->ports[i];
		port->backend = params->ports[i].backend;
		port->is_console = params->ports[i].is_console;
		port->connected = params->ports[i].connected;
		port->rx_queue = (uint16_t)(i ? 2 * i + 2 : 0);
		port->tx_queue = (uint16_t)(port->rx_queue + 1);
		if (params->ports[i].name)
			snprintf(port->name, sizeof(port->name), "%s", params->ports[i].name);
	}
	*dev = &con->dev;
	return 0;

fini_device:
	virtio_device_fini(&con->dev);
free_console:
	free(con);
	return ret;
}
