/*
 * See scanner.h: the scanner's thread, its settings and statistics, and its life with the daemon.
 *
 *     wait ──(CPU time is left)──> one event of the daemon, or contents that it wants, or a step of the pass ──> wait
 *
 *     away ──connect──> greeting ──READY, a new pool──────────────────────────> ready
 *                          └──READY, the pool that we have──> claim all slots ──┘ (scan_claims.c)
 */
#include "dedup/scanner.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "dedup/scanner_internal.h"
#include "memmgr/memmgr.h"
#include "memmgr/os.h"

enum {
	RETRY_MS = 1000,
	NICE = 5,            /* as ksmd */
	LEAST_WAIT_MS = 10,  /* until there is CPU time again: waking up takes some, too */
	CREDIT_MS = 2000,    /* CPU time that was not used is remembered for so long, */
	DEBT_MS = 10000,     /* and what was used too much for so long: it may be no work but a machine that stood still */
	MAPPING_BYTES = 240, /* vm_area_struct, and its part of the maple tree */
};

/* --- settings --- */

void scanner_settings_init(struct scanner_settings *settings)
{
	*settings = (struct scanner_settings){.cpu_percent = 10, .pass_ms = 1000, .huge_percent = 25};
}

static int check_settings(const struct scanner_settings *set, struct error *err)
{
	if (set->cpu_percent > 100)
		return error_set(err, EINVAL, "dedup: cpu is %u percent; it must be 0 to 100, of one CPU", set->cpu_percent);
	if (set->pass_ms < 1 || set->pass_ms > 3600000)
		return error_set(err, EINVAL, "dedup: pass is %u ms; it must be 1 to 3600000", set->pass_ms);
	if (set->huge_percent < 1 || set->huge_percent > 100)
		return error_set(err, EINVAL, "dedup: huge-percent is %u; it must be 1 to 100", set->huge_percent);
	return 0;
}

