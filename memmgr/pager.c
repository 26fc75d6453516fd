/*
 * The pager: a thread that brings pages back ahead of the guest, and those that lie on disk.
 *
 * Pages lie in the store in the order in which they were put, and evict.c puts them in the order in which the guest once used them.
 * So a guest that wakes up, or walks through memory, faults in clusters that follow each other. That is what streams look for:
 *
 *   a cluster is touched once -----------> nothing
 *   ... again, within NEAR touches ------> stream_start: the rest of the cluster, a window of one
 *   a touch in a cluster of the window --> stream_followed: the window doubles, up to STREAM_MOST_CLUSTERS, and moves on; unless it comes
 *                                          more than NEAR touches after the last one of this stream, which may be chance
 *   the window's end --------------------> the stream waits: the next cluster is part of it, though not brought
 *   WAKE_TOUCHES within WAKE_NS ---------> the guest wakes up: what it has used before (page_table.order) comes back as one stream, if
 *                                          there is room for all of it
 *
 * A stream that is not followed costs one window. None is brought for which there is no room under the target (headroom).
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
#include "memmgr/memmgr_internal.h"
#include "memmgr/os.h"
#include "memmgr/uffd.h"

enum {
	STREAMS = 16,
	STREAM_MOST_CLUSTERS = 128,
	SLICE = BRING_BATCH, /* items between looks at what else there is to do */
	WHOLE_WINDOW = 8,    /* clusters: streams of at least that bring whole chunks */
	LOAD_AHEAD = 16,     /* clusters that a stream reads ahead, */
	LOAD_ASIDE = 2,      /* and one that is not followed: faults read, too */
	FOLLOWED_NS = 20000000,
	LOOK_AHEAD = 48,      /* clusters that one chunk, brought as a whole, may empty */
	MOST_REQUESTS = 1024, /* pages waited for on disk, and failed ones */
	RETRY_NS = 1000000000,
	TRIM_MS = 60,         /* until what was freed on disk may be discarded: swap_file_trim() */
	GOES_ON = 4,          /* clusters from one touch to the next of who follows a stream */
	FOLLOWS = 3,          /* touches where a stream is that are no chance */
	HANDLER_CLUSTERS = 3, /* of a stream, which a handler brings by itself */
	NEAR = 8,             /* touches of other pages between two of one stream */
	NEAR_PAGES = 8,       /* brought with a page whose stream is not followed */
	WAKE_TOUCHES = 128,
	WAKE_NS = 50000000,
};

/* A cluster's mark: the number of its stream with this bit, or the number of the touch that was its last one without; 0: none. */
#define MARK_STREAM (1u << 31)

struct stream {
	uint32_t id;       /* 0: free */
	store_ref at;      /* the cluster that is brought next; 0: none is left */
	size_t slot;       /* of it */
	store_ref load_at; /* the cluster that is read next */
	uint32_t loaded;   /* clusters read ahead of at */
	uint32_t left;     /* clusters to be brought, at included */
	uint32_t window;   /* as it was last set */
	store_ref last_touch;
	uint32_t touched;              /* number of the last touch */
	uint32_t follows;              /* touches one after the other where the stream was, */
	uint64_t used_ns, followed_ns; /* and when the last one was */
	store_ref ahead[LOOK_AHEAD];   /* at and what follows, as it was when the stream last worked */
	size_t nr_ahead;
};

struct request {
	uint32_t page;
};

struct failed_page {
	uint32_t page;
	int error;
};

struct pager {
	struct memmgr *mm;
	pthread_t thread;
	bool started;
	int event; /* eventfd: something is there */
	atomic_bool asleep;
	struct store_io *io; /* NULL without a disk tier */
	struct bring_buffer buffer;
	struct bring_stage stage;

