/*
 * Streams: what comes back ahead of the guest.
 *
 * Pages lie in the store in the order in which they were put, and evict.c puts them in the order in which the guest once used them.
 * So a guest that wakes up, or walks through memory, faults in clusters that follow each other. That is what streams look for:
 *
 *   a cluster is touched once -----------> nothing
 *   ... again, within NEAR touches ------> stream_start: the rest of the cluster, a window of one
 *   a touch in a cluster of the window --> stream_followed: the window doubles, up to STREAM_MOST_CLUSTERS, and moves on; unless it comes
 *                                          more than NEAR touches after the last one of this stream, which may be chance
 *   the window's end --------------------> the stream waits: the next cluster is part of it, though not brought
 *   WAKE_TOUCHES within WAKE_NS ---------> the guest wakes up: all comes back as one stream, or, if there is no room for that, what it
 *                                          has used before (page_table.order)
 *   FOLLOWS touches where a stream is,
 *   or going on from one to the next ----> the guest follows it: handlers take the clusters of the touched chunk, and leave the next
 *                                          chunk to the stream; a stream that has fallen behind goes where the guest is
 *
 * A stream that is not followed costs one window, or a disk whatever it has to spare. None is brought for which there is no room under the target (headroom).
 */
#include <errno.h>

#include "memmgr/pager_internal.h"

enum {
	STREAM_MOST_CLUSTERS = 128,
	SLICE = BRING_BATCH, /* items between looks at what else there is to do */
	WHOLE_WINDOW = 8,    /* clusters: streams of at least that bring whole chunks */
	LOAD_ASIDE = 2,      /* clusters that a stream reads ahead that is not followed: faults read, too */
	FOLLOWED_NS = 20000000,
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
	uint64_t now_ns = clock_now_ns();
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
		pager_wake(p);
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
		p->wake_stream = stream_start(p, from, clusters, clock_now_ns())->id;
	else if (!is_used && used_from)
		p->wake_stream = stream_start(p, used_from, used_clusters, clock_now_ns())->id;
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
		stream_start(p, from, clusters, clock_now_ns());
	lock_release(&p->lock);
	pager_wake(p);
}

/* --- the streams' work --- */

/* Keeps reads of the stream's next clusters going. */
static void load_ahead(struct pager *p, struct stream *s)
{
	if (!p->io)
		return;
	bool followed = clock_now_ns() - s->followed_ns < FOLLOWED_NS;
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
	bool sure = s->window >= WHOLE_WINDOW && (!p->io || clock_now_ns() - s->followed_ns < FOLLOWED_NS);
	lock_release(&p->lock);
	/* Chunks come as a whole where the stream brings most of them. */
	for (size_t i = 0; sure && i < n; i++)
		if (is_missing(mm, &items[first + i]))
			bring_chunk(mm, &p->stage, items[first + i].page_nr);
	bring_pages(mm, &p->buffer, items + first, n);
	lock_take(&p->lock);
	return true;
}

bool streams_work(struct pager *p)
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
