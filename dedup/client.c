/*
 * See client.h.
 *
 *   (no connection) ──connect──> GREETING ──WELCOME, not resumed──> OPEN
 *          ^                        └──────WELCOME, resumed──> CLAIMING ──claimed──> OPEN
 *          └────────── lose: end of file, an error, nonsense from the daemon ───────────┘
 *
 * The daemon answers questions in their order, so they stand in a queue of WINDOW places; each place has its own part of the staging memory, and pages
 * of its question, which are handed out again with the verdicts.
 *
 * Releases and retractions are collected, and go out before the next question, or with dedup_client_flush(). What is to be sent while the
 * socket is full waits in a buffer of fixed size; should that be full, too, the connection is given up: the claims of the next one say all
 * that would have been said.
 *
 * Invariant: a release that was accepted is sent before any later message, or never on this connection.
 */
#include "dedup/client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dedup/os.h"
#include "memmgr/os.h"

#define WINDOW 4u /* questions without an answer */
#define STAGING_PAGES (WINDOW * DEDUP_CLIENT_CONTENTS)
#define WAITING_BYTES (256u << 10)

_Static_assert(DEDUP_CLIENT_BATCH <= 512, "what a message may carry");

enum state { CLIENT_CLOSED, CLIENT_GREETING, CLIENT_CLAIMING, CLIENT_OPEN };

struct question {
	uint16_t type;
	uint32_t nr;
	uint64_t number;
	uint32_t pages[DEDUP_CLIENT_BATCH];
};

/* A message that is being put together. */
struct outgoing {
	struct protocol_header header;
	union {
		struct protocol_release releases[DEDUP_CLIENT_BATCH];
		struct protocol_retract retracts[DEDUP_CLIENT_BATCH];
	};
};

struct dedup_client {
	enum state state;
	int fd, pool_fd, staging_fd;
	uint8_t *staging;
	struct sockaddr_un address;
	struct protocol_hello hello;
	struct page_hasher hasher;
	uint64_t number; /* of the last question */
	struct question questions[WINDOW];
	unsigned first, nr_questions;
	struct outgoing releases, retracts;
	/* Messages that the socket had no room for, each after its length. */
	uint8_t waiting[WAITING_BYTES];
	size_t waiting_from, waiting_to;
	union {
		struct protocol_header header;
		uint8_t bytes[PROTOCOL_MOST_BYTES];
	} received;
	uint32_t twin_pages[DEDUP_CLIENT_BATCH], twin_slots[DEDUP_CLIENT_BATCH];
	char reason[PROTOCOL_TEXT_BYTES];
};

/* --- connection --- */

/* Returns why. */
static int lose(struct dedup_client *c, int why)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->state = CLIENT_CLOSED;
	c->nr_questions = 0;
	c->releases.header.nr = c->retracts.header.nr = 0;
	c->waiting_from = c->waiting_to = 0;
	return why;
}

/* Sends one message with its descriptors. Returns 0 or -errno. */
static int send_now(struct dedup_client *c, const void *message, size_t len, const int fds[], size_t nr_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec part = {.iov_base = (void *)message, .iov_len = len};
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1};
	if (nr_fds) {
		h.msg_control = control.bytes;
		h.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&h);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
	}
	ssize_t sent = dedup_send(c->fd, &h);
	return sent < 0 ? (int)sent : 0;
}

static int send_waiting(struct dedup_client *c)
{
	while (c->waiting_from < c->waiting_to) {
		uint32_t len;
		memcpy(&len, c->waiting + c->waiting_from, sizeof(len));
		int ret = send_now(c, c->waiting + c->waiting_from + sizeof(len), len, NULL, 0);
		if (ret == -EAGAIN)
			return 0;
		if (ret)
			return lose(c, ret);
		c->waiting_from += sizeof(len) + len;
	}
	c->waiting_from = c->waiting_to = 0;
	return 0;
}

/* In order: behind what waits. */
static int send_or_wait(struct dedup_client *c, const void *message, size_t message_len)
{
	uint32_t len = (uint32_t)message_len;
	int ret = c->waiting_to ? -EAGAIN : send_now(c, message, len, NULL, 0);
	if (ret == 0)
		return 0;
	if (ret != -EAGAIN)
		return lose(c, ret);
	if (len + sizeof(len) > sizeof(c->waiting) - c->waiting_to)
		return lose(c, -ENOBUFS);
	memcpy(c->waiting + c->waiting_to, &len, sizeof(len));
	memcpy(c->waiting + c->waiting_to + sizeof(len), message, len);
	c->waiting_to += sizeof(len) + len;
	return 0;
}

