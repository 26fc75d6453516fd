/*
 * The dedup service: its socket, its pools, and their way from one daemon to the next.
 *
 * A daemon that starts reads which pools its predecessor had, and which processes may map slots of them (dedup_state.h). Those that live are
 * awaited:
 *
 *   known, awaited ── a VMM hands the file over (server_pool) ──> open, unsettled ── all awaited came or ended ──> settled
 *        │                                                        (settle_if_all_came)
 *        └── all ended, or PATIENCE_SECONDS passed while somebody waited ──> a new pool; the old one stays as it is to those who map it
 *
 * Invariants:
 *  1. No process gets a pool, or a slot, before it is written down (server_save before WELCOME).
 *  2. Nothing that was taken back is freed or overwritten while a process that may map it has neither come nor ended.
 */
#include "host/dedup_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "host/dedup_server_internal.h"
#include "memmgr/os.h"

#define PATIENCE_SECONDS 10.
#define ACCEPT_RETRY_SECONDS 1.
#define WORK_SECONDS .01
#define TRIM_SECONDS .2
#define TRIM_HOLES 64u
#define BACKLOG 128

/* --- pools from before --- */

/* Invariant 2. */
static void settle_if_all_came(struct record *r)
{
	struct dedup_server *s = r->server;
	if (r->awaited || !broker_pool(s->broker, r->pool))
		return;
	broker_settle_pool(s->broker, r->pool);
	server_has_work(s);
}

static void forget_awaited(struct record *r, struct awaited *a)
{
	struct awaited **at = &r->awaited;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	ev_io_stop(r->server->loop, &a->exited);
	process_close(&a->process);
	mem_free(a);
	if (r->awaited)
		return;
	ev_timer_stop(r->server->loop, &r->patience);
	settle_if_all_came(r);
	server_has_work(r->server); /* whoever waited for the pool goes on without it */
}

static void on_awaited_exit(struct ev_loop *loop, ev_io *w, int revents)
{
	struct awaited *a = container_of(w, struct awaited, exited);
	struct record *r = a->record;
	(void)loop, (void)revents;
	log_debug("process %d, which had shared pages of the daemon before, has ended", (int)a->process.pid);
	forget_awaited(r, a);
	if (server_save(r->server))
		log_warning("the list of processes cannot be written; it will be with the next change");
}

static void on_patience_end(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct record *r = container_of(w, struct record, patience);
	(void)revents;
	ev_timer_stop(loop, w);
	r->impatient = true;
	log_warning("domain %s: no VMM has brought the pool of the daemon before back in %.0f s; making a new one",
		    broker_domain(r->server->broker, r->pool), PATIENCE_SECONDS);
	server_has_work(r->server);
}

static struct record *make_record(struct dedup_server *s, uint16_t pool)
{
	if (s->records[pool])
		return s->records[pool];
	struct record *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->server = s;
	r->pool = pool;
	ev_timer_init(&r->patience, on_patience_end, PATIENCE_SECONDS, 0.);
	s->records[pool] = r;
	return r;
}

static int await(struct record *r, const struct process *process)
{
	struct awaited *a = mem_calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->process = *process;
	a->record = r;
	a->next = r->awaited;
	r->awaited = a;
	ev_io_init(&a->exited, on_awaited_exit, process->fd, EV_READ);
	ev_io_start(r->server->loop, &a->exited);
	return 0;
}

static int read_record(struct dedup_server *s, const struct state_pool *from)
{
	uint16_t pool;
	int ret = broker_find_pool(s->broker, from->domain, from->node, &pool);
	struct record *r = ret ? NULL : make_record(s, pool);
	if (!r)
		return ret ? ret : -ENOMEM;
	r->identity = from->identity;
	for (size_t i = 0; i < from->nr_processes; i++) {
		struct process process;
		ret = process_find(from->processes[i].pid, from->processes[i].start, &process);
		if (ret == -ESRCH)
			continue;
		if (ret == 0)
			ret = await(r, &process);
		if (ret)
			return ret;
	}
	r->known = r->awaited != NULL;
	return 0;
}

