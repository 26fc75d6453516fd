/*
 * The counters' names, and the page in which other processes read them.
 *
 * The page is a seqlock of 32 bits (Linux, Documentation/locking/seqlock.rst; Boehm, "Can Seqlocks Get Along With Programming
 * Language Memory Models?", 2012). The writer makes sequence odd, writes the words, makes it even. A reader that sees the same
 * even sequence before and after its copy has words of one write.
 *
 * Invariants:
 *  1. All words are atomics: a torn copy is thrown away, but never undefined.
 *  2. Who sees a word of a write sees its odd sequence, or a later one: words are stored with release, after it, and loaded with
 *     acquire, before the second look. (Two fences would do as well, but ThreadSanitizer does not know fences; on x86 either
 *     costs nothing.)
 *  3. Who sees the even sequence sees all words of its write: it is stored with release, and first loaded with acquire.
 *
 * The memfd is sealed: no holder of it can shorten it, which would end whoever touches the page next, nor write to it, but through
 * our own mapping.
 */
#include "memmgr/memmgr_stats.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMMGR_STATS_PAGE_BYTES 4096
#define READ_TRIES 1000
#define READ_YIELD 50

_Static_assert(sizeof(struct memmgr_stats_page) <= MEMMGR_STATS_PAGE_BYTES, "one page");

enum kind { GAUGE, COUNT };

const struct memmgr_stats_field memmgr_stats_fields[MEMMGR_STATS_NR] = {
#define FIELD(field, kind, sentence) \
	{.name = #field, .text = sentence, .is_count = (kind) == COUNT, .offset = offsetof(struct memmgr_stats, field)},
	MEMMGR_STATS_FIELDS(FIELD)
#undef FIELD
};

int memmgr_stats_page_create(struct memmgr_stats_page **out)
{
	int ret;
	int fd = memfd_create("pagoda-memory-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* The last seal leaves mappings alone that are there: ours. */
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
	struct memmgr_stats_page *page = MAP_FAILED;
	if (ftruncate(fd, MEMMGR_STATS_PAGE_BYTES) < 0)
		goto failed;
	page = mmap(NULL, MEMMGR_STATS_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED || fcntl(fd, F_ADD_SEALS, seals) < 0)
		goto failed;
	page->magic = MEMMGR_STATS_MAGIC;
	page->version = MEMMGR_STATS_VERSION;
	page->nr_fields = MEMMGR_STATS_NR;
	page->pid = (uint32_t)getpid();
	*out = page;
	return fd;

failed:
	ret = -errno;
	if (page != MAP_FAILED)
		munmap(page, MEMMGR_STATS_PAGE_BYTES);
	close(fd);
	return ret;
}

void memmgr_stats_page_destroy(struct memmgr_stats_page *page, int fd)
{
	if (!page)
		return;
	munmap(page, MEMMGR_STATS_PAGE_BYTES);
	close(fd);
}

void memmgr_stats_page_write(struct memmgr_stats_page *page, const struct memmgr_stats *stats, uint64_t now_ns)
{
	const uint64_t *from = (const uint64_t *)stats;
	uint64_t *to = (uint64_t *)&page->stats;
	/* One writer at a time, so nobody changes it between. Made even: a writer before us may have died within. */
	uint32_t sequence = __atomic_load_n(&page->sequence, __ATOMIC_RELAXED) & ~1u;
	__atomic_store_n(&page->sequence, sequence + 1, __ATOMIC_RELAXED);
	/* Invariant 2; partner: the loads of words in memmgr_stats_page_read(). */
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELEASE);
	__atomic_store_n(&page->time_ns, now_ns, __ATOMIC_RELEASE);
	/* Invariant 3; partner: the first load of sequence in memmgr_stats_page_read(). */
	__atomic_store_n(&page->sequence, sequence + 2, __ATOMIC_RELEASE);
}

int memmgr_stats_page_read(const struct memmgr_stats_page *page, struct memmgr_stats *stats, uint64_t *time_ns)
{
	/* Each look may see something else: the page is not ours. */
	if (__atomic_load_n(&page->magic, __ATOMIC_RELAXED) != MEMMGR_STATS_MAGIC ||
	    __atomic_load_n(&page->version, __ATOMIC_RELAXED) != MEMMGR_STATS_VERSION)
		return -EPROTO;
	size_t nr = __atomic_load_n(&page->nr_fields, __ATOMIC_RELAXED);
	if (nr > MEMMGR_STATS_NR)
		nr = MEMMGR_STATS_NR; /* a newer writer; an older one has fewer, the rest is 0 */
	const uint64_t *from = (const uint64_t *)&page->stats;
	for (unsigned tries = 0; tries < READ_TRIES; tries++) {
		struct memmgr_stats copy = {0};
		uint64_t *to = (uint64_t *)&copy;
		uint32_t sequence = __atomic_load_n(&page->sequence, __ATOMIC_ACQUIRE);
		if (tries % READ_YIELD == READ_YIELD - 1)
			sched_yield(); /* the writer may wait for this CPU */
		if (sequence & 1) {
			__builtin_ia32_pause();
			continue;
		}
		for (size_t i = 0; i < nr; i++)
			to[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
		uint64_t time = __atomic_load_n(&page->time_ns, __ATOMIC_ACQUIRE);
		if (__atomic_load_n(&page->sequence, __ATOMIC_RELAXED) != sequence) /* invariant 2 */
			continue;
		*stats = copy;
		*time_ns = time;
		return 0;
	}
	return -EAGAIN;
}