	struct lock lock; /* guards the rest */
	struct stream streams[STREAMS];
	uint32_t last_stream;
	uint32_t touches; /* of pages in the store, ever */
	uint32_t burst;   /* of them, since burst_ns */
	uint64_t burst_ns;
	bool waking;          /* what the guest has used before is to come back */
	uint32_t wake_stream; /* brings it */
	struct request requests[MOST_REQUESTS];
	unsigned nr_requests;
	struct failed_page failed[MOST_REQUESTS];
	unsigned nr_failed;
	uint64_t retry_ns;           /* when failed ones are tried again */
	bool told;                   /* the owner knows of the failure, */
	enum memmgr_failure failure; /* of this one */
};

static void wake(struct pager *p)
{
	uint64_t one = 1;
	/* Pairs with the exchange in wait_for_work(): it looks at its work after it has said that it sleeps. */
	if (atomic_exchange(&p->asleep, false) && write(p->event, &one, sizeof(one)) < 0)
		log_warning("memory: the pager cannot be woken: %s", strerror(errno));
}

/* --- streams: the lock is held --- */

static uint32_t cluster_of(store_ref ref)
{
	return (uint32_t)(ref >> STORE_SLOT_BITS);
}

static struct stream *stream_find(struct pager *p, uint32_t id)
{
	for (unsigned i = 0; id && i < STREAMS; i++)
		if (p->streams[i].id == id)
			return &p->streams[i];
	return NULL;
}

/* The next clusters are part of the stream, and one more, whose touch will tell that it is followed. */
static void stream_extend(struct pager *p, struct stream *s, uint32_t clusters)
{
	store_ref ref = s->at;
	for (uint32_t i = 0; ref && i <= clusters; i++) {
		store_set_mark(p->mm->store, ref, MARK_STREAM | s->id);
		ref = store_cluster_next(p->mm->store, ref);
	}
	s->left = clusters;
	s->window = clusters;
}

static struct stream *stream_start(struct pager *p, store_ref ref, uint32_t clusters, uint64_t now_ns)
{
	struct stream *s = &p->streams[0];
	for (unsigned i = 1; i < STREAMS && s->id; i++)
		if (!p->streams[i].id || p->streams[i].used_ns < s->used_ns)
			s = &p->streams[i];
	p->last_stream = p->last_stream % (MARK_STREAM - 1) + 1;
	*s = (struct stream){
		.id = p->last_stream,
		.at = ref,
		.load_at = ref,
		.last_touch = ref,
		.touched = p->touches,
		.used_ns = now_ns,
	};
	stream_extend(p, s, clusters);
	return s;
}

/* How many clusters ahead of the stream the touch is: few of them, again and again, if the guest follows its order. nr_ahead: many. */
static size_t stream_ahead(const struct stream *s, store_ref ref)
{
	size_t i = 0;
	while (i < s->nr_ahead && cluster_of(s->ahead[i]) != cluster_of(ref))
		i++;
	return i;
}

/* Whether the touch goes on in the stream's order from the last one, wherever the stream is. */
static bool stream_goes_on(struct pager *p, const struct stream *s, store_ref ref)
{
	store_ref at = s->last_touch;
	for (unsigned i = 0; at && i < GOES_ON; i++, at = store_cluster_next(p->mm->store, at))
		if (cluster_of(at) == cluster_of(ref))
			return true;
	return false;
}

/* The guest has come past the stream, which brings what it does not want any more: goes on from here. */
static void stream_seek(struct stream *s, store_ref ref)
{
	s->at = s->load_at = ref;
	s->slot = 0;
	s->loaded = 0;
	s->nr_ahead = 0;
}

/* Whether the cluster begins with a page of this chunk. */
static bool begins_in_chunk(struct pager *p, store_ref ref, uint32_t chunk)
{
	struct store_item item;
	size_t self;
	return store_cluster_items(p->mm->store, ref, &item, 1, &self) && item.page_nr / CHUNK_PAGES == chunk;
}

/*
 * Leaves that cluster and the next ones to the handler that was asked for the page, and goes on behind them: two that work on one chunk
 * wait for each other. Returns how many are left.
 */