bool server_awaits(const struct dedup_server *s, uint16_t pool, const struct process *process)
{
	for (const struct awaited *a = s->records[pool]->awaited; a; a = a->next)
		if (a->process.pid == process->pid && a->process.start == process->start)
			return true;
	return false;
}

void server_came(struct dedup_server *s, uint16_t pool, const struct process *process)
{
	struct record *r = s->records[pool];
	struct awaited *next;
	/* It may be written down twice, once for each of its connections. */
	for (struct awaited *a = r->awaited; a; a = next) {
		next = a->next;
		if (a->process.pid == process->pid && a->process.start == process->start)
			forget_awaited(r, a);
	}
	settle_if_all_came(r);
}

/* --- pools --- */

int server_pool(struct dedup_server *s, const struct protocol_hello *hello, int fd, uint16_t *pool, bool *resumed,
		struct error *err)
{
	int node = s->merge_across_nodes ? -1 : hello->node;
	*resumed = false;
	int ret = broker_find_pool(s->broker, hello->domain, node, pool);
	struct record *r = ret ? NULL : make_record(s, *pool);
	if (!r)
		return error_set(err, ret ? -ret : ENOMEM, "domain %s: %s", hello->domain,
				 ret == -ENOSPC ? "there are too many domains" : "out of memory");
	if (broker_pool(s->broker, *pool)) {
		struct stat st;
		*resumed = fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == r->identity.inode && st.st_dev == r->identity.device;
		return 0;
	}
	if (r->known && fd >= 0) {
		struct error why;
		ret = broker_take_back_pool(s->broker, *pool, fd, &r->identity, &why);
		if (ret == 0) {
			log_info("domain %s: its pool is back, brought by guest %s", hello->domain, hello->guest);
			*resumed = true;
			ev_timer_stop(s->loop, &r->patience);
			server_has_work(s);
			return 0;
		}
		log_warning("domain %s, guest %s: %s", hello->domain, hello->guest, why.text);
	}
	if (r->known && r->awaited && !r->impatient) {
		if (!ev_is_active(&r->patience))
			ev_timer_start(s->loop, &r->patience);
		return -EAGAIN;
	}
	ret = broker_open_pool(s->broker, *pool, err);
	if (ret)
		return ret;
	/* What is known of the old one is of no use: nobody else can bring it, and whoever maps it needs nothing from us. */
	while (r->awaited)
		forget_awaited(r, r->awaited);
	r->identity = *pool_identity(broker_pool(s->broker, *pool));
	r->known = true;
	return 0;
}

int server_save(struct dedup_server *s)
{
	size_t nr = 0, nr_processes;
	int ret = -ENOMEM;
	struct state_pool *pools = mem_calloc(BROKER_MOST_POOLS, sizeof(*pools));
	for (uint16_t i = 0; pools && i < BROKER_MOST_POOLS && s->records[i]; i++) {
		struct record *r = s->records[i];
		struct state_pool *p = &pools[nr];
		const struct peer *at = NULL;
		const struct process *process;
		if (!r->known)
			continue;
		nr_processes = 0;
		for (struct awaited *a = r->awaited; a; a = a->next)
			nr_processes++;
		while (peer_next_process(s, i, &at))
			nr_processes++;
		if (!nr_processes && !broker_pool(s->broker, i))
			continue;
		p->processes = mem_calloc(nr_processes + 1, sizeof(*p->processes));
		if (!p->processes)
			goto out;
		nr++;
		memcpy(p->domain, broker_domain(s->broker, i), sizeof(p->domain));
		p->node = broker_node(s->broker, i);
		p->identity = r->identity;
		for (struct awaited *a = r->awaited; a; a = a->next)
			p->processes[p->nr_processes++] = (struct state_process){a->process.pid, a->process.start};
		for (at = NULL; (process = peer_next_process(s, i, &at));)
			p->processes[p->nr_processes++] = (struct state_process){process->pid, process->start};
	}
	if (pools)
		ret = dedup_state_save(&s->state, pools, nr);
out:
	for (size_t i = 0; pools && i < nr; i++)
		mem_free(pools[i].processes);
	mem_free(pools);
	return ret;
}

