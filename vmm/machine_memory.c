/*
 * The machine and its memory manager: how a guest starts with one, stops when a page of its memory cannot be brought back, and goes
 * on.
 *
 *   running --hear: failed--> io-error      vCPUs are paused, device threads are not waited for: one may stand in that page's fault
 *   io-error --hear: recovered--> running   the manager tries again each second
 *   io-error --machine_resume: retry--> running --recheck: it did not help--> io-error
 *   io-error --machine_pause--> paused      then only machine_resume() ends it
 *   running, io-error, paused --hear: failed, the page is lost--> internal-error
 *   any --machine_reset, machine_quit: forget--> running, shutdown
 *
 * The main thread must not stand in such a fault itself, nor wait for ever for a thread that does: monitors would be dead. So what
 * touches guest RAM, and what waits for device threads, is done by a thread made for it (machine_memory_run), and waits for vCPUs
 * have an end (vcpus_pause). Both look now and then whether pages fail (machine_memory_wait_on). A wait that was left off is taken
 * up again by machine_settle() when the memory or the thread is back.
 *
 * A page that is forgotten reads as zero. A device that waits for it, for a write to its disk perhaps, would write zeros; so it is
 * let go only for a reset, which cannot do without. When the VMM ends, such a thread ends with the process, and writes nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "memmgr/node_binding.h"
#include "vmm/machine_internal.h"

#define RECHECK_S 1.5         /* the manager's own pace, and some more */
#define MOST_TRIES 500        /* slices in which pages were forgotten, and others failed: 10 s */
#define EVICT_NS 500000000ull /* one machine_memory_evict() */
#define EVICT_BYTES (2ull << 20)

/* --- threads of the memory manager call --- */

static void note(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	struct machine *m = container_of(owner, struct machine, managed.owner);
	struct machine_memory *managed = &m->managed;
	lock_take(&managed->lock);
	managed->failure = failure;
	snprintf(managed->detail, sizeof(managed->detail), "%s", detail);
	managed->news = true;
	lock_release(&managed->lock);
	ev_async_send(m->loop, &m->wake);
}

static void memory_failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	note(owner, failure, detail);
}

static void memory_recovered(struct memmgr_owner *owner)
{
	note(owner, MEMMGR_FAILURE_NONE, "");
}

/* --- life --- */

static void recheck(struct ev_loop *loop, ev_timer *timer, int events);

int machine_memory_create(struct machine *m, struct error *err)
{
	const struct config_memory *c = &m->config->memory;
	struct machine_memory *managed = &m->managed;
	lock_init(&managed->lock, LOCK_MEMORY_NEWS);
	ev_timer_init(&managed->recheck, recheck, RECHECK_S, 0);
	managed->last.time_ns = clock_now_ns();
	if (c->off) {
		error_set(&managed->why_none, ENOTSUP, "This guest has no memory manager: it was started with -memory manager=off");
		return 0;
	}
	managed->owner = (struct memmgr_owner){memory_failed, memory_recovered};
	struct memmgr_params params = {
		.ram = m->ram,
		.owner = &managed->owner,
		.settings = c->settings,
		.swap_directory = c->swap_directory,
		.swap_fd = c->swap_fd,
		.nr_handlers = c->nr_handlers,
	};
	struct error why = {.code = 0};
	int ret = memmgr_create(&params, &managed->mm, &why);
	if (ret == 0)
		return 0;
	managed->mm = NULL;
	if (!c->required && (ret == -ENOSYS || ret == -EPERM || ret == -EACCES)) {
		log_info("the guest's memory is not managed: %s", why.text);
		error_set(&managed->why_none, ENOTSUP, "This guest has no memory manager: %s", why.text);
		return 0;
	}
	return error_set(err, -ret, "%s%s", c->required ? "-memory: " : "", why.text);
}

/* Where the RAM of one guest node lies on the host. */
static int bind_node(struct machine *m, unsigned node, const struct config_binding *binding, struct error *err)
{
	static const enum numa_policy policies[] = {
		[CONFIG_POLICY_DEFAULT] = NUMA_POLICY_DEFAULT,
		[CONFIG_POLICY_PREFERRED] = NUMA_POLICY_PREFER,
		[CONFIG_POLICY_BIND] = NUMA_POLICY_BIND,
		[CONFIG_POLICY_INTERLEAVE] = NUMA_POLICY_INTERLEAVE,
	};
	enum numa_policy policy = policies[binding->policy];
	size_t nr;
	int ret = 0;
	if (!binding->host_nodes)
		return 0;
	if (m->managed.mm)
		return memmgr_bind_node(m->managed.mm, node, binding->host_nodes, policy, 0, err);
	const struct guest_ram_region *regions = guest_ram_regions(m->ram, &nr);
	for (size_t i = 0; ret == 0 && i < nr; i++)
		if (regions[i].node == node)
			ret = numa_range_bind(&(struct numa_range){regions[i].hva, regions[i].size}, binding->host_nodes, policy,
					      err);
	return ret;
}