static int send_collected(struct dedup_client *c, struct outgoing *o, enum protocol_type type, size_t size)
{
	if (!o->header.nr)
		return 0;
	o->header.type = (uint16_t)type;
	size_t len = sizeof(o->header) + o->header.nr * size;
	int ret = send_or_wait(c, o, len);
	o->header.nr = 0;
	return ret;
}

int dedup_client_flush(struct dedup_client *c)
{
	if (c->fd < 0)
		return -ENOTCONN;
	int ret = send_waiting(c);
	if (ret == 0)
		ret = send_collected(c, &c->releases, PROTOCOL_RELEASE, sizeof(struct protocol_release));
	if (ret == 0)
		ret = send_collected(c, &c->retracts, PROTOCOL_RETRACT, sizeof(struct protocol_retract));
	return ret;
}

int dedup_client_connect(struct dedup_client *c)
{
	struct {
		struct protocol_header header;
		struct protocol_hello hello;
	} greeting = {.header = {.type = PROTOCOL_HELLO, .nr = 1}, .hello = c->hello};
	int fds[2] = {c->staging_fd, c->pool_fd};
	if (c->fd >= 0)
		return -EALREADY;
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return -errno;
	if (connect(c->fd, (const struct sockaddr *)&c->address, sizeof(c->address)) < 0)
		return lose(c, -errno);
	int ret = send_now(c, &greeting, sizeof(greeting), fds, c->pool_fd >= 0 ? 2 : 1);
	if (ret)
		return lose(c, ret);
	c->state = CLIENT_GREETING;
	return 0;
}

void dedup_client_hang_up(struct dedup_client *c)
{
	lose(c, 0);
}

int dedup_client_fd(const struct dedup_client *c)
{
	return c->fd;
}

bool dedup_client_wants_to_write(const struct dedup_client *c)
{
	return c->waiting_from < c->waiting_to;
}

int dedup_client_pool_fd(const struct dedup_client *c)
{
	return c->pool_fd;
}

const struct page_hasher *dedup_client_hasher(const struct dedup_client *c)
{
	return &c->hasher;
}

/* --- what comes --- */

static int take_welcome(struct dedup_client *c, int fd, struct dedup_event *event)
{
	const struct protocol_welcome *welcome = protocol_entries(&c->received);
	bool resumed = welcome->flags & PROTOCOL_RESUMED;
	if (c->state != CLIENT_GREETING || welcome->version != PROTOCOL_VERSION || resumed == (fd >= 0) ||
	    (resumed && c->pool_fd < 0))
		return -EPROTO;
	if (!resumed) {
		if (c->pool_fd >= 0)
			close(c->pool_fd);
		c->pool_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (c->pool_fd < 0)
			return -errno;
	}
	page_hasher_init(&c->hasher, welcome->salt);
	c->state = resumed ? CLIENT_CLAIMING : CLIENT_OPEN;
	*event = (struct dedup_event){.type = DEDUP_READY, .resumed = resumed};
	return 1;
}

static int take_answer(struct dedup_client *c, struct dedup_event *event)
{
	const struct protocol_header *h = &c->received.header;
	struct question *q = &c->questions[c->first];
	if (!c->nr_questions || h->number != q->number || h->nr != q->nr)
		return -EPROTO;
	c->first = (c->first + 1) % WINDOW;
	c->nr_questions--;
	*event = (struct dedup_event){
		.type = q->type == PROTOCOL_CLAIM || q->type == PROTOCOL_CLAIMED ? DEDUP_CLAIMS : DEDUP_ANSWERS,
		.of_content = q->type == PROTOCOL_CONTENT,
		.nr = q->nr,
		.pages = q->pages,
		.verdicts = protocol_entries(h),
	};
	return 1;
}

static int take_twins(struct dedup_client *c, struct dedup_event *event)
{
	const struct protocol_header *h = &c->received.header;
	const struct protocol_twin *twins = protocol_entries(h);
	for (uint32_t i = 0; i < h->nr; i++) {
		c->twin_pages[i] = twins[i].page;
		c->twin_slots[i] = twins[i].slot;
		if (twins[i].page >= c->hello.nr_pages)
			return -EPROTO;
	}
	*event = (struct dedup_event){.type = DEDUP_TWINS, .nr = h->nr, .pages = c->twin_pages, .verdicts = c->twin_slots};
	return 1;
}

static int take_refusal(struct dedup_client *c)
{
	const struct protocol_refused *refused = protocol_entries(&c->received);
	memcpy(c->reason, refused->text, sizeof(c->reason) - 1);
	c->reason[sizeof(c->reason) - 1] = '\0';
	return -ECONNREFUSED;
}

