/*
 * The pager: a thread that brings pages back that lie on disk, and those of streams (streams.c), ahead of the guest.
 *
 * A page on disk that is touched is asked for by pager_load(): its cluster is read as a whole, then its pages with LOADING are
 * brought. Should that fail, the page is kept in a list, the owner is told, and it is tried again each second (pager_failed).
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "memmgr/os.h"
#include "memmgr/pager_internal.h"
#include "memmgr/uffd.h"

enum {
	RETRY_NS = 1000000000,
	TRIM_MS = 60, /* until what was freed on disk may be discarded: swap_file_trim() */
};

void pager_wake(struct pager *p)
{
	uint64_t one = 1;
	/* Pairs with the exchange in wait_for_work(): it looks at its work after it has said that it sleeps. */
	if (atomic_exchange(&p->asleep, false) && write(p->event, &one, sizeof(one)) < 0)
		log_warning("memory: the pager cannot be woken: %s", strerror(errno));
}

/* --- requests --- */

void pager_load(struct memmgr *mm, uint32_t page)
{
	struct pager *p = mm->pager;
	bool full = false;
	lock_take(&p->lock);
	/* One that has failed is tried again when it is time, however often its thread asks. */
	for (unsigned i = 0; i < p->nr_failed; i++) {
		if (p->failed[i].page == page) {
			lock_release(&p->lock);
			return;
		}
	}
	if (p->nr_requests < MOST_REQUESTS)
		p->requests[p->nr_requests++] = (struct request){page};
	else
		full = true;
	lock_release(&p->lock);
	pager_wake(p);
	/* More threads wait than there is room for: this one shall ask again. */
	if (full)
		pager_failed(mm, page, -EAGAIN);
}

static enum memmgr_failure failure_of(int error)
{
	switch (error) {
	case -EBADMSG:
		return MEMMGR_FAILURE_DAMAGED;
	case -EIO:
	case -ENOSPC:
		return MEMMGR_FAILURE_IO;
	case -ENOMEM:
		return MEMMGR_FAILURE_NO_MEMORY;
	default:
		return MEMMGR_FAILURE_KERNEL;
	}
}

/* Tries to bring the page for those who wait for it. Returns as bring_page(). */
static int bring_waited(struct pager *p, uint32_t page, store_ref *ref)
{
	struct memmgr *mm = p->mm;
	struct chunk *c = page_chunk(&mm->pt, page);
	int ret = 0;
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[page];
	*ref = page_ref(e);
	if (e & PAGE_LOADING) {
		page_table_set(&mm->pt, page, e & ~(uint64_t)PAGE_LOADING);
		ret = bring_page(mm, &p->buffer, page, BRING_FAULT, false);
		if (ret)
			page_table_set(&mm->pt, page, mm->pt.entries[page] | PAGE_LOADING);
	}
	lock_release(&c->lock);
	return ret;
}

void pager_failed(struct memmgr *mm, uint32_t page, int error)
{
	struct pager *p = mm->pager;
	bool tell = false;
	lock_take(&p->lock);
	unsigned i = 0;
	while (i < p->nr_failed && p->failed[i].page != page)
		i++;
	/* More than that many threads cannot wait; a page that is left out is asked for again when its thread is kicked. */
	if (i < MOST_REQUESTS) {
		if (i == p->nr_failed)
			p->nr_failed++;
		p->failed[i] = (struct failed_page){page, error};
	}
	if (p->nr_failed == 1 || !p->retry_ns)
		p->retry_ns = clock_now_ns() + (error == -EAGAIN ? RETRY_NS / 100 : RETRY_NS);
	/* Once; and again when it turns out that waiting will not help. */
	bool is_lost = error == -EBADMSG && p->failure != MEMMGR_FAILURE_DAMAGED;
	if (error != -EAGAIN && (!p->told || is_lost)) {
		p->told = true;
		p->failure = failure_of(error);
		tell = true;
	}
	lock_release(&p->lock);
	if (tell) {
		COUNT(mm, failures, 1);
		mm->owner->memory_failed(mm->owner, failure_of(error), strerror(-error));
	}
	pager_wake(p);
}