/* --- what goes on by itself --- */

void server_has_work(struct dedup_server *s)
{
	ev_idle_start(s->loop, &s->idle);
	ev_timer_again(s->loop, &s->work);
}

void server_has_holes(struct dedup_server *s)
{
	if (!ev_is_active(&s->trim))
		ev_timer_again(s->loop, &s->trim);
}

static void work(struct dedup_server *s)
{
	bool more = broker_work(s->broker);
	more |= peers_continue(s);
	more |= dedup_maps_continue(s);
	server_has_holes(s);
	if (more)
		return;
	ev_idle_stop(s->loop, &s->idle);
	ev_timer_stop(s->loop, &s->work);
}

static void on_idle(struct ev_loop *loop, ev_idle *w, int revents)
{
	(void)loop, (void)revents;
	work(container_of(w, struct dedup_server, idle));
}

static void on_work(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop, (void)revents;
	work(container_of(w, struct dedup_server, work));
}

static void on_trim(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct dedup_server *s = container_of(w, struct dedup_server, trim);
	(void)revents;
	if (!broker_trim(s->broker, TRIM_HOLES))
		ev_timer_stop(loop, w);
}

void server_deliver_twins(struct dedup_server *s)
{
	size_t nr;
	const struct broker_twin *twins = broker_twins(s->broker, &nr);
	for (size_t i = 0; i < nr; i++) {
		struct peer *peer = s->by_client[twins[i].client];
		if (peer && peer_tell_twin(peer, &twins[i]))
			continue;
		struct protocol_release back = {.slot = twins[i].slot, .nr = 1, .reason = PROTOCOL_DROPPED};
		broker_release(s->broker, twins[i].client, &back, 1);
	}
}

/* --- the socket --- */

static void on_acceptable(struct ev_loop *loop, ev_io *w, int revents)
{
	struct dedup_server *s = container_of(w, struct dedup_server, acceptor);
	(void)revents;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		peer_accept(s, fd);
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* Who waits is there all the time: without descriptors we look again later. */
	log_guest_error("%s: cannot accept a connection: %s", s->path, strerror(errno));
	ev_io_stop(loop, w);
	ev_timer_again(loop, &s->accept_again);
}

static void on_accept_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)revents;
	ev_timer_stop(loop, w);
	ev_io_start(loop, &container_of(w, struct dedup_server, accept_again)->acceptor);
}