int dedup_client_receive(struct dedup_client *c, struct dedup_event *event, const char **why)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {.iov_base = &c->received, .iov_len = sizeof(c->received)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	const char *what;
	int fd = -1, ret;
	*event = (struct dedup_event){.type = DEDUP_NOTHING};
	c->reason[0] = '\0';
	if (why)
		*why = c->reason;
	if (c->fd < 0)
		return -ENOTCONN;
	ssize_t len = dedup_receive(c->fd, &message);
	if (len == -EAGAIN)
		return 0;
	if (len <= 0)
		return lose(c, len ? (int)len : -ECONNRESET);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	ret = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EPROTO : protocol_check(&c->received, (size_t)len, 1, &what);
	if (ret == 0)
		switch (c->received.header.type) {
		case PROTOCOL_WELCOME:
			ret = take_welcome(c, fd, event);
			break;
		case PROTOCOL_ANSWER:
			ret = take_answer(c, event);
			break;
		case PROTOCOL_TWIN:
			ret = take_twins(c, event);
			break;
		case PROTOCOL_REFUSED:
			ret = take_refusal(c);
			break;
		default:
			ret = -EPROTO;
		}
	if (fd >= 0)
		close(fd);
	return ret < 0 ? lose(c, ret) : ret;
}

/* --- what goes --- */

static unsigned places(const struct dedup_client *c)
{
	return WINDOW - c->nr_questions;
}

unsigned dedup_client_room(const struct dedup_client *c)
{
	return c->state == CLIENT_OPEN && !dedup_client_wants_to_write(c) ? places(c) : 0;
}

/* The place of the next question. */
static unsigned next_place(const struct dedup_client *c)
{
	return (c->first + c->nr_questions) % WINDOW;
}

static int ask(struct dedup_client *c, enum protocol_type type, void *message, const void *entries, size_t nr, size_t size)
{
	struct protocol_header *h = message;
	struct question *q = &c->questions[next_place(c)];
	int ret = dedup_client_flush(c);
	if (ret)
		return ret;
	*h = (struct protocol_header){.type = (uint16_t)type, .nr = (uint32_t)nr, .number = ++c->number};
	if (nr)
		memcpy(h + 1, entries, nr * size);
	ret = send_or_wait(c, message, sizeof(*h) + nr * size);
	if (ret)
		return ret;
	q->type = (uint16_t)type;
	q->nr = (uint32_t)nr;
	q->number = c->number;
	c->nr_questions++;
	return 0;
}

int dedup_client_offer(struct dedup_client *c, const struct protocol_offer offers[], size_t nr)
{
	struct {
		struct protocol_header header;
		struct protocol_offer offers[DEDUP_CLIENT_BATCH];
	} message;
	if (c->fd < 0)
		return -ENOTCONN;
	if (!dedup_client_room(c))
		return -EAGAIN;
	if (nr == 0 || nr > DEDUP_CLIENT_BATCH)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++)
		c->questions[next_place(c)].pages[i] = offers[i].page;
	return ask(c, PROTOCOL_OFFER, &message, offers, nr, sizeof(*offers));
}

int dedup_client_send(struct dedup_client *c, const uint32_t pages[], const void *const contents[], size_t nr)
{
	struct {
		struct protocol_header header;
		struct protocol_content contents[DEDUP_CLIENT_CONTENTS];
	} message;
	struct protocol_content entries[DEDUP_CLIENT_CONTENTS];
	unsigned place = next_place(c);
	if (c->fd < 0)
		return -ENOTCONN;
	if (!dedup_client_room(c))
		return -EAGAIN;
	if (nr == 0 || nr > DEDUP_CLIENT_CONTENTS)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		uint32_t at = place * DEDUP_CLIENT_CONTENTS + (uint32_t)i;
		memcpy(c->staging + (size_t)at * PAGE_HASH_BYTES, contents[i], PAGE_HASH_BYTES);
		entries[i] = (struct protocol_content){.page = pages[i], .staging = at};
		c->questions[place].pages[i] = pages[i];
	}
	return ask(c, PROTOCOL_CONTENT, &message, entries, nr, sizeof(*entries));
}

void dedup_client_release(struct dedup_client *c, uint32_t slot, uint16_t nr, enum protocol_reason reason)
{
	struct outgoing *o = &c->releases;
	if (c->state != CLIENT_OPEN && c->state != CLIENT_CLAIMING)
		return; /* the next claims do not have it */
	o->releases[o->header.nr++] = (struct protocol_release){.slot = slot, .nr = nr, .reason = (uint16_t)reason};
	if (o->header.nr == DEDUP_CLIENT_BATCH)
		dedup_client_flush(c);
}