/* One request: brings the page if it can come, else begins to load its cluster. Returns -EBUSY when it shall be asked again. */
static int serve_request(struct pager *p, const struct request *r)
{
	store_ref ref;
	int ret = bring_waited(p, r->page, &ref);
	if (ret == -EAGAIN && ref) {
		if (p->io)
			store_load_set_ahead(p->io, false);
		ret = p->io ? store_load_begin(p->io, ref) : -EIO;
		/*
		 * Being read ahead of need, which may take long on a busy disk; or being given back to the disk, and then nobody will
		 * bring it but a retry.
		 */
		if (ret == -EALREADY)
			ret = bring_from_disk(p->mm, &p->buffer, r->page) ? 0 : -EAGAIN;
		else if (ret == -EEXIST)
			ret = -EBUSY; /* it came in between: once more */
		if (ret == -EBUSY)
			return ret;
	}
	if (ret)
		pager_failed(p->mm, r->page, ret);
	return 0;
}

static bool serve_requests(struct pager *p)
{
	struct request r;
	bool any = false;
	for (;;) {
		lock_take(&p->lock);
		bool got = p->nr_requests > 0;
		if (got)
			r = p->requests[--p->nr_requests];
		lock_release(&p->lock);
		if (!got)
			return any;
		if (serve_request(p, &r) == -EBUSY) {
			lock_take(&p->lock);
			if (p->nr_requests < MOST_REQUESTS)
				p->requests[p->nr_requests++] = r;
			lock_release(&p->lock);
			return any;
		}
		any = true;
	}
}

/* A cluster has come from disk, or has not: those of its pages that are waited for come, or have failed. */
static void loaded(struct pager *p, const struct store_done *done)
{
	struct memmgr *mm = p->mm;
	struct store_item items[STORE_CLUSTER_SLOTS];
	size_t self, nr = store_cluster_items(mm->store, done->ref, items, STORE_CLUSTER_SLOTS, &self);
	for (size_t i = 0; i < nr; i++) {
		store_ref ref;
		bool waited;
		struct chunk *c = page_chunk(&mm->pt, items[i].page_nr);
		lock_take(&c->lock);
		page_entry e = mm->pt.entries[items[i].page_nr];
		/* Whatever its reference: it may have been put elsewhere since the cluster was read. */
		waited = e & PAGE_LOADING;
		lock_release(&c->lock);
		if (!waited)
			continue;
		COUNT(mm, swap_in, 1);
		int ret = done->result ? done->result : bring_waited(p, items[i].page_nr, &ref);
		if (ret)
			pager_failed(mm, items[i].page_nr, ret);
	}
}

static bool reap(struct pager *p)
{
	struct store_done done[LOAD_AHEAD];
	if (!p->io)
		return false;
	size_t nr = store_io_reap(p->io, false, done, LOAD_AHEAD);
	for (size_t i = 0; i < nr; i++)
		loaded(p, &done[i]);
	return nr > 0;
}

/* Tries failed pages again when it is time. Tells the owner when none is left. */
static void retry_failed(struct pager *p)
{
	struct memmgr *mm = p->mm;
	bool recovered = false;
	lock_take(&p->lock);
	if (p->nr_failed && clock_now_ns() >= p->retry_ns) {
		/* They become requests; those that fail again come back into the list. */
		while (p->nr_failed && p->nr_requests < MOST_REQUESTS)
			p->requests[p->nr_requests++] = (struct request){.page = p->failed[--p->nr_failed].page};
		p->retry_ns = 0;
	} else if (p->told && !p->nr_failed && !p->nr_requests && !(p->io && store_io_pending(p->io))) {
		p->told = false;
		recovered = true;
	}
	lock_release(&p->lock);
	if (recovered)
		mm->owner->memory_recovered(mm->owner);
}

enum memmgr_failure pager_failure(struct memmgr *mm)
{
	struct pager *p = mm->pager;
	enum memmgr_failure failure = MEMMGR_FAILURE_NONE;
	lock_take(&p->lock);
	for (unsigned i = 0; i < p->nr_failed && failure == MEMMGR_FAILURE_NONE; i++)
		if (p->failed[i].error != -EAGAIN)
			failure = failure_of(p->failed[i].error);
	/* While failed ones are being tried, they are not in the list. */
	if (failure == MEMMGR_FAILURE_NONE && p->told)
		failure = p->failure;
	lock_release(&p->lock);
	return failure;
}

void pager_retry(struct memmgr *mm)
{
	lock_take(&mm->pager->lock);
	mm->pager->retry_ns = 0;
	lock_release(&mm->pager->lock);
	pager_wake(mm->pager);
}