static unsigned stream_leave(struct pager *p, struct stream *s, size_t ahead, uint32_t page)
{
	size_t to = ahead + 1;
	while (to < s->nr_ahead && (to - ahead < HANDLER_CLUSTERS || begins_in_chunk(p, s->ahead[to], page / CHUNK_PAGES)) &&
	       !(p->io && store_is_on_disk(p->mm->store, s->ahead[to])))
		to++;
	if (to >= s->nr_ahead || to >= s->left)
		return 1;
	s->at = s->ahead[to];
	s->slot = 0;
	s->left -= (uint32_t)to;
	s->loaded -= s->loaded < to ? s->loaded : (uint32_t)to;
	if (!s->loaded)
		s->load_at = s->at;
	return (unsigned)(to - ahead);
}

static void stream_followed(struct pager *p, struct stream *s, store_ref ref, uint64_t now_ns)
{
	bool near = p->touches - s->touched <= NEAR, same = cluster_of(s->last_touch) == cluster_of(ref);
	s->used_ns = now_ns;
	s->touched = p->touches;
	s->last_touch = ref;
	if (!near || same)
		return;
	uint32_t clusters = 2 * s->window;
	if (s->at)
		stream_extend(p, s, clusters < STREAM_MOST_CLUSTERS ? clusters : STREAM_MOST_CLUSTERS);
}

/* Whether the guest wakes up: it touches what was taken from it at a high rate. */
static bool note_burst(struct pager *p, uint64_t now_ns)
{
	if (now_ns - p->burst_ns > WAKE_NS) {
		p->burst_ns = now_ns;
		p->burst = 0;
	}
	if (++p->burst != WAKE_TOUCHES)
		return false;
	/* It does: the store is not to be walked through again and again. */
	const struct stream *s = stream_find(p, p->wake_stream);
	if (s && s->at && s->left)
		return false;
	p->waking = true;
	return true;
}

enum pager_hint pager_touched(struct memmgr *mm, uint32_t page, uint64_t ref, unsigned *clusters)
{
	struct pager *p = mm->pager;
	enum pager_hint hint = PAGER_ALONE;
	bool work = false;
	*clusters = 1;
	if (!mm->prefetch || mm->headroom <= 0)
		return PAGER_ALONE;
	uint64_t now_ns = memmgr_now_ns();
	lock_take(&p->lock);
	uint32_t mark = store_get_mark(mm->store, ref);
	struct stream *s = mark & MARK_STREAM ? stream_find(p, mark & ~MARK_STREAM) : NULL;
	p->touches++;
	if (s) {
		size_t ahead = stream_ahead(s, ref);
		bool is_near = p->touches - s->touched <= NEAR, is_there = ahead < s->nr_ahead;
		bool follows = is_near && (is_there || stream_goes_on(p, s, ref));
		stream_followed(p, s, ref, now_ns);
		s->follows = follows ? s->follows + 1 : 0;
		if (s->follows >= FOLLOWS) {
			s->followed_ns = now_ns;
			hint = s->window < WHOLE_WINDOW ? PAGER_FOLLOWED : PAGER_SURE;
			if (is_there)
				*clusters = stream_leave(p, s, ahead, page);
			else
				stream_seek(s, ref);
		} else {
			hint = PAGER_NEAR;
		}
		work = s->left > 0;
	} else if (mark && !(mark & MARK_STREAM) && ((p->touches - mark) & ~MARK_STREAM) <= NEAR) {
		stream_start(p, ref, 1, now_ns);
		hint = PAGER_FOLLOWED;
		work = true;
	} else {
		store_set_mark(mm->store, ref, (p->touches & ~MARK_STREAM) ? p->touches & ~MARK_STREAM : 1);
	}
	work |= note_burst(p, now_ns);
	lock_release(&p->lock);
	if (work)
		wake(p);
	return hint;
}

