/*
 * A device's thread: an event loop (libev) of its own that runs between a device's start and stop. The device adds its watchers before
 * worker_start() and removes them after worker_stop(); while it runs only callbacks of the loop touch them.
 */
#ifndef VIRTIO_WORKER_H
#define VIRTIO_WORKER_H

#include <ev.h>
#include <pthread.h>

struct worker {
	struct ev_loop *loop;
	ev_async stop;
	pthread_t thread;
};

/* Makes the loop, with no thread yet. Returns 0 or -errno. */
int worker_init(struct worker *w);
/* Starts the thread, all signals blocked. name: at most 15 bytes. Returns 0 or -errno. */
int worker_start(struct worker *w, const char *name);
/* Lets the callback that runs finish, then ends and joins the thread. */
void worker_stop(struct worker *w);
void worker_fini(struct worker *w);

#endif
