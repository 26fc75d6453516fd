/* See guest_stats.h. */
#include "host/guest_stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096

int guest_stats_open(struct guest_stats *s, int pid, int fd)
{
	char path[64];
	struct stat st;
	int ret = 0;
	*s = (struct guest_stats){.page = NULL};
	if (fd < 0)
		return -EPROTO;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	/* Looked at before it is opened: to open a device or a pipe would do something. */
	int look = open(path, O_PATH | O_CLOEXEC);
	if (look < 0)
		return -errno;
	if (fstat(look, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != PAGE_BYTES)
		ret = -EPROTO;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", look);
	int page_fd = ret ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (ret == 0 && page_fd < 0)
		ret = -errno;
	close(look);
	if (ret)
		return ret;
	/* Without the seal it could be shortened, and whoever touches it then is killed. */
	int seals = fcntl(page_fd, F_GET_SEALS);
	void *page = MAP_FAILED;
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(page_fd, &st) < 0 || st.st_size != PAGE_BYTES)
		ret = -EPROTO;
	else
		page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, page_fd, 0);
	if (ret == 0 && page == MAP_FAILED)
		ret = -errno;
	close(page_fd);
	if (ret == 0)
		s->page = page;
	return ret;
}

void guest_stats_close(struct guest_stats *s)
{
	if (s->page)
		munmap((void *)s->page, PAGE_BYTES);
	*s = (struct guest_stats){.page = NULL};
}

void guest_stats_sample(struct guest_stats *s)
{
	struct memmgr_stats stats;
	uint64_t time_ns;
	if (!s->page || memmgr_stats_page_read(s->page, &stats, &time_ns) || time_ns == 0 || time_ns == s->now_ns)
		return;
	s->before = s->now;
	s->before_ns = s->now_ns;
	s->now = stats;
	s->now_ns = time_ns;
}

bool guest_stats_look(const struct guest_stats *s, struct memmgr_stats *now, uint64_t *now_ns)
{
	if (s->page && memmgr_stats_page_read(s->page, now, now_ns) == 0 && *now_ns)
		return true;
	*now = s->now;
	*now_ns = s->now_ns;
	return s->now_ns != 0;
}

double guest_stats_interval(const struct guest_stats *s)
{
	return s->before_ns && s->now_ns > s->before_ns ? (double)(s->now_ns - s->before_ns) / 1e9 : 0;
}

double guest_stats_rate(const struct guest_stats *s, size_t offset)
{
	uint64_t now, before;
	double interval = guest_stats_interval(s);
	memcpy(&now, (const char *)&s->now + offset, sizeof(now));
	memcpy(&before, (const char *)&s->before + offset, sizeof(before));
	return interval > 0 && now > before ? (double)(now - before) / interval : 0;
}