int machine_memory_bind(struct machine *m, struct error *err)
{
	const struct config *c = m->config;
	int ret = c->nr_nodes ? 0 : bind_node(m, 0, &c->binding, err);
	for (unsigned node = 0; ret == 0 && node < c->nr_nodes; node++)
		ret = bind_node(m, node, &c->nodes[node].binding, err);
	return ret;
}

void machine_memory_destroy(struct machine *m)
{
	if (m->managed.mm)
		memmgr_destroy(m->managed.mm);
	m->managed.mm = NULL;
	ev_timer_stop(m->loop, &m->managed.recheck);
	lock_fini(&m->managed.lock);
}

/* --- failures --- */

enum memmgr_failure machine_memory_failure(struct machine *m, char *detail, size_t size)
{
	struct machine_memory *managed = &m->managed;
	lock_take(&managed->lock);
	enum memmgr_failure failure = managed->failure;
	if (size)
		snprintf(detail, size, "%s", failure ? managed->detail : "");
	lock_release(&managed->lock);
	return failure;
}

static bool is_failing(struct machine *m)
{
	return machine_memory_failure(m, NULL, 0) != MEMMGR_FAILURE_NONE;
}

/* Takes the news. Returns whether there were any. */
static bool take_news(struct machine *m, enum memmgr_failure *failure, char *detail, size_t size)
{
	struct machine_memory *managed = &m->managed;
	lock_take(&managed->lock);
	bool news = managed->news;
	managed->news = false;
	*failure = managed->failure;
	snprintf(detail, size, "%s", managed->detail);
	lock_release(&managed->lock);
	return news;
}

static const char *advice(enum memmgr_failure failure)
{
	switch (failure) {
	case MEMMGR_FAILURE_IO:
		return "it goes on when its swap file can be read again: see to the disk, or give the pages up by system_reset";
	case MEMMGR_FAILURE_NO_MEMORY:
		return "it goes on when the host has memory: end or shrink other processes, or raise this one's limit";
	case MEMMGR_FAILURE_DAMAGED:
		return "the page is lost, and only a reset helps: system_reset; see to the swap file's disk";
	case MEMMGR_FAILURE_KERNEL:
	case MEMMGR_FAILURE_NONE:
	default:
		return "cont tries again, system_reset gives the pages up";
	}
}

static void fail(struct machine *m, enum memmgr_failure failure, const char *detail)
{
	bool running = m->state == RUN_STATE_RUNNING, lost = failure == MEMMGR_FAILURE_DAMAGED;
	struct machine_event_info info = {
		.event = MACHINE_EVENT_MEMORY_ERROR,
		.reason = memmgr_failure_name(failure),
		.detail = detail,
		.stops = running,
	};
	log_error("memory of the guest cannot be brought back (%s: %s); %s%s", memmgr_failure_name(failure), detail,
		  running ? "the guest is stopped; " : "", advice(failure));
	machine_announce(m, &info);
	if (running)
		machine_stop_vcpus(m, lost ? RUN_STATE_INTERNAL_ERROR : RUN_STATE_IO_ERROR);
	else if (lost && (m->state == RUN_STATE_IO_ERROR || m->state == RUN_STATE_PAUSED))
		m->state = RUN_STATE_INTERNAL_ERROR;
}

static void recover(struct machine *m)
{
	ev_timer_stop(m->loop, &m->managed.recheck);
	if (m->state == RUN_STATE_IO_ERROR) {
		log_info("the guest's memory is back; it goes on");
		m->state = RUN_STATE_RUNNING;
		machine_announce(m, &(struct machine_event_info){.event = MACHINE_EVENT_RESUME});
	}
	machine_settle(m);
}

void machine_memory_hear(struct machine *m)
{
	enum memmgr_failure failure;
	char detail[sizeof(m->managed.detail)];
	if (!m->managed.mm)
		return;
	if (take_news(m, &failure, detail, sizeof(detail))) {
		/* It may be over, or given up, before we hear of it. */
		if (failure != MEMMGR_FAILURE_KERNEL && memmgr_failure(m->managed.mm) == MEMMGR_FAILURE_NONE)
			failure = MEMMGR_FAILURE_NONE;
		if (failure)
			fail(m, failure, detail);
		else
			recover(m);
	} else if (m->managed.working && m->managed.worked) {
		machine_settle(m);
	}
}