void dedup_client_rest(struct dedup_client *c)
{
	if (c->nr_questions == 0)
		mem_fallocate(c->staging_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)STAGING_PAGES * PAGE_HASH_BYTES);
}

void dedup_client_retract(struct dedup_client *c, uint32_t page, uint32_t hash_top)
{
	struct outgoing *o = &c->retracts;
	if (c->state != CLIENT_OPEN)
		return;
	o->retracts[o->header.nr++] = (struct protocol_retract){.page = page, .hash_top = hash_top};
	if (o->header.nr == DEDUP_CLIENT_BATCH)
		dedup_client_flush(c);
}

int dedup_client_claim(struct dedup_client *c, const struct protocol_claim claims[], size_t nr)
{
	struct {
		struct protocol_header header;
		struct protocol_claim claims[DEDUP_CLIENT_BATCH];
	} message;
	if (c->fd < 0)
		return -ENOTCONN;
	if (c->state != CLIENT_CLAIMING || nr == 0 || nr > DEDUP_CLIENT_BATCH)
		return -EINVAL;
	if (!places(c) || dedup_client_wants_to_write(c))
		return -EAGAIN;
	for (size_t i = 0; i < nr; i++)
		c->questions[next_place(c)].pages[i] = claims[i].slot;
	return ask(c, PROTOCOL_CLAIM, &message, claims, nr, sizeof(*claims));
}

int dedup_client_claimed(struct dedup_client *c)
{
	struct protocol_header message;
	if (c->fd < 0)
		return -ENOTCONN;
	if (c->state != CLIENT_CLAIMING)
		return -EINVAL;
	if (!places(c) || dedup_client_wants_to_write(c))
		return -EAGAIN;
	int ret = ask(c, PROTOCOL_CLAIMED, &message, NULL, 0, 0);
	if (ret == 0)
		c->state = CLIENT_OPEN;
	return ret;
}

/* --- life --- */

static int make_staging(struct dedup_client *c)
{
	size_t bytes = (size_t)STAGING_PAGES * PAGE_HASH_BYTES;
	c->staging_fd = dedup_memfd("pagoda-staging");
	if (c->staging_fd < 0)
		return c->staging_fd;
	int ret = dedup_set_size(c->staging_fd, (off_t)bytes);
	if (ret)
		return ret;
	if (fcntl(c->staging_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->staging_fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	c->staging = at;
	madvise(at, bytes, MADV_DONTDUMP);
	return 0;
}

int dedup_client_create(const struct dedup_client_settings *settings, struct dedup_client **client, struct error *err)
{
	struct dedup_client *c = mem_calloc(1, sizeof(*c));
	int ret;
	if (!c)
		return error_set(err, ENOMEM, "shared pages: out of memory");
	c->fd = c->pool_fd = c->staging_fd = -1;
	c->address.sun_family = AF_UNIX;
	c->hello = (struct protocol_hello){.version = PROTOCOL_VERSION,
					   .nr_pages = settings->nr_pages,
					   .nr_staging_pages = STAGING_PAGES,
					   .node = settings->node};
	strncpy(c->address.sun_path, settings->path, sizeof(c->address.sun_path) - 1);
	strncpy(c->hello.domain, settings->domain, sizeof(c->hello.domain) - 1);
	strncpy(c->hello.guest, settings->guest, sizeof(c->hello.guest) - 1);
	if (strcmp(c->address.sun_path, settings->path) != 0 || strcmp(c->hello.domain, settings->domain) != 0 ||
	    strcmp(c->hello.guest, settings->guest) != 0 || !protocol_is_name(c->hello.domain) || !protocol_is_name(c->hello.guest))
		ret = error_set(
			err, EINVAL,
			"shared pages: domain \"%.63s\" and guest \"%.63s\" need names of letters, digits and ._-, up to 63",
			settings->domain, settings->guest);
	else
		ret = make_staging(c);
	if (ret && ret != -EINVAL)
		error_set(err, -ret, "shared pages: no staging memory of %u MiB: %s", STAGING_PAGES / 256, strerror(-ret));
	if (ret) {
		dedup_client_destroy(c);
		return ret;
	}
	*client = c;
	return 0;
}

void dedup_client_destroy(struct dedup_client *c)
{
	if (!c)
		return;
	lose(c, 0);
	if (c->staging)
		munmap(c->staging, (size_t)STAGING_PAGES * PAGE_HASH_BYTES);
	if (c->staging_fd >= 0)
		close(c->staging_fd);
	if (c->pool_fd >= 0)
		close(c->pool_fd);
	mem_free(c);
}