void pager_bring_companions(struct memmgr *mm, struct bring_buffer *b, uint64_t ref, enum pager_hint hint, unsigned clusters)
{
	struct store_item items[STORE_CLUSTER_SLOTS];
	size_t self, nr = store_cluster_items(mm->store, ref, items, STORE_CLUSTER_SLOTS, &self);
	size_t first = self + 1, most = hint == PAGER_NEAR ? NEAR_PAGES : BRING_BATCH;
	for (store_ref at = ref; at && clusters && first < nr; clusters--) {
		store_ref next = clusters > 1 ? store_cluster_next(mm->store, at) : 0;
		bring_begin_quietly(b);
		bring_pages(mm, b, items + first, nr - first < most ? nr - first : most);
		bring_end_quietly(mm, b);
		at = next;
		nr = at ? store_cluster_items(mm->store, at, items, STORE_CLUSTER_SLOTS, &self) : 0;
		first = 0;
		most = STORE_CLUSTER_SLOTS;
	}
}

/*
 * Starts a stream over all, if there is room for it; else over what the guest has used before: it lies last in the store, in the
 * order of its use. The lock is held, and released meanwhile.
 */
static void start_waking(struct pager *p)
{
	struct memmgr *mm = p->mm;
	uint64_t pages = 0;
	uint32_t clusters = 0, used_clusters = 0;
	bool is_used = true;
	p->waking = false;
	lock_release(&p->lock);
	store_ref ref = store_cluster_last(mm->store), from = 0, used_from = 0;
	while (ref && (int64_t)pages < mm->headroom) {
		struct store_item items[STORE_CLUSTER_SLOTS];
		size_t self, nr = store_cluster_items(mm->store, ref, items, STORE_CLUSTER_SLOTS, &self), used = 0;
		for (size_t i = 0; i < nr; i++)
			used += __atomic_load_n(&mm->pt.order[items[i].page_nr], __ATOMIC_RELAXED) != 0;
		is_used = is_used && used >= nr / 2;
		pages += nr;
		if ((int64_t)pages >= mm->headroom)
			break;
		from = ref;
		clusters++;
		if (is_used) {
			used_from = from;
			used_clusters = clusters;
		}
		ref = store_cluster_prev(mm->store, ref);
	}
	lock_take(&p->lock);
	if (!ref && from)
		p->wake_stream = stream_start(p, from, clusters, memmgr_now_ns())->id;
	else if (!is_used && used_from)
		p->wake_stream = stream_start(p, used_from, used_clusters, memmgr_now_ns())->id;
}