void machine_memory_retry(struct machine *m)
{
	if (!m->managed.mm || !is_failing(m))
		return;
	memmgr_retry(m->managed.mm);
	ev_timer_stop(m->loop, &m->managed.recheck);
	ev_timer_set(&m->managed.recheck, RECHECK_S, 0);
	ev_timer_start(m->loop, &m->managed.recheck);
}

/* A failure is told once, so that one which outlasts a retry is looked for. */
static void recheck(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct machine *m = container_of(timer, struct machine, managed.recheck);
	char detail[sizeof(m->managed.detail)];
	enum memmgr_failure failure = machine_memory_failure(m, detail, sizeof(detail));
	(void)loop;
	(void)events;
	if (failure && m->state == RUN_STATE_RUNNING)
		fail(m, failure, detail);
}

/* --- waiting --- */

/* The flag goes first: a failure that comes meanwhile is a new one. */
static void forget(struct machine *m)
{
	struct machine_memory *managed = &m->managed;
	lock_take(&managed->lock);
	managed->failure = MEMMGR_FAILURE_NONE;
	managed->news = false;
	lock_release(&managed->lock);
	memmgr_forget_failed(managed->mm);
}

void machine_memory_drop(struct machine *m)
{
	size_t nr;
	const struct guest_ram_region *r = guest_ram_regions(m->ram, &nr);
	for (size_t i = 0; i < nr; i++) {
		int ret = memmgr_drop(m->managed.mm, r[i].gpa, r[i].size, false);
		if (ret)
			log_warning("memory of the guest at %#llx cannot be dropped: %s", (unsigned long long)r[i].gpa,
				    strerror(-ret));
	}
	forget(m);
	m->managed.dropped = true;
}

bool machine_memory_wait_on(struct machine *m, enum machine_patience patience, unsigned *tries)
{
	if (!m->managed.mm || !is_failing(m))
		return true;
	if (patience == MACHINE_GIVE_UP || (*tries)++ == MOST_TRIES)
		return false;
	if (patience == MACHINE_DROP)
		machine_memory_drop(m);
	else
		forget(m);
	return true;
}

static void *worker_main(void *arg)
{
	struct machine *m = arg;
	m->managed.result = m->managed.work(m, &m->managed.err);
	m->managed.worked = true;
	ev_async_send(m->loop, &m->wake);
	return NULL;
}

/* Waits for the worker's end. Returns whether it came. */
static bool join_worker(struct machine *m, enum machine_patience patience)
{
	struct machine_memory *managed = &m->managed;
	unsigned tries = 0;
	while (managed->working) {
		if (thread_join_within(managed->worker, MACHINE_MEMORY_SLICE_MS))
			managed->working = false;
		else if (!machine_memory_wait_on(m, patience, &tries))
			return false;
	}
	return true;
}

