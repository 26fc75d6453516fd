/*
 * Clients of libvirt's protocol that call at a steady rate, and how long they wait.
 *
 *   calls SOCKET CLIENTS RATE SECONDS
 *
 * So many clients connect, and make so many calls a second, all of them together, in turn: what virt-manager and exporters ask all the time,
 * from a guest's state to the statistics of all guests. A call is sent when it is due, whether those before it are answered or not, and its
 * time counts from when it was due. Prints `calls N errors N rate N p50_us N p99_us N most_us N`; fails when a client is hung up on.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/unix_socket.h"
#include "rpc/message.h"

enum {
	MOST_CLIENTS = 256,
	MOST_OPEN = 64, /* calls of one client that are not answered */
	MOST_GUESTS = 256,
	NAME_BYTES = 256,
	READ_BYTES = 65536,
};

enum procedure {
	OPEN = 1,
	XML = 14,
	INFO = 16,
	AUTH_LIST = 66,
	MEMORY_STATS = 159,
	STATE = 212,
	LIST_ALL = 273,
	ALL_STATS = 344,
};
/* One of each in turn; what is asked of all guests comes seldom, as clients do it. */
static const enum procedure asked[] = {STATE, INFO,  STATE,    MEMORY_STATS, INFO,         STATE, XML,
				       INFO,  STATE, LIST_ALL, INFO,         MEMORY_STATS, STATE, ALL_STATS};

struct guest {
	char name[NAME_BYTES];
	uint8_t uuid[16];
	uint32_t id;
};

struct client {
	int fd;
	struct rpc_input in;
	struct xdr_writer out; /* not sent yet, from sent on */
	size_t sent;
	uint64_t due_ns[MOST_OPEN]; /* by serial; 0: none is open */
	uint32_t serial;
};

static struct client clients[MOST_CLIENTS];
static struct guest guests[MOST_GUESTS];
static unsigned nr_clients, nr_guests;
static uint32_t *times_us;
static uint64_t nr_calls, nr_answers, nr_errors;

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
	fprintf(stderr, "calls: %s: %s\n", what, why);
	exit(1);
}

/* --- messages --- */

static void put_guest(struct xdr_writer *w, const struct guest *g)
{
	xdr_put_string(w, g->name);
	xdr_put_fixed(w, g->uuid, sizeof(g->uuid));
	xdr_put_u32(w, g->id);
}

static void put_arguments(struct xdr_writer *w, enum procedure procedure, const struct guest *g)
{
	switch (procedure) {
	case OPEN:
		xdr_put_optional_string(w, "pagoda:///system");
		xdr_put_u32(w, 0);
		break;
	case AUTH_LIST:
		break;
	case LIST_ALL:
		xdr_put_u32(w, 1); /* with the guests, not their number alone */
		xdr_put_u32(w, 0);
		break;
	case ALL_STATS:
		xdr_put_u32(w, 0); /* of all guests, */
		xdr_put_u32(w, 0); /* all there are */
		xdr_put_u32(w, 0);
		break;
	case MEMORY_STATS:
		put_guest(w, g);
		xdr_put_u32(w, 13);
		xdr_put_u32(w, 0);
		break;
	case XML:
	case STATE:
		put_guest(w, g);
		xdr_put_u32(w, 0);
		break;
	case INFO:
	default:
		put_guest(w, g);
	}
}

static void flush(struct client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("a client is hung up on", strerror(errno));
		c->sent += (size_t)n;
	}
	c->out.len = c->sent = 0;
}

static void call(struct client *c, enum procedure procedure, const struct guest *g, uint64_t due_ns)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header header = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_CALL, ++c->serial, RPC_OK};
	uint64_t *due = &c->due_ns[c->serial % MOST_OPEN];
	if (*due)
		die("a client has too many calls open", "the daemon does not keep up with the rate");
	*due = due_ns;
	rpc_begin(&w);
	put_arguments(&w, procedure, g);
	rpc_end(&w, &header);
	xdr_put_fixed(&c->out, w.data, w.len);
	if (w.failed || c->out.failed)
		die("a call", "out of memory");
	xdr_writer_free(&w);
	flush(c);
}

