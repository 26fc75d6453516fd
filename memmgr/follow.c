/* See follow.h. */
#include "memmgr/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHECK_NS = 5000000, RECENT_NS = 100000000 };

void follow_note(struct follow *f, int thread_id, uint64_t now_ns)
{
	unsigned oldest = 0;
	for (unsigned i = 0; i < FOLLOW_MOST_THREADS; i++) {
		if (f->threads[i].thread_id == thread_id) {
			f->threads[i].faults++;
			f->threads[i].last_ns = now_ns;
			return;
		}
		if (f->threads[i].last_ns < f->threads[oldest].last_ns)
			oldest = i;
	}
	f->threads[oldest].thread_id = thread_id;
	f->threads[oldest].faults = 1;
	f->threads[oldest].last_ns = now_ns;
}

int follow_thread_cpu(int thread_id)
{
	char path[48], text[512];
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread_id);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -EIO;
	text[len] = '\0';
	/* Behind the name, which ends with the last parenthesis, comes field 3; processor is field 39 (proc(5)). */
	const char *at = strrchr(text, ')');
	for (int field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at + 1) : -EPROTO;
}

void follow_own_wait(uint64_t *wait_ns, uint64_t *turns)
{
	char text[128];
	unsigned long long run, wait, nr;
	*wait_ns = *turns = 0;
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return;
	text[len] = '\0';
	if (sscanf(text, "%llu %llu %llu", &run, &wait, &nr) != 3) /* NOLINT(cert-err34-c) */
		return;
	*wait_ns = wait;
	*turns = nr;
}

unsigned follow_cpus(struct follow *f, uint64_t now_ns, bool now, int *cpus, unsigned max)
{
	unsigned nr = 0;
	if (!now && now_ns - f->checked_ns < CHECK_NS)
		return 0;
	f->checked_ns = now_ns;
	for (unsigned taken = 0; nr < max;) {
		int best = -1;
		for (int i = 0; i < FOLLOW_MOST_THREADS; i++)
			if (!(taken >> i & 1) && f->threads[i].thread_id && now_ns - f->threads[i].last_ns < RECENT_NS &&
			    (best < 0 || f->threads[i].faults > f->threads[best].faults))
				best = i;
		if (best < 0)
			break;
		taken |= 1u << best;
		f->threads[best].faults /= 2;
		int cpu = follow_thread_cpu(f->threads[best].thread_id);
		for (unsigned i = 0; i < nr; i++)
			if (cpus[i] == cpu)
				cpu = -1;
		if (cpu >= 0)
			cpus[nr++] = cpu;
	}
	return nr;
}
