/*
 * One connection of a VMM, or of somebody who asks for the sharing map.
 *
 *   peer_accept ──> NEW ──HELLO──> WAITING ──pool is there──> CLAIMING ──CLAIMED──> SERVED
 *                    │                │ (join)                    ^ only with the pool it has from before; else straight to SERVED
 *                    │ ASK_...        │                           │
 *                    v                v                           v
 *                 answered        hang_up: without references it is gone; with some it is PARKED until the process ends, or
 *                                 connects again and claims them from it (its sibling; there is one at most)
 *
 * References belong to the process, not to the connection: as long as the process lives it may have slots mapped, whatever became of
 * its socket. A pidfd says when it has ended.
 *
 * Whatever comes is checked by protocol_check() first, and what that cannot know is checked here and in the broker. Who breaks a rule is told
 * (REFUSED) and hung up on. Whoever does not read his answers is not read from; twins for him are not kept. One message is handled
 * at a time, so that a VMM that sends as fast as it can gets its turn and no more.
 *
 * Contents are copied out of the VMM's staging memory before anything looks at them. It is a memfd that is sealed against shrinking, so
 * that reading it cannot end in SIGBUS; a mapping takes a quarter of the time that pread() would.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "dedup/os.h"
#include "host/dedup_server_internal.h"
#include "memmgr/os.h"

#define MOST_STAGING 8192u      /* pages */
#define QUEUE_FULL (256u << 10) /* bytes of answers that are not read: no more messages are taken */
#define QUEUE_DRAINED (32u << 10)
#define MOST_FDS 2
#define MOST_CONNECTIONS 8u /* of one process */

enum peer_state { PEER_NEW, PEER_WAITING, PEER_CLAIMING, PEER_SERVED, PEER_PARKED };

struct message {
	struct message *next;
	size_t len;
	uint8_t bytes[]; /* room for PROTOCOL_MOST_BYTES where more may be added */
};

struct peer {
	struct dedup_server *server;
	struct peer *next;
	enum peer_state state;
	int fd;
	ev_io readable, writable, exited;
	struct process process;
	struct protocol_hello hello;
	uint64_t hello_number;
	int pool_fd; /* WAITING: that it has from before, -1 if none */
	const uint8_t *staging;
	uint16_t client, pool;
	struct message *head, *tail;
	size_t queued;
	struct dedup_map map; /* a question about sharing, while it is open */
	uint64_t map_number;
};

static bool is_joined(const struct peer *p)
{
	return p->client != BROKER_NONE;
}

static const char *name_of(const struct peer *p)
{
	return p->hello.guest[0] ? p->hello.guest : "(no name yet)";
}

static struct protocol_header header(enum protocol_type type, uint32_t nr, uint64_t number)
{
	return (struct protocol_header){.type = (uint16_t)type, .nr = nr, .number = number};
}

/* --- ends --- */

static void drop_queue(struct peer *p)
{
	while (p->head) {
		struct message *m = p->head;
		p->head = m->next;
		mem_free(m);
	}
	p->tail = NULL;
	p->queued = 0;
}

static void close_connection(struct peer *p)
{
	if (p->fd < 0)
		return;
	ev_io_stop(p->server->loop, &p->readable);
	ev_io_stop(p->server->loop, &p->writable);
	close(p->fd);
	p->fd = -1;
	if (p->pool_fd >= 0)
		close(p->pool_fd);
	p->pool_fd = -1;
	if (p->staging)
		munmap((void *)p->staging, (size_t)p->hello.nr_staging_pages * PAGE_HASH_BYTES);
	p->staging = NULL;
	dedup_map_close(&p->map);
	drop_queue(p);
}

static void destroy(struct peer *p)
{
	struct dedup_server *s = p->server;
	struct peer **at = &s->peers;
	close_connection(p);
	if (is_joined(p)) {
		s->by_client[p->client] = NULL;
		broker_leave(s->broker, p->client);
		server_has_work(s);
	}
	ev_io_stop(s->loop, &p->exited);
	process_close(&p->process);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	mem_free(p);
}

/* Another peer of the same process and pool: an earlier connection. */
static struct peer *next_sibling(const struct peer *p, struct peer *from)
{
	for (; from; from = from->next)
		if (from != p && is_joined(from) && from->pool == p->pool && from->process.pid == p->process.pid &&
		    from->process.start == p->process.start)
			return from;
	return NULL;
}