/* Gives a page up that cannot be had: it reads as zero. */
static void give_up(struct memmgr *mm, uint32_t page)
{
	struct chunk *c = page_chunk(&mm->pt, page);
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[page];
	if (e & PAGE_LOADING) {
		if (page_state(e) == PAGE_COMPRESSED) {
			store_drop(mm->store, page_store_ref(e));
			page_table_set(&mm->pt, page, PAGE_ZERO | (e & PAGE_BUSY));
		} else {
			page_table_set(&mm->pt, page, e & ~(uint64_t)PAGE_LOADING);
		}
		/* Whoever waits asks again. */
		uffd_wake(mm->uffd, page_hva(&mm->pt, page), GUEST_PAGE_SIZE);
	}
	lock_release(&c->lock);
}

void pager_forget_failed(struct memmgr *mm)
{
	struct pager *p = mm->pager;
	for (;;) {
		uint32_t page = 0;
		lock_take(&p->lock);
		bool got = p->nr_failed > 0;
		if (got)
			page = p->failed[--p->nr_failed].page;
		else
			p->told = false;
		lock_release(&p->lock);
		if (!got)
			return;
		give_up(mm, page);
	}
}

/* --- the thread --- */

static void wait_for_work(struct pager *p)
{
	struct pollfd fds[2] = {{.fd = p->event, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	uint64_t count;
	int timeout_ms = -1;
	atomic_store(&p->asleep, true);
	lock_take(&p->lock);
	bool work = p->nr_requests > 0;
	/* A stream that waits for no read of ours waits for a cluster that is being given back to the disk. */
	for (unsigned i = 0; i < STREAMS; i++)
		if (p->streams[i].left > 0 && p->streams[i].at && !(p->io && store_io_pending(p->io)))
			timeout_ms = 1;
	if (p->nr_failed || p->told) {
		uint64_t now = clock_now_ns();
		timeout_ms = p->retry_ns > now ? (int)((p->retry_ns - now) / 1000000 + 1) : 1;
	}
	lock_release(&p->lock);
	if (p->io && store_io_pending(p->io))
		fds[1].fd = store_io_fd(p->io);
	if (timeout_ms < 0 && p->mm->swap && swap_file_wants_trim(p->mm->swap))
		timeout_ms = TRIM_MS;
	if (work || p->mm->stopping)
		timeout_ms = 0;
	poll(fds, 2, timeout_ms);
	if (!atomic_exchange(&p->asleep, false) && read(p->event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_warning("memory: the pager's event cannot be read: %s", strerror(errno));
}

static void *pager_main(void *arg)
{
	struct pager *p = arg;
	handler_places_enter_background(&p->mm->places);
	while (!p->mm->stopping) {
		bool worked = serve_requests(p);
		worked |= streams_work(p);
		/* Last, since it hands to the kernel what was begun above. */
		worked |= reap(p);
		retry_failed(p);
		if (!worked && p->mm->swap)
			worked = swap_file_trim(p->mm->swap);
		if (!worked)
			wait_for_work(p);
	}
	handler_places_leave_background(&p->mm->places);
	return NULL;
}

int pager_start(struct memmgr *mm, struct error *err)
{
	struct pager *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, ENOMEM, "guest memory: out of memory");
	p->mm = mm;
	mm->pager = p;
	lock_init(&p->lock, LOCK_MEMMGR_PAGER);
	p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret = p->event < 0 ? -errno : bring_buffer_init(&p->buffer);
	if (ret == 0)
		ret = bring_stage_init(&p->stage);
	if (ret)
		return error_set(err, -ret, "guest memory: cannot make the pager: %s", strerror(-ret));
	if (mm->swap) {
		ret = store_io_create(mm->store, &p->io, err);
		if (ret)
			return ret;
	}
	ret = -pthread_create(&p->thread, NULL, pager_main, p);
	if (ret)
		return error_set(err, -ret, "guest memory: cannot start the pager's thread: %s", strerror(-ret));
	pthread_setname_np(p->thread, "mem-pager");
	p->started = true;
	return 0;
}

void pager_stop(struct memmgr *mm)
{
	struct pager *p = mm->pager;
	uint64_t one = 1;
	if (!p)
		return;
	if (p->started) {
		if (write(p->event, &one, sizeof(one)) < 0)
			log_warning("memory: the pager cannot be woken: %s", strerror(errno));
		pthread_join(p->thread, NULL);
	}
	store_io_destroy(p->io);
	if (p->event >= 0)
		close(p->event);
	bring_stage_fini(&p->stage);
	bring_buffer_fini(&p->buffer);
	lock_fini(&p->lock);
	mem_free(p);
	mm->pager = NULL;
}