/* Takes what has come. Returns the number of answers; that of the last is in *payload. */
static unsigned receive(struct client *c, struct xdr_reader *payload)
{
	struct rpc_header header;
	unsigned nr = 0;
	uint8_t *room = rpc_input_room(&c->in, READ_BYTES);
	ssize_t n = room ? recv(c->fd, room, READ_BYTES, MSG_DONTWAIT) : -1;
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		die("a client is hung up on", n ? strerror(errno) : "end of file");
	rpc_input_add(&c->in, (size_t)n);
	int more;
	while ((more = rpc_input_next(&c->in, &header, payload)) > 0) {
		uint64_t *due = &c->due_ns[header.serial % MOST_OPEN];
		if (header.type != RPC_REPLY || !*due)
			die("a message", "nobody has asked for it");
		times_us[nr_answers++] = (uint32_t)((clock_now_ns() - *due) / 1000);
		nr_errors += header.status != RPC_OK;
		*due = 0;
		nr++;
	}
	if (more < 0)
		die("a message", "its length cannot be");
	return nr;
}

static struct xdr_reader ask(struct client *c, enum procedure procedure)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	struct xdr_reader payload = {.at = NULL};
	call(c, procedure, NULL, clock_now_ns());
	while (receive(c, &payload) == 0)
		if (poll(&p, 1, 10000) <= 0)
			die("the daemon", "it does not answer");
	return payload;
}

static void connect_client(struct client *c, const char *path)
{
	c->fd = unix_socket_connect(path, 0);
	if (c->fd < 0)
		die(path, strerror(-c->fd));
	ask(c, AUTH_LIST);
	ask(c, OPEN);
}

static void find_guests(struct client *c)
{
	struct xdr_reader r = ask(c, LIST_ALL);
	nr_guests = xdr_get_count(&r, MOST_GUESTS, 24);
	for (unsigned i = 0; i < nr_guests; i++) {
		xdr_get_string(&r, guests[i].name, sizeof(guests[i].name));
		xdr_get_fixed(&r, guests[i].uuid, sizeof(guests[i].uuid));
		guests[i].id = xdr_get_u32(&r);
	}
	if (r.bad || !nr_guests)
		die("the list of guests", "it is empty, or cannot be read");
}

/* --- the rate --- */

static void wait_until(uint64_t until_ns)
{
	struct pollfd fds[MOST_CLIENTS];
	struct xdr_reader payload;
	uint64_t now = clock_now_ns();
	struct timespec left = {.tv_sec = 0, .tv_nsec = until_ns > now ? (long)(until_ns - now) : 0};
	if (left.tv_nsec > 999999999)
		left.tv_nsec = 999999999;
	for (unsigned i = 0; i < nr_clients; i++)
		fds[i] = (struct pollfd){.fd = clients[i].fd, .events = (short)(POLLIN | (clients[i].out.len ? POLLOUT : 0))};
	if (ppoll(fds, nr_clients, &left, NULL) <= 0)
		return;
	for (unsigned i = 0; i < nr_clients; i++) {
		if (fds[i].revents & POLLOUT)
			flush(&clients[i]);
		if (fds[i].revents & (POLLIN | POLLHUP))
			receive(&clients[i], &payload);
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static unsigned number(const char *text, unsigned most, const char *what)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (*end || value == 0 || value > most)
		die(text, what);
	return (unsigned)value;
}

int main(int argc, char *argv[])
{
	if (argc != 5)
		die("usage", "calls SOCKET CLIENTS RATE SECONDS");
	nr_clients = number(argv[2], MOST_CLIENTS, "is no number of clients");
	unsigned rate = number(argv[3], 100000, "is no rate"), seconds = number(argv[4], 3600, "is no time");
	nr_calls = (uint64_t)rate * seconds;
	times_us = calloc(nr_calls + 4ull * MOST_CLIENTS, sizeof(*times_us));
	if (!times_us)
		die("the times", "out of memory");
	for (unsigned i = 0; i < nr_clients; i++)
		connect_client(&clients[i], argv[1]);
	find_guests(&clients[0]);
	nr_answers = nr_errors = 0;
	uint64_t start = clock_now_ns(), made = 0;
	while (nr_answers < nr_calls) {
		uint64_t due = start + made * 1000000000ull / rate;
		if (made < nr_calls && clock_now_ns() >= due) {
			call(&clients[made % nr_clients], asked[made % (sizeof(asked) / sizeof(*asked))], &guests[made % nr_guests],
			     due);
			made++;
			continue;
		}
		wait_until(made < nr_calls ? due : clock_now_ns() + 1000000000);
	}
	double took_s = (double)(clock_now_ns() - start) / 1e9;
	qsort(times_us, nr_answers, sizeof(*times_us), by_size);
	printf("calls %llu errors %llu rate %.0f p50_us %u p99_us %u most_us %u\n", (unsigned long long)nr_answers,
	       (unsigned long long)nr_errors, (double)nr_answers / took_s, times_us[nr_answers / 2],
	       times_us[nr_answers * 99 / 100], times_us[nr_answers - 1]);
	return 0;
}
