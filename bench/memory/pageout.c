/*
 * Evicts a part of a running VMM's guest RAM by process_madvise(MADV_PAGEOUT), as a kernel without our manager would: the peer's side
 * of benchmarks with real guests.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/memory/options.h"

#define USAGE "pageout pid=PID gpa=BYTES pages=NR"
#define PAGE_SIZE 4096ull
#define PAGEMAP_PRESENT (1ull << 63)
enum { ATTEMPTS = 8, STEP_PAGES = 8192 };

struct target {
	int pidfd, pagemap;
	uint64_t hva; /* of the first page */
};

/* Guest RAM is the first mapping with "hg dd" (huge pages, not in core dumps) among its flags that has the range. */
static int find_ram(int pid, uint64_t gpa, uint64_t len, uint64_t *hva)
{
	char path[64], line[512];
	uint64_t start, end, first = 0, last = 0;
	int ret = -ENOENT;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	FILE *smaps = fopen(path, "re");
	if (!smaps)
		return -errno;
	while (ret && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " rw-p", &start, &end) == 2 && strchr(line, '-')) {
			first = start;
			last = end;
		} else if (!strncmp(line, "VmFlags:", 8) && strstr(line, " dd") && strstr(line, " hg") &&
			   last - first >= gpa + len) {
			*hva = first + gpa;
			ret = 0;
		}
	}
	fclose(smaps);
	return ret;
}

static bool is_present(const struct target *t, uint64_t page)
{
	uint64_t entry = 0;
	(void)!pread(t->pagemap, &entry, sizeof(entry), (off_t)((t->hva / PAGE_SIZE + page) * sizeof(entry)));
	return entry & PAGEMAP_PRESENT;
}

static int evict(const struct target *t, uint64_t nr)
{
	for (uint64_t done = 0; done < nr; done += STEP_PAGES) {
		uint64_t now = nr - done < STEP_PAGES ? nr - done : STEP_PAGES;
		/* NOLINTNEXTLINE(performance-no-int-to-ptr): an address of the other process */
		struct iovec iov = {(void *)(uintptr_t)(t->hva + done * PAGE_SIZE), now * PAGE_SIZE};
		if (syscall(SYS_process_madvise, t->pidfd, &iov, 1, MADV_PAGEOUT, 0) < 0 && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

/* Returns how many pages are still in, or -errno. */
static int64_t run_pass(const struct target *t, uint64_t nr)
{
	int ret = evict(t, nr);
	int64_t left = ret;
	for (uint64_t page = 0; !ret && page < nr; page++)
		left += is_present(t, page);
	return left;
}

int main(int argc, char **argv)
{
	struct options options;
	struct target t = {-1, -1, 0};
	char path[64];

	if (options_open(&options, argc, argv, "pid gpa pages", USAGE))
		return 2;
	int pid = (int)option_number(&options, "pid", 0);
	uint64_t gpa = option_number(&options, "gpa", 0), nr = option_number(&options, "pages", 0);
	int ret = find_ram(pid, gpa, nr * PAGE_SIZE, &t.hva);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	t.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	t.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (ret || t.pagemap < 0 || t.pidfd < 0) {
		fprintf(stderr, "pageout: process %d has no guest RAM of that size, or may not be looked at\n", pid);
		return 1;
	}
	int64_t left = (int64_t)nr, before;
	unsigned attempt = 0;
	do {
		before = left;
		left = run_pass(&t, nr);
	} while (left > 0 && left < before && ++attempt < ATTEMPTS);
	if (left < 0) {
		fprintf(stderr, "pageout: process_madvise: %s\n", strerror((int)-left));
		return 1;
	}
	printf("pageout: pages=%" PRIu64 " left=%" PRId64 "\n", nr, left);
	return 0;
}
