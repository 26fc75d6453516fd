/* See shared_group.h. */
#include "host/shared_group.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct shared_group {
	struct memory_cgroup dir;
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t asked;
	uint64_t bytes;
	bool stopping, complained;
};

static void *reclaim(void *argument)
{
	struct shared_group *g = argument;
	pthread_mutex_lock(&g->lock);
	for (;;) {
		while (!g->bytes && !g->stopping)
			pthread_cond_wait(&g->asked, &g->lock);
		if (g->stopping)
			break;
		uint64_t bytes = g->bytes;
		g->bytes = 0;
		pthread_mutex_unlock(&g->lock);
		int64_t gone = memory_cgroup_reclaim(&g->dir, bytes);
		pthread_mutex_lock(&g->lock);
		if (gone < 0 && !g->complained) {
			log_warning("the kernel does not take pages from guests: %s; they stay above their targets",
				    strerror((int)-gone));
			g->complained = true;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

int shared_group_create(struct shared_group **group)
{
	struct memory_cgroup parent;
	int ret = memory_cgroup_open_parent(&parent);
	if (ret)
		return ret;
	struct shared_group *g = calloc(1, sizeof(*g));
	ret = g ? memory_cgroup_make(&parent, MEMORY_CGROUP_SHARED, &g->dir) : -ENOMEM;
	memory_cgroup_close(&parent);
	if (ret) {
		free(g);
		return ret;
	}
	/* So that the kernel takes cold pages of the pool, too. With version 2 the daemon stays where systemd looks for it. */
	if (g->dir.version == 1)
		memory_cgroup_enter(&g->dir);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->asked, NULL);
	ret = -pthread_create(&g->thread, NULL, reclaim, g);
	if (ret) {
		memory_cgroup_close(&g->dir);
		free(g);
		return ret;
	}
	pthread_setname_np(g->thread, "reclaim");
	*group = g;
	return 0;
}

void shared_group_destroy(struct shared_group *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&g->lock);
	g->stopping = true;
	pthread_cond_signal(&g->asked);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->asked);
	pthread_mutex_destroy(&g->lock);
	memory_cgroup_close(&g->dir);
	free(g);
}

const struct memory_cgroup *shared_group_dir(const struct shared_group *g)
{
	return &g->dir;
}

bool shared_group_has(pid_t pid)
{
	char path[64], line[4096];
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	FILE *file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		const char *last = strrchr(line, '/');
		found = last && !strcmp(last + 1, MEMORY_CGROUP_SHARED);
	}
	if (file)
		fclose(file);
	return found;
}

void shared_group_ask(struct shared_group *g, uint64_t bytes)
{
	pthread_mutex_lock(&g->lock);
	g->bytes = bytes;
	pthread_cond_signal(&g->asked);
	pthread_mutex_unlock(&g->lock);
}
