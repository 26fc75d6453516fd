/*
 * Requests about pages: inflate and deflate (arrays of page numbers), reports and hints of free pages (buffers that are those pages).
 *
 * A request is done in steps, so that a long one keeps nobody from stopping the device. One that is stopped half done is begun anew later:
 * every step may be done twice. It is acknowledged when all of it is done, since only until then are the pages ours to change,
 * if the driver does not promise to tell before it uses them.
 *
 * Pages in a chunk that a device may be filling are not dropped. I/O takes milliseconds: the request waits, and goes on without these
 * pages after a while.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "balloon/balloon_internal.h"
#include "balloon/pfn_runs.h"
#include "base/log.h"
#include "memmgr/discard.h"

enum {
	SLICE = 1024,                /* page numbers in a step */
	MOST_BYTES = 64 << 20,       /* of free pages in a step */
	MOST_HINTED_BYTES = 4 << 20, /* compressing takes longer */
	MOST_TRIES = 40,
};
#define AGAIN_S 0.005
#define PAGE_BYTES ((uint64_t)GUEST_PAGE_SIZE)

/* How much of len bytes at gpa lies in one region; 0: that is no RAM. */
static uint64_t piece_at(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	size_t nr;
	const struct guest_ram_region *r = guest_ram_regions(ram, &nr);
	for (size_t i = 0; i < nr; i++) {
		if (gpa < r[i].gpa || gpa - r[i].gpa >= r[i].size)
			continue;
		uint64_t left = r[i].size - (gpa - r[i].gpa);
		return left < len ? left : len;
	}
	return 0;
}

/* Drops a piece of one region. Returns 0 or -EBUSY; other refusals leave the guest with memory that it does not want. */
static int drop(struct balloon *b, uint64_t gpa, uint64_t len, enum discard_why why)
{
	int ret = b->mm ? memmgr_discard(b->mm, gpa, len, why) : discard_unmanaged(b->dev.ram, gpa, len);
	if (ret == 0 || ret == -EBUSY)
		return ret;
	log_guest_error("%s: %llu pages at %#llx cannot be given back: %s", b->dev.name, (unsigned long long)(len / PAGE_BYTES),
			(unsigned long long)gpa, strerror(-ret));
	b->spared += len / PAGE_BYTES;
	return 0;
}

/* A run of page numbers. Returns 0, -EBUSY, or -EPROTO after failing the device. */
static int do_run(struct balloon_queue *bq, const struct pfn_run *run)
{
	struct balloon *b = bq->balloon;
	uint64_t gpa = run->first * PAGE_BYTES, len = run->nr * PAGE_BYTES;
	int ret = 0;
	for (uint64_t n; len; gpa += n, len -= n) {
		n = piece_at(b->dev.ram, gpa, len);
		if (!n) {
			virtio_device_fail(&b->dev, "the driver %s page %#llx, which is no memory",
					   bq->role == BALLOON_INFLATE ? "gives" : "takes", (unsigned long long)(gpa / PAGE_BYTES));
			return -EPROTO;
		}
		if (bq->role == BALLOON_INFLATE)
			ret = drop(b, gpa, n, DISCARD_BALLOON) ? -EBUSY : ret;
		else if (b->mm)
			memmgr_deflate(b->mm, gpa, n);
	}
	return ret;
}

/* What has to wait for devices, or has waited long enough. Returns whether it waits. */
static bool wait_again(struct balloon_queue *bq, uint64_t pages)
{
	struct ev_loop *loop = bq->balloon->worker.loop;
	if (bq->tries++ >= MOST_TRIES) {
		bq->balloon->spared += pages; /* at most */
		return false;
	}
	ev_timer_set(&bq->again, AGAIN_S, 0);
	ev_timer_start(loop, &bq->again);
	return true;
}

static int finish(struct balloon_queue *bq)
{
	virtq_push(&bq->balloon->dev.queues[bq->index], bq->chain.head, 0);
	bq->taken = false;
	return 1;
}