static void wake(struct scanner *s)
{
	uint64_t one = 1;
	while (write(s->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int scanner_configure(struct scanner *s, const struct scanner_settings *settings, struct error *err)
{
	int ret = check_settings(settings, err);
	if (ret)
		return ret;
	lock_take(&s->lock);
	s->settings = *settings;
	lock_release(&s->lock);
	wake(s);
	return 0;
}

void scanner_get_settings(struct scanner *s, struct scanner_settings *settings)
{
	lock_take(&s->lock);
	*settings = s->settings;
	lock_release(&s->lock);
}

/* --- statistics --- */

static void publish(struct scanner *s)
{
	s->counts.cpu_us = clock_thread_cpu_ns() / 1000;
	s->counts.most_mappings = s->most_mappings;
	s->counts.connected = s->ready;
	lock_take(&s->lock);
	s->stats = s->counts;
	lock_release(&s->lock);
}

void scanner_get_stats(struct scanner *s, struct scanner_stats *stats)
{
	struct memmgr_stats memory;
	memmgr_get_stats(s->mm, &memory);
	lock_take(&s->lock);
	*stats = s->stats;
	lock_release(&s->lock);
	stats->pages_sharing = memory.shared_pages;
	stats->mappings = share_mappings(s->mm);
	stats->metadata_bytes = s->nr_chunks * sizeof(struct scan_chunk) + sizeof(*s);
	stats->general_profit = stats->pages_sharing * PAGE_HASH_BYTES - stats->mappings * MAPPING_BYTES - stats->metadata_bytes;
}

/* Says it once in the log, and keeps it for who asks. */
static void set_trouble(struct scanner *s, const char *text)
{
	if (*text && strcmp(s->counts.trouble, text) != 0)
		log_info("dedup: %s", text);
	snprintf(s->counts.trouble, sizeof(s->counts.trouble), "%s", text);
}

/* --- the daemon --- */

static void drop_connection(struct scanner *s)
{
	s->ready = false;
	free(s->held);
	s->held = NULL;
	s->pass.active = false;
	s->offers.nr = 0;
	s->to_send.nr = 0;
	s->gathered.nr = s->gathered.sorted = s->gathered.done = 0;
	s->retry_ns = clock_now_ns() + RETRY_MS * 1000000ull;
	/* What was on its way is not known to the daemon: all is offered again, and what it has already costs little. */
	for (uint32_t i = 0; i < s->nr_chunks; i++) {
		memset(s->chunks[i].coming, 0, sizeof(s->chunks[i].coming));
		pass_chunk_again(s, i);
	}
}

static void lost(struct scanner *s, int why, const char *reason)
{
	char text[sizeof(s->counts.trouble)];
	drop_connection(s);
	if (*reason)
		snprintf(text, sizeof(text), "the daemon at %.60s refuses: %.100s", s->path, reason);
	else
		snprintf(text, sizeof(text), "no daemon at %.80s: %s; merged pages stay as they are", s->path, strerror(-why));
	set_trouble(s, text);
}

/* Something that the connection needs failed here. */
static void hang_up(struct scanner *s, int why)
{
	char text[sizeof(s->counts.trouble)];
	dedup_client_hang_up(s->client);
	drop_connection(s);
	snprintf(text, sizeof(text), "the daemon's pool cannot be used: %s; trying again", strerror(-why));
	set_trouble(s, text);
}

static void connect_to_daemon(struct scanner *s)
{
	int ret = dedup_client_connect(s->client);
	if (ret && ret != -EALREADY)
		lost(s, ret, "");
}

static void be_ready(struct scanner *s)
{
	s->ready = true;
	s->counts.connections++;
	s->pass_ms = s->now.pass_ms;
	s->next_pass_ns = clock_now_ns();
	set_trouble(s, "");
}

/* Without its pool there is nothing to be done with the daemon: in a second everything is tried again. */
static void welcomed(struct scanner *s, bool resumed)
{
	int ret = claims_begin(s, resumed);
	if (ret == 0)
		be_ready(s);
	else if (ret < 0)
		hang_up(s, ret);
}

static void take_event(struct scanner *s, const struct dedup_event *event)
{
	int ret;
	switch (event->type) {
	case DEDUP_READY:
		welcomed(s, event->resumed);
		break;
	case DEDUP_ANSWERS:
		merge_answers(s, event);
		break;
	case DEDUP_TWINS:
		merge_twins(s, event);
		break;
	case DEDUP_CLAIMS:
		ret = claims_answered(s, event);
		if (ret)
			hang_up(s, ret);
		else if (event->nr == 0) /* the answer to claimed: nothing that is gone can be released now */
			be_ready(s);
		break;
	case DEDUP_NOTHING:
		break;
	}
}

/* --- the thread --- */

/* How long to wait until CPU time is left, ns; 0: now. */
static uint64_t wait_for_credit(struct scanner *s)
{
	uint64_t wall = clock_now_ns(), cpu = clock_thread_cpu_ns();
	uint64_t percent = s->now.cpu_percent, used = (cpu - s->credit_cpu) * 100, earned = (wall - s->credit_wall) * percent;
	if (percent == 0)
		return UINT64_MAX;
	if (earned > used + CREDIT_MS * 1000000ull * percent) {
		/* What was left longer ago is lost. */
		s->credit_wall = wall - CREDIT_MS * 1000000ull;
		s->credit_cpu = cpu;
	}
	if (used > earned + DEBT_MS * 1000000ull * percent) {
		s->credit_wall = wall;
		s->credit_cpu = cpu - DEBT_MS * 10000ull * percent;
		return DEBT_MS * 1000000ull;
	}
	return used > earned ? (used - earned) / percent + LEAST_WAIT_MS * 1000000ull : 0;
}

/* How long the thread may sleep unless the daemon says something, ns; 0: it has something to do. */
#define FOR_THE_DAEMON UINT64_MAX

static uint64_t until(uint64_t time_ns)
{
	uint64_t now = clock_now_ns();
	return time_ns > now ? time_ns - now : 1;
}

/* One event, one question, or one step. */
static uint64_t work(struct scanner *s)
{
	uint64_t gathered_ns;
	struct dedup_event event;
	const char *why;
	int ret = dedup_client_receive(s->client, &event, &why);
	if (ret < 0) {
		lost(s, ret, why);
		return 1;
	}
	if (ret > 0) {
		take_event(s, &event);
		return 0;
	}
	ret = s->held ? claims_send(s) : 0;
	if (ret < 0)
		lost(s, ret, "");
	if (!s->ready)
		return dedup_client_fd(s->client) < 0 ? 1 : FOR_THE_DAEMON;
	if (merge_gathered(s, &gathered_ns))
		return 0;
	if (s->to_send.nr)
		return merge_send(s) ? 0 : gathered_ns;
	if (clock_now_ns() < s->next_pass_ns) {
		uint64_t pass_ns = until(s->next_pass_ns);
		dedup_client_flush(s->client);
		return pass_ns < gathered_ns ? pass_ns : gathered_ns;
	}
	if (!s->pass.active)
		pass_begin(s);
	return pass_step(s) ? 0 : gathered_ns;
}

/*
 * Waits for the daemon (unless only for time: then no more is heard than that it has ended), for other settings, or for so many ns.
 */
static void wait_ns(struct scanner *s, uint64_t ns, bool hear_daemon)
{
	struct pollfd fds[2] = {{.fd = s->wake_fd, .events = POLLIN}, {.fd = dedup_client_fd(s->client)}};
	struct timespec time;
	uint64_t count;
	publish(s);
	if (s->nr_gone && until(s->gone_ns) < ns)
		ns = until(s->gone_ns);
	time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	if (hear_daemon)
		fds[1].events = (short)(POLLIN | (dedup_client_wants_to_write(s->client) ? POLLOUT : 0));
	if (ppoll(fds, 2, ns == UINT64_MAX ? NULL : &time, NULL) <= 0)
		return;
	if (fds[0].revents && read(s->wake_fd, &count, sizeof(count)) > 0) {
		scanner_get_settings(s, &s->now);
		if (s->pass_ms != s->now.pass_ms) {
			s->pass_ms = s->now.pass_ms;
			s->next_pass_ns = clock_now_ns();
		}
	}
	if (fds[1].revents & POLLOUT) {
		dedup_client_flush(s->client);
	} else if (!hear_daemon && fds[1].revents & (POLLHUP | POLLERR)) {
		dedup_client_hang_up(s->client);
		lost(s, -ECONNRESET, "");
	}
}

static void *scanner_main(void *arg)
{
	struct scanner *s = arg;
	setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	s->credit_wall = clock_now_ns();
	while (!s->stopping) {
		claims_restore(s);
		/* Until a daemon knows what is held, none can give up what others left: that waits for no CPU time. */
		uint64_t ns = s->ready ? wait_for_credit(s) : 0;
		if (ns) {
			wait_ns(s, ns, false);
			continue;
		}
		if (dedup_client_fd(s->client) < 0) {
			if (clock_now_ns() >= s->retry_ns)
				connect_to_daemon(s);
			else
				wait_ns(s, until(s->retry_ns), false);
			continue;
		}
		ns = work(s);
		if (ns && dedup_client_fd(s->client) >= 0)
			wait_ns(s, ns, true);
	}
	if (dedup_client_fd(s->client) >= 0) {
		merge_give_back(s);
		dedup_client_flush(s->client);
	}
	return NULL;
}

/* --- life --- */

int scanner_create(const struct scanner_params *params, struct scanner **scanner, struct error *err)
{
	uint32_t nr_chunks = quiet_chunks(params->mm);
	struct dedup_client_settings client = {
		.path = params->socket,
		.domain = params->domain,
		.guest = params->guest,
		.nr_pages = nr_chunks * QUIET_PAGES,
		.node = params->node,
	};
	int ret = check_settings(&params->settings, err);
	if (ret)
		return ret;
	struct scanner *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "dedup: out of memory");
	*s = (struct scanner){.mm = params->mm, .settings = params->settings, .now = params->settings, .nr_chunks = nr_chunks};
	lock_init(&s->lock, LOCK_DEDUP_SCANNER);
	s->chunks = mem_calloc(nr_chunks, sizeof(*s->chunks));
	s->path = strdup(params->socket);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->chunks || !s->path)
		ret = error_set(err, ENOMEM, "dedup: out of memory");
	else if (s->wake_fd < 0)
		ret = error_set(err, errno, "dedup: eventfd: %s", strerror(errno));
	if (ret == 0)
		ret = dedup_client_create(&client, &s->client, err);
	for (uint32_t i = 0; ret == 0 && i < nr_chunks; i++)
		pass_chunk_again(s, i);
	if (ret == 0) {
		sigset_t all, before;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		ret = -pthread_create(&s->thread, NULL, scanner_main, s);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (ret)
			error_set(err, -ret, "dedup: cannot start the scanner's thread: %s", strerror(-ret));
	}
	if (ret) {
		scanner_destroy(s);
		return ret;
	}
	pthread_setname_np(s->thread, "dedup-scan");
	s->started = true;
	*scanner = s;
	return 0;
}

void scanner_destroy(struct scanner *s)
{
	if (!s)
		return;
	if (s->started) {
		s->stopping = true;
		wake(s);
		pthread_join(s->thread, NULL);
	}
	dedup_client_destroy(s->client);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	free(s->held);
	free(s->gathered.items);
	mem_free(s->foreign);
	free(s->path);
	mem_free(s->chunks);
	lock_fini(&s->lock);
	mem_free(s);
}
