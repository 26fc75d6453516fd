/*
 * Putting pages into the store: see store.h, and store.c for clusters.
 *
 * A writer has a few open clusters for each method. A page goes to the fullest that it fits in, so that small pages fill what large
 * ones leave; but what counts is the RAM of whole pages that a cluster takes: past CLUSTER_CLOSES it is closed as soon as hardly
 * anything of its last page is left.
 *
 * Pages that are put densely one after the other make chains (compress.h). A chain lies in one cluster: where that has no room for
 * its next page, the page begins another one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/os.h"
#include "memmgr/store_internal.h"

#define NR_METHODS 3
#define NR_OPEN 4
#define CLUSTER_CLOSES 40960u
#define TAIL_WASTE 160u

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct open_cluster {
	uint32_t number; /* 0: none */
	uint32_t nr_slots, data_len;
	slot_word slots[STORE_CLUSTER_SLOTS];
};

struct store_writer {
	struct store *s;
	struct compressor *compressor;
	size_t counted_bytes;       /* of it, in store.writer_bytes */
	struct open_cluster *chain; /* where the chain lies that the next page may go on with; NULL: none */
	unsigned chain_len;         /* pages of it */
	struct open_cluster open[NR_METHODS][NR_OPEN];
	uint8_t scratch[COMPRESS_PAGE];
};

static void count_bytes(struct store_writer *w)
{
	size_t bytes = sizeof(*w) + compressor_bytes(w->compressor);
	atomic_fetch_add(&w->s->writer_bytes, bytes - w->counted_bytes);
	w->counted_bytes = bytes;
}

int store_writer_create(struct store *s, struct store_writer **out)
{
	struct store_writer *w = mem_calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	int ret = compressor_create(&w->compressor);
	if (ret) {
		mem_free(w);
		return ret;
	}
	w->s = s;
	count_bytes(w);
	*out = w;
	return 0;
}

/* --- clusters --- */

/* Bytes of data and table, with so many slots. */
static uint32_t cluster_len(uint32_t data_len, uint32_t nr_slots)
{
	return ((data_len + 7) & ~7u) + nr_slots * (uint32_t)sizeof(slot_word);
}

static bool fits(const struct open_cluster *o, uint32_t len)
{
	return o->number && o->nr_slots < STORE_CLUSTER_SLOTS && cluster_len(o->data_len + len, o->nr_slots + 1) <= CLUSTER_BYTES;
}

static void close_cluster(struct store_writer *w, struct open_cluster *o)
{
	struct store *s = w->s;
	struct cluster *c = cluster_of(s, o->number);
	uint8_t *buffer = cluster_buffer(s, o->number);
	uint32_t number = o->number, used = (uint32_t)whole_pages(cluster_len(o->data_len, o->nr_slots));
	slot_word *table = (slot_word *)(buffer + ((o->data_len + 7) & ~7u));

	lock_take(&s->lock);
	for (uint32_t i = 0; i < o->nr_slots; i++)
		atomic_store_explicit(&table[i], atomic_load(&o->slots[i]), memory_order_relaxed);
	atomic_store_explicit(&c->slots, table, memory_order_release); /* invariant 4 */
	lock_release(&s->lock);

	cluster_wait_unpinned(c); /* invariant 2: o->slots is used again */
	if (used < CLUSTER_BYTES)
		mem_madvise(buffer + used, CLUSTER_BYTES - used, MADV_DONTNEED);
	o->number = 0;
	if (w->chain == o)
		w->chain = NULL;

	lock_take(&s->lock);
	cluster_set_state(c, CLUSTER_RAM);
	s->cluster_bytes -= CLUSTER_BYTES - used;
	if (c->nr_live == 0) {
		cluster_release(s, number); /* invariant 5 */
		return;
	}
	cluster_enqueue(s, number, cluster_home_queue(c));
	lock_release(&s->lock);
}

static int open_cluster(struct store_writer *w, struct open_cluster *o, enum store_method method)
{
	struct store *s = w->s;
	lock_take(&s->lock);
	uint32_t number = cluster_allocate(s, true);
	lock_release(&s->lock);
	if (!number)
		return -ENOSPC;
	/* All at once: sixteen faults cost as much as compressing a page. */
	int ret = mem_madvise(cluster_buffer(s, number), CLUSTER_BYTES, MADV_POPULATE_WRITE);
	struct cluster *c = cluster_of(s, number);
	lock_take(&s->lock);
	if (ret == -ENOMEM) {
		cluster_free(s, number, CLUSTER_BYTES, false);
		lock_release(&s->lock);
		return -ENOMEM;
	}
	c->nr_slots = c->nr_live = 0;
	c->data_len = c->live_bytes = c->mark = 0;
	c->method = (uint8_t)method;
	c->queue = QUEUE_NONE;
	c->bucket = 0;
	c->opened_ms = store_now_ms();
	atomic_store(&c->serial, (uint32_t)atomic_fetch_add(&s->opened, 1) + 1);
	atomic_store(&c->slots, o->slots);
	cluster_list_append(s, &s->order, LINK_ORDER, number);
	cluster_set_state(c, CLUSTER_OPEN);
	lock_release(&s->lock);
	o->number = number;
	o->nr_slots = o->data_len = 0;
	return 0;
}

