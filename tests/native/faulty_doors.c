/*
 * The memory manager's doors (memmgr/os.h) in a VMM whose kernel and disk fail now and then, as the real ones may: strong symbols in place of the weak
 * ones, linked into build/tests/native/pagoda-vmm-faulty and nothing else.
 *
 * PAGODA_FAULTS says how often, in words name=value separated by commas: seed=, after_ms= (0: from the first call on), and for each kind of failure how many
 * of 10000 calls have it. Without the variable nothing fails. Bytes are never damaged: that stops a guest for good, by design. At its end the process says on
 * standard error how often it failed at what.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "memmgr/os.h"

#include "memmgr/uffd_abi.h"

enum fault {
	FAULT_AGAIN,     /* userfaultfd: somebody else has the page for a moment: EAGAIN, or EBUSY of a move */
	FAULT_PART,      /* userfaultfd: only some of several pages are moved or copied */
	FAULT_NO_MEMORY, /* userfaultfd: ENOMEM. The guest stops for a second where a page cannot come back */
	FAULT_REGISTER,  /* userfaultfd: ENOMEM of registering, for a mapping that must be split */
	FAULT_SCAN,      /* PAGEMAP_SCAN: ENOMEM */
	FAULT_DISCARD,   /* MADV_DONTNEED: the pages stay */
	FAULT_ADVICE,    /* any other madvise(2) */
	FAULT_CALLOC,
	FAULT_SPACE, /* fallocate(2) of the swap file: ENOSPC, EIO */
	FAULT_READ,  /* of the swap file: EIO, or cut short. The guest stops for a second */
	FAULT_WRITE, /* EIO, ENOSPC, or cut short */
	NR_FAULTS,
};

static const char *const names[NR_FAULTS] = {"again",  "part",   "nomem", "register", "scan", "discard",
					     "advice", "calloc", "space", "read",     "write"};

static struct {
	uint64_t seed, from_ns;
	unsigned rates[NR_FAULTS]; /* of 10000 */
	_Atomic uint64_t calls[NR_FAULTS], failed[NR_FAULTS];
} faults;

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void set(const char *name, uint64_t value)
{
	for (unsigned i = 0; i < NR_FAULTS; i++) {
		if (!strcmp(name, names[i])) {
			faults.rates[i] = (unsigned)value;
			return;
		}
	}
	if (!strcmp(name, "seed")) {
		faults.seed = value;
	} else if (!strcmp(name, "after_ms")) {
		faults.from_ns = now_ns() + value * 1000000;
	} else {
		fprintf(stderr, "faulty doors: PAGODA_FAULTS: there is no \"%s\"\n", name);
		exit(2);
	}
}

/* Before main(), when there is one thread. */
__attribute__((constructor)) static void read_rates(void)
{
	const char *variable = getenv("PAGODA_FAULTS");
	char words[512], *rest = words, *word;
	if (!variable)
		return;
	snprintf(words, sizeof(words), "%s", variable);
	while ((word = strsep(&rest, ","))) {
		char *value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (*word)
			set(word, value ? strtoull(value, NULL, 0) : 0);
	}
}

__attribute__((destructor)) static void report(void)
{
	if (!getenv("PAGODA_FAULTS"))
		return;
	fprintf(stderr, "faulty doors:");
	for (unsigned i = 0; i < NR_FAULTS; i++)
		fprintf(stderr, " %s=%llu/%llu", names[i], (unsigned long long)faults.failed[i],
			(unsigned long long)faults.calls[i]);
	fputc('\n', stderr);
}