/* The connection is over. What the process has mapped it may still have. */
static void hang_up(struct peer *p)
{
	close_connection(p);
	if (!is_joined(p) || !pool_client(broker_pool(p->server->broker, p->pool), p->client)->references) {
		destroy(p);
		return;
	}
	log_debug("guest %s (process %d) has hung up", name_of(p), (int)p->process.pid);
	struct peer *sibling = next_sibling(p, p->server->peers);
	if (sibling) {
		/* In the midst of its claims: they are undone, so that no process leaves more than one behind. */
		broker_bequeath(p->server->broker, p->client, sibling->client);
		p->server->by_client[p->client] = NULL;
		p->client = BROKER_NONE;
		server_has_work(p->server);
		destroy(p);
		return;
	}
	p->state = PEER_PARKED;
	broker_set_listening(p->server->broker, p->client, false);
}

static void on_exit_of_process(struct ev_loop *loop, ev_io *w, int revents)
{
	struct peer *p = container_of(w, struct peer, exited);
	(void)loop, (void)revents;
	if (is_joined(p))
		log_debug("guest %s (process %d) has ended", name_of(p), (int)p->process.pid);
	destroy(p);
}

/* --- answers --- */

/* Returns -EAGAIN when the rest has to wait, another -errno when the connection is over. */
static int send_queue(struct peer *p)
{
	while (p->head) {
		struct message *m = p->head;
		struct iovec part = {.iov_base = m->bytes, .iov_len = m->len};
		ssize_t sent = dedup_send(p->fd, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
		if (sent < 0)
			return (int)sent;
		p->head = m->next;
		p->tail = p->head ? p->tail : NULL;
		p->queued -= m->len;
		mem_free(m);
	}
	return 0;
}

static void read_on(struct peer *p)
{
	bool held = p->state == PEER_WAITING || p->queued > QUEUE_FULL ||
		    (p->state == PEER_SERVED && !broker_is_ready(p->server->broker, p->pool));
	if (held)
		ev_io_stop(p->server->loop, &p->readable);
	else
		ev_io_start(p->server->loop, &p->readable);
}

/* A connection that is over shows it when it is read from, too: here it is only left. */
static void flush_queue(struct peer *p)
{
	int ret = send_queue(p);
	if (ret == -EAGAIN)
		ev_io_start(p->server->loop, &p->writable);
	else
		ev_io_stop(p->server->loop, &p->writable);
	if (ret < 0 && ret != -EAGAIN) {
		drop_queue(p);
		shutdown(p->fd, SHUT_RDWR); /* an answer is lost: without it the VMM would wait for ever */
	}
	if (p->queued < QUEUE_DRAINED && p->state == PEER_SERVED)
		broker_set_listening(p->server->broker, p->client, true);
	read_on(p);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int revents)
{
	(void)loop, (void)revents;
	flush_queue(container_of(w, struct peer, writable));
}

/* Room for a message of up to len bytes at the queue's end. NULL without memory. */
static struct message *enqueue(struct peer *p, size_t len)
{
	struct message *m = mem_calloc(1, sizeof(*m) + len);
	if (!m)
		return NULL;
	m->next = NULL;
	m->len = 0;
	if (p->tail)
		p->tail->next = m;
	else
		p->head = m;
	p->tail = m;
	return m;
}

static void append(struct peer *p, struct message *m, const void *bytes, size_t len)
{
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
	p->queued += len;
}

/* Sends a message of a header and entries. Without memory the VMM is hung up on by the caller (-ENOMEM): an answer must not be lost. */
static int reply(struct peer *p, struct protocol_header h, const void *entries, size_t len)
{
	struct message *m = enqueue(p, sizeof(h) + len);
	if (!m)
		return -ENOMEM;
	append(p, m, &h, sizeof(h));
	if (len)
		append(p, m, entries, len);
	flush_queue(p);
	return 0;
}

static int reply_verdicts(struct peer *p, uint64_t number, const uint32_t verdicts[], uint32_t nr)
{
	return reply(p, header(PROTOCOL_ANSWER, nr, number), verdicts, nr * sizeof(*verdicts));
}

/* Tells why, as far as the peer can still be told anything. */
static void refuse(struct peer *p, int code, const char *why)
{
	struct protocol_refused body = {.code = (uint32_t)code};
	strncpy(body.text, why, sizeof(body.text) - 1);
	p->server->refused++;
	log_guest_error("guest %s (process %d) is refused: %s", name_of(p), (int)p->process.pid, why);
	reply(p, header(PROTOCOL_REFUSED, 1, 0), &body, sizeof(body));
}

bool peer_tell_twin(struct peer *p, const struct broker_twin *twin)
{
	const struct protocol_twin entry = {.page = twin->page, .slot = twin->slot};
	if (p->fd < 0 || p->state != PEER_SERVED)
		return false;
	if (p->queued > QUEUE_FULL / 2) {
		broker_set_listening(p->server->broker, p->client, false);
		return false;
	}
	struct protocol_header h = header(PROTOCOL_TWIN, 0, 0);
	if (p->tail)
		memcpy(&h, p->tail->bytes, sizeof(h));
	if (!p->tail || h.type != PROTOCOL_TWIN || h.nr == protocol_batch(PROTOCOL_TWIN)) {
		h = header(PROTOCOL_TWIN, 0, 0);
		if (!enqueue(p, sizeof(h) + protocol_batch(PROTOCOL_TWIN) * sizeof(entry)))
			return false;
		append(p, p->tail, &h, sizeof(h));
	}
	append(p, p->tail, &entry, sizeof(entry));
	h.nr++;
	memcpy(p->tail->bytes, &h, sizeof(h));
	ev_io_start(p->server->loop, &p->writable); /* with those that come in this turn */
	return true;
}

/* --- HELLO --- */

static int map_staging(struct peer *p, int fd, uint32_t nr_pages)
{
	struct stat st;
	struct statfs fs;
	size_t bytes = (size_t)nr_pages * PAGE_HASH_BYTES;
	int seals = fcntl(fd, F_GET_SEALS);
	/* Huge pages would be another matter: where none is left, touching a hole is SIGBUS. */
	if (nr_pages > MOST_STAGING || seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 ||
	    fs.f_type != TMPFS_MAGIC || (uint64_t)st.st_size < bytes)
		return -EINVAL;
	p->staging = dedup_map(fd, bytes, 0);
	return p->staging ? 0 : -ENOMEM;
}

static void leave_siblings(struct peer *p)
{
	struct peer *sibling;
	while ((sibling = next_sibling(p, p->server->peers)))
		destroy(sibling);
}

static int welcome(struct peer *p, bool resumed)
{
	struct dedup_server *s = p->server;
	struct protocol_header h = header(PROTOCOL_WELCOME, 1, p->hello_number);
	struct protocol_welcome body = {
		.version = PROTOCOL_VERSION,
		.flags = resumed ? PROTOCOL_RESUMED : 0,
		.most_references = p->hello.nr_pages,
		.client = p->client,
	};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec parts[2] = {{&h, sizeof(h)}, {&body, sizeof(body)}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	int fd = pool_readonly_fd(broker_pool(s->broker, p->pool));
	memcpy(body.salt, broker_salt(s->broker, p->pool), sizeof(body.salt));
	if (!resumed) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	ssize_t sent = dedup_send(p->fd, &message);
	return sent < 0 ? (int)sent : 0;
}

/* Finds the pool and joins it. Returns -EAGAIN while the pool may still come. */
static int join(struct peer *p, struct error *err)
{
	struct dedup_server *s = p->server;
	bool resumed;
	int ret = server_pool(s, &p->hello, p->pool_fd, &p->pool, &resumed, err);
	if (ret)
		return ret;
	/* A process has one connection to a pool: this one. */
	for (struct peer *sibling = next_sibling(p, s->peers), *next; sibling; sibling = next) {
		next = next_sibling(p, sibling->next);
		if (sibling->fd >= 0)
			hang_up(sibling); /* which may be its end */
	}
	struct peer *former = next_sibling(p, s->peers);
	if (former && broker_inherits(s->broker, former->client))
		return -EAGAIN;
	ret = broker_join(s->broker, p->pool, p->hello.nr_pages, &p->client);
	if (ret)
		return error_set(err, -ret, "%s",
				 ret == -EINVAL ? "more memory than --guest-limit allows" : "there are too many guests");
	s->by_client[p->client] = p;
	ret = server_save(s);
	if (ret == 0)
		ret = welcome(p, resumed);
	if (ret)
		return error_set(err, -ret, "cannot be welcomed: %s", strerror(-ret));
	if (p->pool_fd >= 0)
		close(p->pool_fd);
	p->pool_fd = -1;
	p->state = resumed ? PEER_CLAIMING : PEER_SERVED;
	if (!resumed) {
		/* It has no pool of ours, so it maps nothing of ours. */
		leave_siblings(p);
		server_came(s, p->pool, &p->process);
	}
	log_debug("guest %s (process %d) joined domain %s as client %u%s", name_of(p), (int)p->process.pid, p->hello.domain,
		  p->client, resumed ? ", with its pool" : "");
	read_on(p);
	return 0;
}

/* Refuses a peer that could not join, and hangs up for good: it was given nothing. */
static void turn_away(struct peer *p, const struct error *err)
{
	refuse(p, err->code, err->text);
	destroy(p);
}

static int say_hello(struct peer *p, const struct protocol_header *h, const int fds[MOST_FDS], const char **why)
{
	memcpy(&p->hello, protocol_entries(h), sizeof(p->hello));
	p->hello_number = h->number;
	*why = "HELLO without a staging memfd that is sealed against shrinking and as large as it says";
	if (fds[0] < 0 || map_staging(p, fds[0], p->hello.nr_staging_pages) < 0)
		return -EINVAL;
	p->pool_fd = fds[1] >= 0 ? fcntl(fds[1], F_DUPFD_CLOEXEC, 0) : -1;
	p->state = PEER_WAITING;
	read_on(p);
	return 0;
}

/* --- questions of who may look --- */

static bool may_look(const struct peer *p)
{
	return p->process.uid == 0 || p->process.uid == geteuid();
}

static int answer_clients(struct peer *p, const struct protocol_header *h)
{
	struct protocol_client clients[96];
	uint32_t from = ((const struct protocol_asked *)protocol_entries(h))->client, nr = 0,
		 most = protocol_batch(PROTOCOL_CLIENTS);
	while (nr < most && from < BROKER_MOST_CLIENTS && broker_next_client(p->server->broker, (uint16_t)from, &clients[nr])) {
		const struct peer *other = p->server->by_client[clients[nr].client];
		if (other) {
			clients[nr].pid = (uint32_t)other->process.pid;
			memcpy(clients[nr].guest, other->hello.guest, sizeof(clients[nr].guest));
		}
		from = clients[nr++].client + 1;
	}
	return reply(p, header(PROTOCOL_CLIENTS, nr, h->number), clients, nr * sizeof(clients[0]));
}

static void answer_sharing(struct dedup_map *map)
{
	struct peer *p = container_of(map, struct peer, map);
	const struct sharing *s = dedup_map_result(map);
	struct {
		struct protocol_sharing sharing;
		struct protocol_sharing_with with[(PROTOCOL_MOST_BYTES - 16 - sizeof(struct protocol_sharing)) / 8];
	} body = {.sharing = {.pages = s->pages,
			      .slots = s->slots,
			      .within = s->within,
			      .across = s->across,
			      .saved = s->saved,
			      .divergence = s->divergence}};
	uint32_t nr = 0, most = protocol_batch(PROTOCOL_SHARING);
	for (uint32_t c = 0; c < BROKER_MOST_CLIENTS && nr < most; c++)
		if (s->with[c])
			body.with[nr++] = (struct protocol_sharing_with){.client = c, .slots = s->with[c]};
	dedup_map_close(map);
	if (reply(p, header(PROTOCOL_SHARING, nr, p->map_number), &body, sizeof(body.sharing) + nr * sizeof(body.with[0])) != 0)
		hang_up(p);
}

static int ask_about_sharing(struct peer *p, const struct protocol_header *h, const char **why)
{
	const struct protocol_asked *asked = protocol_entries(h);
	*why = "a second question before the first was answered";
	if (p->map.server)
		return -EBUSY;
	if (dedup_map_open(p->server, &p->map) != 0)
		return -ENOMEM;
	p->map_number = h->number;
	for (uint32_t i = 0; i < h->nr; i++)
		dedup_map_add_client(&p->map, asked[i].client);
	dedup_map_start(&p->map, answer_sharing);
	return 0;
}

static int answer_status(struct peer *p, const struct protocol_header *h)
{
	struct protocol_status status;
	dedup_server_status(p->server, &status);
	return reply(p, header(PROTOCOL_STATUS, 1, h->number), &status, sizeof(status));
}

/* --- messages of a VMM that has joined --- */

static int take_claims(struct peer *p, const struct protocol_header *h)
{
	struct dedup_server *s = p->server;
	const struct protocol_claim *claims = protocol_entries(h);
	uint32_t verdicts[1024];
	const struct peer *sibling = next_sibling(p, s->peers);
	bool awaited = server_awaits(s, p->pool, &p->process);
	for (uint32_t i = 0; i < h->nr; i++) {
		verdicts[i] = PROTOCOL_GONE;
		if (sibling)
			verdicts[i] = broker_claim(s->broker, p->client, sibling->client, claims[i].slot, claims[i].nr);
		if (verdicts[i] == PROTOCOL_GONE && awaited)
			verdicts[i] = broker_claim(s->broker, p->client, BROKER_NONE, claims[i].slot, claims[i].nr);
		/* To say that it is gone would be wrong: what was claimed is undone, and the VMM tries again. */
		if (verdicts[i] == PROTOCOL_LATER)
			return -ENOMEM;
	}
	return reply_verdicts(p, h->number, verdicts, h->nr);
}

static int end_claims(struct peer *p, const struct protocol_header *h)
{
	p->state = PEER_SERVED;
	leave_siblings(p);
	server_came(p->server, p->pool, &p->process);
	return reply_verdicts(p, h->number, NULL, 0);
}

static int take_offer(struct peer *p, const struct protocol_header *h, const char **why)
{
	uint32_t verdicts[BROKER_MOST_BATCH];
	*why = "a page beyond the guest's memory";
	int ret = broker_offer(p->server->broker, p->client, protocol_entries(h), h->nr, verdicts);
	return ret ? ret : reply_verdicts(p, h->number, verdicts, h->nr);
}

static int take_content(struct peer *p, const struct protocol_header *h, const char **why)
{
	struct dedup_server *s = p->server;
	const struct protocol_content *contents = protocol_entries(h);
	uint32_t verdicts[BROKER_MOST_BATCH], first = contents[0].staging;
	*why = "contents beyond its staging memory";
	if (first >= p->hello.nr_staging_pages || h->nr > p->hello.nr_staging_pages - first)
		return -EINVAL;
	memcpy(s->contents, p->staging + (size_t)first * PAGE_HASH_BYTES, (size_t)h->nr * PAGE_HASH_BYTES);
	*why = "a page beyond the guest's memory";
	int ret = broker_content(s->broker, p->client, contents, h->nr, s->contents, verdicts);
	if (ret)
		return ret;
	ret = reply_verdicts(p, h->number, verdicts, h->nr);
	server_deliver_twins(s);
	return ret;
}

static int take_release(struct peer *p, const struct protocol_header *h, const char **why)
{
	*why = "a release of what it does not have";
	int ret = broker_release(p->server->broker, p->client, protocol_entries(h), h->nr);
	server_has_holes(p->server);
	return ret;
}

static int handle_joined(struct peer *p, const struct protocol_header *h, const char **why)
{
	*why = "a message at a time when it has no place";
	if (p->state == PEER_CLAIMING && h->type == PROTOCOL_CLAIM)
		return take_claims(p, h);
	if (p->state == PEER_CLAIMING && h->type == PROTOCOL_CLAIMED)
		return end_claims(p, h);
	if (h->type == PROTOCOL_RELEASE && (p->state == PEER_CLAIMING || p->state == PEER_SERVED))
		return take_release(p, h, why);
	if (p->state != PEER_SERVED)
		return -EPROTO;
	switch (h->type) {
	case PROTOCOL_OFFER:
		return take_offer(p, h, why);
	case PROTOCOL_CONTENT:
		return take_content(p, h, why);
	case PROTOCOL_RETRACT:
		broker_retract(p->server->broker, p->client, protocol_entries(h), h->nr);
		return 0;
	default:
		return -EPROTO;
	}
}

static int handle(struct peer *p, const struct protocol_header *h, const int fds[MOST_FDS], const char **why)
{
	*why = "not for everybody to ask";
	if (h->type >= PROTOCOL_ASK_STATUS && !may_look(p))
		return -EPERM;
	switch (h->type) {
	case PROTOCOL_ASK_STATUS:
		return answer_status(p, h);
	case PROTOCOL_ASK_CLIENTS:
		return answer_clients(p, h);
	case PROTOCOL_ASK_SHARING:
		return ask_about_sharing(p, h, why);
	case PROTOCOL_HELLO:
		*why = "HELLO twice";
		return p->state == PEER_NEW ? say_hello(p, h, fds, why) : -EPROTO;
	default:
		return handle_joined(p, h, why);
	}
}

/* --- reading --- */

static void take_fds(struct msghdr *message, int fds[MOST_FDS])
{
	unsigned nr = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (nr < MOST_FDS)
				fds[nr++] = fd;
			else
				close(fd);
		}
	}
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct peer *p = container_of(w, struct peer, readable);
	struct {
		struct protocol_header header;
		uint8_t rest[PROTOCOL_MOST_BYTES];
	} buffer;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MOST_FDS * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = &buffer, .iov_len = PROTOCOL_MOST_BYTES};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	int fds[MOST_FDS] = {-1, -1};
	const char *why = "longer than a message may be, or with too many descriptors";
	(void)loop, (void)revents;

	ssize_t len = dedup_receive(p->fd, &message);
	if (len == -EAGAIN)
		return;
	if (len <= 0) {
		hang_up(p);
		return;
	}
	take_fds(&message, fds);
	int ret = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : protocol_check(&buffer, (size_t)len, 0, &why);
	if (ret == 0)
		ret = handle(p, &buffer.header, fds, &why);
	for (unsigned i = 0; i < MOST_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (ret) {
		refuse(p, -ret, ret == -ENOMEM ? "the daemon is out of memory" : why);
		hang_up(p);
	} else if (p->state == PEER_WAITING) {
		struct error err;
		ret = join(p, &err);
		if (ret && ret != -EAGAIN)
			turn_away(p, &err);
	}
}