static int listen_on(struct dedup_server *s, const char *path, struct error *err)
{
	struct stat st;
	/* What a daemon that was killed has left is in the way; that it is gone, its state's lock says. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	s->listen_fd = unix_socket_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, BACKLOG);
	if (s->listen_fd == -ENAMETOOLONG)
		return error_set(err, ENAMETOOLONG, "--socket %.60s...: longer than a socket's path may be", path);
	if (s->listen_fd < 0)
		return error_set(err, -s->listen_fd, "--socket %s: %s", path, strerror(-s->listen_fd));
	s->path = strdup(path);
	if (!s->path) {
		unlink(path);
		return error_set(err, ENOMEM, "out of memory");
	}
	ev_io_init(&s->acceptor, on_acceptable, s->listen_fd, EV_READ);
	ev_io_start(s->loop, &s->acceptor);
	return 0;
}

/* --- life --- */

int dedup_server_create(struct ev_loop *loop, const struct host_options *options, struct dedup_server **server, struct error *err)
{
	struct dedup_server *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "out of memory");
	s->loop = loop;
	s->listen_fd = -1;
	s->merge_across_nodes = options->merge_across_nodes;
	ev_timer_init(&s->accept_again, on_accept_again, 0., ACCEPT_RETRY_SECONDS);
	ev_idle_init(&s->idle, on_idle);
	ev_timer_init(&s->work, on_work, 0., WORK_SECONDS);
	ev_timer_init(&s->trim, on_trim, 0., TRIM_SECONDS);
	s->state.dir_fd = s->state.lock_fd = -1;
	int ret = dedup_state_open(options->state, &s->state, err);
	if (ret)
		goto failed;
	struct broker_settings settings = {
		.index_bytes = options->index_limit,
		.most_slots = options->pool_limit / PAGE_HASH_BYTES < POOL_MOST_SLOTS ? options->pool_limit / PAGE_HASH_BYTES
										      : POOL_MOST_SLOTS,
		.most_client_pages = (uint32_t)(options->guest_limit / PAGE_HASH_BYTES),
	};
	memcpy(settings.key, s->state.key, sizeof(settings.key));
	ret = broker_create(&settings, &s->broker, err);
	if (ret)
		goto failed;
	s->contents = aligned_alloc(4096, BROKER_MOST_BATCH * PAGE_HASH_BYTES);
	for (size_t i = 0; ret == 0 && i < s->state.nr_pools; i++)
		ret = read_record(s, &s->state.pools[i]);
	if (ret || !s->contents) {
		ret = error_set(err, ret ? -ret : ENOMEM, "%s: what the daemon before has left cannot be taken over: %s",
				options->state, strerror(ret ? -ret : ENOMEM));
		goto failed;
	}
	ret = listen_on(s, options->socket, err);
	if (ret)
		goto failed;
	*server = s;
	return 0;

failed:
	dedup_server_destroy(s);
	return ret;
}

void dedup_server_destroy(struct dedup_server *s)
{
	if (!s)
		return;
	if (s->listen_fd >= 0) {
		ev_io_stop(s->loop, &s->acceptor);
		close(s->listen_fd);
	}
	if (s->path)
		unlink(s->path);
	ev_timer_stop(s->loop, &s->accept_again);
	peers_destroy(s);
	while (s->maps) {
		struct dedup_map *map = s->maps;
		void (*dropped)(struct dedup_map *) = map->dropped;
		dedup_map_close(map);
		if (dropped)
			dropped(map);
	}
	for (uint16_t i = 0; i < BROKER_MOST_POOLS && s->records[i]; i++) {
		struct record *r = s->records[i];
		while (r->awaited) {
			struct awaited *a = r->awaited;
			r->awaited = a->next;
			ev_io_stop(s->loop, &a->exited);
			process_close(&a->process);
			mem_free(a);
		}
		ev_timer_stop(s->loop, &r->patience);
		mem_free(r);
	}
	ev_idle_stop(s->loop, &s->idle);
	ev_timer_stop(s->loop, &s->work);
	ev_timer_stop(s->loop, &s->trim);
	broker_destroy(s->broker);
	dedup_state_close(&s->state);
	free(s->contents);
	free(s->path);
	mem_free(s);
}

void dedup_server_set_across(struct dedup_server *s, bool across)
{
	s->merge_across_nodes = across;
}

bool dedup_server_across(const struct dedup_server *s)
{
	return s->merge_across_nodes;
}

bool dedup_server_is_used(const struct dedup_server *s)
{
	for (uint16_t i = 0; i < BROKER_MOST_POOLS && s->records[i]; i++) {
		const struct peer *at = NULL;
		if (s->records[i]->awaited || peer_next_process(s, i, &at))
			return true;
	}
	return false;
}

void dedup_server_status(const struct dedup_server *s, struct protocol_status *status)
{
	broker_status(s->broker, status);
	status->refused = s->refused;
}