static uint64_t scatter(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* Whether this call fails, the same for each seed as far as threads allow. *draw: a random number to choose how. */
static bool fails(enum fault fault, uint64_t *draw)
{
	uint64_t call = atomic_fetch_add_explicit(&faults.calls[fault], 1, memory_order_relaxed);
	uint64_t bits = scatter(faults.seed + (call * NR_FAULTS + fault + 1) * 0x9e3779b97f4a7c15ull);
	*draw = bits / 10000;
	if (bits % 10000 >= faults.rates[fault] || now_ns() < faults.from_ns)
		return false;
	atomic_fetch_add_explicit(&faults.failed[fault], 1, memory_order_relaxed);
	return true;
}

static int choose(uint64_t draw, int a, int b)
{
	return draw & 1 ? a : b;
}

/* --- userfaultfd --- */

/* The length of a part of len bytes, in pages: at least one, not all. */
static uint64_t part_of(uint64_t len, uint64_t draw)
{
	return (1 + draw % (len / 4096 - 1)) * 4096;
}

static int move(int fd, struct uffdio_move *arg)
{
	uint64_t draw, len = arg->len;
	int ret = 0;
	if (fails(FAULT_AGAIN, &draw))
		ret = choose(draw, -EAGAIN, -EBUSY);
	else if (fails(FAULT_NO_MEMORY, &draw))
		ret = -ENOMEM;
	if (ret) {
		arg->move = ret;
		return ret;
	}
	if (len <= 4096 || !fails(FAULT_PART, &draw))
		return mem_ioctl_kernel(fd, UFFDIO_MOVE, arg);
	arg->len = part_of(len, draw);
	ret = mem_ioctl_kernel(fd, UFFDIO_MOVE, arg);
	arg->len = len;
	return ret ? ret : -EAGAIN;
}

static int copy(int fd, struct uffdio_copy *arg)
{
	uint64_t draw, len = arg->len;
	int ret = 0;
	if (fails(FAULT_AGAIN, &draw))
		ret = -EAGAIN;
	else if (fails(FAULT_NO_MEMORY, &draw))
		ret = -ENOMEM;
	if (ret) {
		arg->copy = ret;
		return ret;
	}
	if (len <= 4096 || !fails(FAULT_PART, &draw))
		return mem_ioctl_kernel(fd, UFFDIO_COPY, arg);
	arg->len = part_of(len, draw);
	ret = mem_ioctl_kernel(fd, UFFDIO_COPY, arg);
	arg->len = len;
	return ret ? ret : -EAGAIN;
}

static int zero(int fd, struct uffdio_zeropage *arg)
{
	uint64_t draw;
	int ret = 0;
	if (fails(FAULT_AGAIN, &draw))
		ret = -EAGAIN;
	else if (fails(FAULT_NO_MEMORY, &draw))
		ret = -ENOMEM;
	if (!ret)
		return mem_ioctl_kernel(fd, UFFDIO_ZEROPAGE, arg);
	arg->zeropage = ret;
	return ret;
}

int mem_ioctl(int fd, unsigned long request, void *arg)
{
	uint64_t draw;
	switch (request) {
	case UFFDIO_MOVE:
		return move(fd, arg);
	case UFFDIO_COPY:
		return copy(fd, arg);
	case UFFDIO_ZEROPAGE:
		return zero(fd, arg);
	case UFFDIO_REGISTER:
	case UFFDIO_UNREGISTER:
		return fails(FAULT_REGISTER, &draw) ? -ENOMEM : mem_ioctl_kernel(fd, request, arg);
	case PAGEMAP_SCAN:
		return fails(FAULT_SCAN, &draw) ? -ENOMEM : mem_ioctl_kernel(fd, request, arg);
	default:
		return mem_ioctl_kernel(fd, request, arg);
	}
}

/* --- memory --- */

int mem_madvise(void *start, size_t len, int advice)
{
	uint64_t draw;
	if (fails(advice == MADV_DONTNEED ? FAULT_DISCARD : FAULT_ADVICE, &draw))
		return choose(draw, -EAGAIN, -ENOMEM);
	return mem_madvise_kernel(start, len, advice);
}

void *mem_calloc(size_t nr, size_t size)
{
	uint64_t draw;
	return fails(FAULT_CALLOC, &draw) ? NULL : calloc(nr, size);
}

/* --- the swap file --- */

int mem_fallocate(int fd, int mode, off_t offset, off_t len)
{
	uint64_t draw;
	return fails(FAULT_SPACE, &draw) ? choose(draw, -ENOSPC, -EIO) : mem_fallocate_kernel(fd, mode, offset, len);
}

int mem_io_result(int is_write, void *data, size_t len, int res)
{
	uint64_t draw;
	(void)data;
	if (!fails(is_write ? FAULT_WRITE : FAULT_READ, &draw))
		return res;
	if (draw % 4 == 0)
		return (int)(draw / 4 % len);
	return is_write ? choose(draw, -EIO, -ENOSPC) : -EIO;
}