/* An open cluster with room for len bytes. */
static int find_room(struct store_writer *w, enum store_method method, uint32_t len, struct open_cluster **out)
{
	struct open_cluster *open = w->open[method], *best = NULL, *none = NULL, *fullest = NULL;
	for (unsigned i = 0; i < NR_OPEN; i++) {
		struct open_cluster *o = &open[i];
		if (!o->number) {
			none = o;
			continue;
		}
		if (fits(o, len) && (!best || o->data_len > best->data_len))
			best = o;
		if (!fullest || o->data_len > fullest->data_len)
			fullest = o;
	}
	if (!best) {
		if (!none) {
			close_cluster(w, fullest);
			none = fullest;
		}
		int ret = open_cluster(w, none, method);
		if (ret)
			return ret;
		best = none;
	}
	*out = best;
	return 0;
}

void store_writer_flush(struct store_writer *w)
{
	for (unsigned method = 0; method < NR_METHODS; method++)
		for (unsigned i = 0; i < NR_OPEN; i++)
			if (w->open[method][i].number)
				close_cluster(w, &w->open[method][i]);
}

void store_writer_destroy(struct store_writer *w)
{
	if (!w)
		return;
	store_writer_flush(w);
	atomic_fetch_sub(&w->s->writer_bytes, w->counted_bytes);
	compressor_destroy(w->compressor);
	mem_free(w);
}

/* --- putting --- */

/* Adds the bytes as a slot of the cluster. */
static store_ref append(struct store_writer *w, struct open_cluster *o, uint32_t page_nr, const void *bytes, uint32_t len,
			enum compression how)
{
	struct store *s = w->s;
	struct cluster *c = cluster_of(s, o->number);
	memcpy(cluster_buffer(s, o->number) + o->data_len, bytes, len);
	atomic_store_explicit(&o->slots[o->nr_slots],
			      (uint64_t)page_nr << SLOT_PAGE_SHIFT | (uint64_t)o->data_len << SLOT_OFFSET_SHIFT |
				      (uint64_t)(len ? len - 1 : 0) << SLOT_LEN_SHIFT | (uint64_t)how << SLOT_HOW_SHIFT | SLOT_LIVE,
			      memory_order_release);
	store_ref ref = cluster_ref(o->number, o->nr_slots);
	o->data_len += len;
	o->nr_slots++;
	lock_take(&s->lock);
	c->nr_slots++;
	c->nr_live++;
	c->data_len += len;
	c->live_bytes += len;
	s->puts++;
	s->pages_ram++;
	s->data_bytes += len;
	lock_release(&s->lock);
	return ref;
}

/*
 * Compresses by zstd to w->scratch, as the next page of the chain where that goes on. Returns as compress_dense(), with *how, and *room the
 * open cluster that the page must go to, NULL: any.
 */
static int put_dense(struct store_writer *w, const void *page, enum compression *how, struct open_cluster **room)
{
	struct open_cluster *o = w->chain;
	int len = 0;
	*how = COMPRESSION_ZSTD_CHAIN;
	*room = o;
	w->chain = NULL; /* until the page is where it belongs */
	if (o && w->chain_len < COMPRESS_CHAIN) {
		len = compress_dense(w->compressor, w->chain_len, page, w->scratch, STORE_WORTHWHILE - 1);
		if (len <= 0 || fits(o, (uint32_t)len))
			return len;
	}
	*how = COMPRESSION_ZSTD;
	*room = NULL;
	return compress_dense(w->compressor, 0, page, w->scratch, STORE_WORTHWHILE - 1);
}

static int compress(struct store_writer *w, const void *page, enum store_method method, enum compression *how,
		    struct open_cluster **room)
{
	int len = 0;
	*how = COMPRESSION_LZ4;
	*room = NULL;
	if (method == STORE_FAST || page_looks_random(page)) {
		len = compress_fast(w->compressor, page, w->scratch, STORE_WORTHWHILE - 1);
		/* In half of what LZ4 finds nothing to save in, zstd does; but hardly in what looks random. */
		if (len || page_looks_random(page))
			return len;
		w->chain = NULL; /* it lies in another cluster, or ends here */
	}
	len = put_dense(w, page, how, room);
	count_bytes(w);
	return len;
}

int store_put(struct store_writer *w, uint32_t page_nr, const void *page, enum store_method method, store_ref *ref)
{
	enum compression how = COMPRESSION_NONE;
	struct open_cluster *o = NULL;
	const void *bytes = w->scratch;
	int len = COMPRESS_PAGE, ret = 0;
	if (page_is_zero(page)) {
		len = 0;
		how = COMPRESSION_ZERO;
	} else if (method == STORE_RAW) {
		bytes = page;
	} else {
		len = compress(w, page, method, &how, &o);
		if (len == 0)
			atomic_fetch_add_explicit(&w->s->incompressible, 1, memory_order_relaxed);
		if (len <= 0)
			return len ? len : -E2BIG;
	}
	if (!o)
		ret = find_room(w, method, (uint32_t)len, &o);
	if (ret)
		return ret;
	*ref = append(w, o, page_nr, bytes, (uint32_t)len, how);
	if (method == STORE_DENSE && (how == COMPRESSION_ZSTD || how == COMPRESSION_ZSTD_CHAIN)) {
		w->chain = o;
		w->chain_len = how == COMPRESSION_ZSTD ? 1 : w->chain_len + 1;
	}
	uint32_t used = cluster_len(o->data_len, o->nr_slots);
	if (o->nr_slots == STORE_CLUSTER_SLOTS || (used >= CLUSTER_CLOSES && whole_pages(used) - used <= TAIL_WASTE))
		close_cluster(w, o);
	return 0;
}