/* --- all of them --- */

bool peers_continue(struct dedup_server *s)
{
	struct peer *next;
	for (struct peer *p = s->peers; p; p = next) {
		struct error err;
		next = p->next;
		if (p->state == PEER_WAITING) {
			int ret = join(p, &err);
			if (ret && ret != -EAGAIN) {
				turn_away(p, &err);
				continue;
			}
			/* Siblings may have gone. */
			if (ret == 0)
				return true;
		}
		if (p->fd >= 0)
			read_on(p);
	}
	return false;
}

bool peer_of_client(const struct dedup_server *s, uint16_t client, uint16_t *pool, const struct process **process,
		    const char **guest)
{
	const struct peer *p = s->by_client[client];
	if (!p)
		return false;
	*pool = p->pool;
	*process = &p->process;
	*guest = p->hello.guest;
	return true;
}

const struct process *peer_next_process(const struct dedup_server *s, uint16_t pool, const struct peer **at)
{
	for (*at = *at ? (*at)->next : s->peers; *at; *at = (*at)->next)
		if (is_joined(*at) && (*at)->pool == pool)
			return &(*at)->process;
	return NULL;
}

static bool has_too_many(const struct dedup_server *s, pid_t pid)
{
	unsigned nr = 0;
	for (const struct peer *p = s->peers; p; p = p->next)
		nr += p->process.pid == pid;
	return nr >= MOST_CONNECTIONS;
}

void peer_accept(struct dedup_server *s, int fd)
{
	struct peer *p = mem_calloc(1, sizeof(*p));
	/* Who has connected may have ended already. */
	if (!p || process_of_peer(fd, &p->process) < 0) {
		close(fd);
		mem_free(p);
		return;
	}
	if (has_too_many(s, p->process.pid)) {
		log_guest_error("process %d has too many connections", (int)p->process.pid);
		process_close(&p->process);
		close(fd);
		mem_free(p);
		return;
	}
	p->server = s;
	p->fd = fd;
	p->pool_fd = -1;
	p->client = BROKER_NONE;
	p->next = s->peers;
	s->peers = p;
	ev_io_init(&p->readable, on_readable, fd, EV_READ);
	ev_io_init(&p->writable, on_writable, fd, EV_WRITE);
	ev_io_init(&p->exited, on_exit_of_process, p->process.fd, EV_READ);
	ev_io_start(s->loop, &p->readable);
	ev_io_start(s->loop, &p->exited);
}

void peers_destroy(struct dedup_server *s)
{
	struct peer *next;
	for (struct peer *p = s->peers; p; p = next) {
		next = p->next;
		destroy(p);
	}
}