static int start_worker(struct machine *m, machine_work *work)
{
	struct machine_memory *managed = &m->managed;
	sigset_t all, before;
	managed->work = work;
	managed->err = (struct error){.code = 0};
	managed->worked = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int ret = pthread_create(&managed->worker, NULL, worker_main, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	managed->working = ret == 0;
	if (ret == 0)
		pthread_setname_np(managed->worker, "memory work");
	return -ret;
}

int machine_memory_run(struct machine *m, machine_work *work, enum machine_patience patience, struct error *err)
{
	struct machine_memory *managed = &m->managed;
	if (!join_worker(m, patience))
		return -EINPROGRESS;
	/* Without a thread (memory is short) it is done here: it may stand still, but most probably will not. */
	if (!managed->mm || start_worker(m, work))
		return work(m, err);
	if (!join_worker(m, patience))
		return -EINPROGRESS;
	if (managed->result && err)
		*err = managed->err;
	return managed->result;
}

/* --- what monitors ask --- */

static int check_managed(struct machine *m, struct error *err)
{
	return m->managed.mm ? 0 : error_set(err, m->managed.why_none.code, "%s", m->managed.why_none.text);
}

int machine_memory_settings(struct machine *m, struct memmgr_settings *settings, struct error *err)
{
	int ret = check_managed(m, err);
	if (ret == 0)
		memmgr_get_settings(m->managed.mm, settings);
	return ret;
}

int machine_memory_configure(struct machine *m, const struct memmgr_settings *settings, struct error *err)
{
	int ret = check_managed(m, err);
	return ret ? ret : memmgr_configure(m->managed.mm, settings, err);
}

int machine_memory_sample(struct machine *m, struct machine_memory_sample *now, struct machine_memory_sample *before,
			  struct error *err)
{
	int ret = check_managed(m, err);
	if (ret)
		return ret;
	memmgr_get_stats(m->managed.mm, &now->stats);
	now->time_ns = clock_now_ns();
	if (before) {
		*before = m->managed.last;
		m->managed.last = *now;
	}
	return 0;
}

int machine_memory_stats_fd(struct machine *m, struct error *err)
{
	int ret = check_managed(m, err);
	return ret ? ret : memmgr_stats_fd(m->managed.mm);
}

ssize_t machine_memory_curve(struct machine *m, struct memmgr_curve_point *points, size_t max, struct error *err)
{
	int ret = check_managed(m, err);
	return ret ? ret : (ssize_t)memmgr_curve(m->managed.mm, points, max);
}

static int need_manager(struct machine *m, struct error *err)
{
	if (m->managed.mm)
		return 0;
	*err = m->managed.why_none;
	return -err->code;
}

int machine_memory_bind_node(struct machine *m, unsigned node, uint64_t host_nodes, enum numa_policy policy, uint32_t rate,
			     struct error *err)
{
	int ret = need_manager(m, err);
	return ret ? ret : memmgr_bind_node(m->managed.mm, node, host_nodes, policy, rate, err);
}

int machine_memory_look_at_node(struct machine *m, unsigned node, struct memmgr_node *look, struct error *err)
{
	int ret = need_manager(m, err);
	if (ret)
		return ret;
	ret = memmgr_look_at_node(m->managed.mm, node, look);
	return ret ? error_set(err, -ret, "the guest has no node %u", node) : 0;
}

int machine_memory_count_node(struct machine *m, unsigned node, struct numa_count *count, struct error *err)
{
	enum { LOOKS = 16384 };
	int ret = need_manager(m, err);
	if (ret)
		return ret;
	ret = memmgr_count_node(m->managed.mm, node, LOOKS, count);
	return ret ? error_set(err, -ret, "node %u cannot be counted: %s", node, strerror(-ret)) : 0;
}

int machine_memory_prewarm(struct machine *m, struct error *err)
{
	int ret = check_managed(m, err);
	if (ret == 0)
		memmgr_prewarm(m->managed.mm);
	return ret;
}

/* The piece of RAM at gpa or behind it, up to the next boundary of EVICT_BYTES; behind the last comes the first. */
static uint64_t evict_piece(const struct machine *m, uint64_t gpa, uint64_t *len)
{
	size_t nr;
	const struct guest_ram_region *r = guest_ram_regions(m->ram, &nr);
	size_t i = 0;
	while (i < nr && gpa >= r[i].gpa + r[i].size)
		i++;
	if (i == nr) {
		i = 0;
		gpa = r[0].gpa;
	}
	if (gpa < r[i].gpa)
		gpa = r[i].gpa;
	uint64_t left = r[i].gpa + r[i].size - gpa;
	*len = EVICT_BYTES - gpa % EVICT_BYTES;
	if (*len > left)
		*len = left;
	return gpa;
}

int machine_memory_evict(struct machine *m, uint64_t bytes, enum memmgr_tier tier, uint64_t *taken, bool *complete,
			 struct error *err)
{
	uint64_t start = clock_now_ns(), seen = 0, got = 0, gpa = m->managed.evict_gpa, len;
	int ret = check_managed(m, err);
	if (ret)
		return ret;
	while (seen < guest_ram_size(m->ram) && (!bytes || got < bytes) && clock_now_ns() - start < EVICT_NS) {
		gpa = evict_piece(m, gpa, &len);
		if (bytes && len > bytes - got)
			len = (bytes - got + GUEST_PAGE_SIZE - 1) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		ssize_t pages = memmgr_evict_range(m->managed.mm, gpa, len, tier);
		if (pages == -ENODEV) {
			ret = error_set(err, EINVAL, "tier: the guest has no swap file; start it with -memory swap=DIRECTORY");
			break;
		}
		if (pages < 0) {
			ret = error_set(err, (int)-pages, "Memory cannot be taken: %s", strerror((int)-pages));
			break;
		}
		got += (uint64_t)pages * GUEST_PAGE_SIZE;
		seen += len;
		gpa += len;
	}
	m->managed.evict_gpa = gpa;
	/* What was taken before an error was taken all the same: that comes next time. */
	if (ret && !got)
		return ret;
	*taken = got;
	*complete = ret == 0 && (seen >= guest_ram_size(m->ram) || (bytes && got >= bytes));
	return 0;
}
