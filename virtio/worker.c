/* See worker.h. */
#include "virtio/worker.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread_cpu.h"

static void on_stop(struct ev_loop *loop, ev_async *watcher, int revents)
{
	(void)watcher;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* libev ends the process when it gets no descriptors for a loop (epoll and an eventfd): see first that there are some. */
static int descriptors_left(void)
{
	int a = eventfd(0, EFD_CLOEXEC);
	int b = a < 0 ? -1 : eventfd(0, EFD_CLOEXEC);
	int ret = b < 0 ? -errno : 0;
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
	return ret;
}

int worker_init(struct worker *w)
{
	int ret = descriptors_left();
	if (ret)
		return ret;
	w->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!w->loop)
		return -ENOMEM;
	ev_async_init(&w->stop, on_stop);
	/* Also keeps ev_run() from returning when a device has no other watcher. */
	ev_async_start(w->loop, &w->stop);
	return 0;
}

/* The one void pointer is pthread's. */
static void *run(void *arg)
{
	struct worker *w = arg;
	thread_cpu_publish();
	ev_run(w->loop, 0);
	return NULL;
}

int worker_start(struct worker *w, const char *name)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int ret = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret)
		return -ret;
	/* For ps and perf only: a name too long is refused and does no harm. */
	pthread_setname_np(w->thread, name);
	return 0;
}

void worker_stop(struct worker *w)
{
	ev_async_send(w->loop, &w->stop);
	pthread_join(w->thread, NULL);
}

void worker_fini(struct worker *w)
{
	if (!w->loop)
		return;
	ev_async_stop(w->loop, &w->stop);
	ev_loop_destroy(w->loop);
	w->loop = NULL;
}