void pager_prewarm(struct memmgr *mm)
{
	struct pager *p = mm->pager;
	uint64_t pages = 0;
	lock_take(&p->lock);
	/* What was put last is what was used last: from there back as far as there is room, then on in the order of its use. */
	store_ref ref = store_cluster_last(mm->store), from = ref;
	uint32_t clusters = 0;
	while (ref && (int64_t)pages < mm->headroom) {
		struct store_item items[STORE_CLUSTER_SLOTS];
		size_t self;
		pages += store_cluster_items(mm->store, ref, items, STORE_CLUSTER_SLOTS, &self);
		from = ref;
		clusters++;
		ref = store_cluster_prev(mm->store, ref);
	}
	if (from)
		stream_start(p, from, clusters, memmgr_now_ns());
	lock_release(&p->lock);
	wake(p);
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
	wake(p);
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
		else
			chunk_disarm_if_whole(mm, c);
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
		p->retry_ns = memmgr_now_ns() + (error == -EAGAIN ? RETRY_NS / 100 : RETRY_NS);
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
	wake(p);
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
	if (p->nr_failed && memmgr_now_ns() >= p->retry_ns) {
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
	wake(mm->pager);
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

/* --- the streams' work --- */

/* Keeps reads of the stream's next clusters going. */
static void load_ahead(struct pager *p, struct stream *s)
{
	if (!p->io)
		return;
	bool followed = memmgr_now_ns() - s->followed_ns < FOLLOWED_NS;
	uint32_t most = followed ? LOAD_AHEAD : LOAD_ASIDE;
	store_load_set_ahead(p->io, !followed);
	while (s->load_at && s->loaded < most && s->loaded < s->left) {
		int ret = store_load_begin(p->io, s->load_at);
		if (ret == -EBUSY || ret == -ENOMEM)
			return;
		s->load_at = store_cluster_next(p->mm->store, s->load_at);
		s->loaded++;
	}
}

static void stream_next_cluster(struct pager *p, struct stream *s)
{
	s->at = store_cluster_next(p->mm->store, s->at);
	s->slot = 0;
	s->left--;
	if (s->loaded)
		s->loaded--;
	else
		s->load_at = s->at;
}

/* A look without the lock: a hint. */
static bool is_missing(const struct memmgr *mm, const struct store_item *item)
{
	return page_store_ref(__atomic_load_n(&mm->pt.entries[item->page_nr], __ATOMIC_RELAXED)) == item->ref;
}

static bool is_gone(struct memmgr *mm, store_ref ref)
{
	struct store_item item;
	size_t self;
	return store_cluster_items(mm->store, ref, &item, 1, &self) == 0;
}

/*
 * Clusters go with their last page, be it by a fault or with a chunk that came as a whole, and lead nowhere then: passes over
 * those.
 */
static void stream_skip_gone(struct pager *p, struct stream *s)
{
	struct memmgr *mm = p->mm;
	size_t here = 0;
	while (here < s->nr_ahead && s->ahead[here] != s->at)
		here++;
	size_t to = here;
	while (to < s->nr_ahead && is_gone(mm, s->ahead[to]))
		to++;
	if (to > here) {
		s->at = s->load_at = to < s->nr_ahead ? s->ahead[to] : 0;
		s->slot = 0;
		s->loaded = 0;
		s->left -= to - here < s->left ? (uint32_t)(to - here) : s->left;
	}
	s->nr_ahead = 0;
	for (store_ref ref = s->at; ref && s->nr_ahead < LOOK_AHEAD; ref = store_cluster_next(mm->store, ref))
		s->ahead[s->nr_ahead++] = ref;
}

/*
 * A slice of one stream. Returns whether there was something to do that did not have to wait. The lock is held, and released
 * meanwhile.
 */
static bool stream_step(struct pager *p, struct stream *s)
{
	struct memmgr *mm = p->mm;
	struct store_item items[STORE_CLUSTER_SLOTS];
	size_t self;
	stream_skip_gone(p, s);
	if (!s->at || !s->left)
		return false;
	load_ahead(p, s);
	/* Its cluster may be on its way. */
	if (p->io && store_is_on_disk(mm->store, s->at)) {
		int ret = store_load_begin(p->io, s->at);
		if (ret == 0 || ret == -EALREADY || ret == -EBUSY)
			return false;
		if (ret != -EEXIST) {
			s->left = 0;
			return false;
		}
	}
	size_t nr = store_cluster_items(mm->store, s->at, items, STORE_CLUSTER_SLOTS, &self);
	size_t first = s->slot < nr ? s->slot : nr, n = nr - first < SLICE ? nr - first : SLICE;
	s->slot = first + n;
	if (s->slot >= nr)
		stream_next_cluster(p, s);
	/* Where nobody follows, someone may touch the chunk while it is being read from disk as a whole, and wait for all of it. */
	bool sure = s->window >= WHOLE_WINDOW && (!p->io || memmgr_now_ns() - s->followed_ns < FOLLOWED_NS);
	lock_release(&p->lock);
	/* Chunks come as a whole where the stream brings most of them. */
	for (size_t i = 0; sure && i < n; i++)
		if (is_missing(mm, &items[first + i]))
			bring_chunk(mm, &p->stage, items[first + i].page_nr);
	bring_pages(mm, &p->buffer, items + first, n);
	lock_take(&p->lock);
	return true;
}

static bool work_on_streams(struct pager *p)
{
	struct memmgr *mm = p->mm;
	bool worked = false;
	lock_take(&p->lock);
	if (p->waking)
		start_waking(p);
	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *s = &p->streams[i];
		if (!s->id || !s->left || !s->at)
			continue;
		if (mm->headroom <= 0 || !mm->prefetch)
			s->left = 0;
		else if (stream_step(p, s))
			worked = true;
	}
	lock_release(&p->lock);
	return worked;
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
		uint64_t now = memmgr_now_ns();
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
		worked |= work_on_streams(p);
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