static int step_pfns(struct balloon_queue *bq)
{
	struct balloon *b = bq->balloon;
	uint32_t pfns[SLICE];
	struct pfn_run runs[SLICE];
	size_t got = iov_read(bq->chain.out, bq->chain.nr_out, bq->offset, pfns, sizeof(pfns)), nr = got / sizeof(*pfns);
	bool busy = false;
	if (got % sizeof(*pfns)) {
		virtio_device_fail(&b->dev, "a request has %zu bytes, which are no page numbers", bq->chain.out_len);
		return -EPROTO;
	}
	if (nr == 0)
		return finish(bq);
	for (size_t i = 0; i < nr; i++)
		pfns[i] = le32toh(pfns[i]);
	size_t nr_runs = pfn_runs(pfns, nr, runs);
	for (size_t i = 0; i < nr_runs; i++) {
		int ret = do_run(bq, &runs[i]);
		if (ret == -EPROTO)
			return ret;
		busy |= ret != 0;
	}
	if (busy && wait_again(bq, nr))
		return 0;
	*(bq->role == BALLOON_INFLATE ? &b->inflated : &b->deflated) += nr;
	bq->offset += got;
	bq->tries = 0;
	/* Mostly that was all of it. */
	return bq->offset == bq->chain.out_len ? finish(bq) : 1;
}

/* Free pages of the guest, whole ones. Returns whether they are to be tried again. */
static bool take_free(struct balloon_queue *bq, uint64_t gpa, uint64_t len)
{
	struct balloon *b = bq->balloon;
	if (bq->role == BALLOON_HINT) {
		/* Its content may have been written since: it is kept (virtio 1.2, 5.5.6.4). */
		if (b->mm && balloon_hints_are_coming(b) && memmgr_evict_range(b->mm, gpa, len, MEMMGR_TIER_COMPRESSED) > 0)
			b->hinted += len / PAGE_BYTES;
		return false;
	}
	/* Zeroes would not be what the guest expects to find (5.5.6.6.2). */
	if (b->poison)
		return false;
	if (drop(b, gpa, len, DISCARD_FREE) && wait_again(bq, len / PAGE_BYTES))
		return true;
	b->reported += len / PAGE_BYTES;
	return false;
}

static int step_pages(struct balloon_queue *bq)
{
	const struct balloon *b = bq->balloon;
	uint64_t gpa, most = bq->role == BALLOON_HINT ? MOST_HINTED_BYTES : MOST_BYTES;
	if (bq->buffer == bq->chain.nr_in)
		return finish(bq);
	const struct iovec *iov = &bq->chain.in[bq->buffer];
	if (!guest_ram_gpa(b->dev.ram, iov->iov_base, &gpa))
		return -EFAULT; /* cannot be: virtq_pop() gave it */
	uint64_t from = (gpa + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1), end = (gpa + iov->iov_len) & ~(PAGE_BYTES - 1);
	uint64_t left = end > from + bq->offset ? end - from - bq->offset : 0, len = left < most ? left : most;
	if (len && take_free(bq, from + bq->offset, len))
		return 0;
	bq->tries = 0;
	bq->offset += len;
	if (len == left) {
		bq->buffer++;
		bq->offset = 0;
	}
	return 1;
}

/* A request that was just taken. Returns 0, or -EPROTO after failing the device. */
static int check(struct balloon_queue *bq)
{
	struct balloon *b = bq->balloon;
	bool pages = bq->role == BALLOON_REPORT || bq->role == BALLOON_HINT;
	uint32_t id;
	if (!pages && bq->chain.nr_in) {
		virtio_device_fail(&b->dev, "page numbers come with a buffer for an answer");
		return -EPROTO;
	}
	if (bq->role == BALLOON_REPORT && bq->chain.nr_out) {
		virtio_device_fail(&b->dev, "a report has something to read");
		return -EPROTO;
	}
	if (bq->role == BALLOON_HINT && bq->chain.nr_out) {
		if (bq->chain.out_len != sizeof(id) ||
		    iov_read(bq->chain.out, bq->chain.nr_out, 0, &id, sizeof(id)) != sizeof(id)) {
			virtio_device_fail(&b->dev, "a command of free page hinting has %zu bytes", bq->chain.out_len);
			return -EPROTO;
		}
		balloon_hint_command(b, le32toh(id));
	}
	return 0;
}

int balloon_give(struct balloon_queue *bq)
{
	struct virtio_device *dev = &bq->balloon->dev;
	if (!bq->taken) {
		int ret = virtq_pop(&dev->queues[bq->index], bq->iov, BALLOON_MAX_BUFFERS, &bq->chain);
		if (ret < 0)
			virtio_device_fail(dev, "queue %u is broken", bq->index);
		if (ret <= 0)
			return ret;
		bq->taken = true;
		bq->buffer = bq->tries = 0;
		bq->offset = 0;
		ret = check(bq);
		if (ret)
			return ret;
	}
	return bq->role == BALLOON_INFLATE || bq->role == BALLOON_DEFLATE ? step_pfns(bq) : step_pages(bq);
}
