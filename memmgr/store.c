/*
 * See store.h. Clusters of compressed pages: the pages, and where clusters are in RAM. store_write.c appends, store_disk.c writes
 * and loads.
 *
 * Each cluster number has a descriptor and a place for its buffer in one large mapping, in which only what is in use is ever
 * touched: buffers are given back to the kernel page by page, and a cluster that lies on disk takes its descriptor and a word a
 * page. A slot is one word; the table of slots lies right behind the data, so that a page takes its bytes and 8 more, and a cluster
 * 64 bytes and what is left of its last 4 KiB.
 *
 *                    cluster_allocate             close_cluster             store_write_begin            reap_write
 *             FREE ───────────────────> OPEN ─────────────────────> RAM ──────────────────────> WRITING ──────────┐
 *              ^                                                    ^ |                           | reap_write: failed
 *              |                                                    | └───────────────────────────┘               |
 *              |   cluster_release: RAM, BOTH, DISK                                                               v
 *              └──────────────────────────────────────────── RELEASING <──────────────────────────────────────────┤
 *                                                                 |          cluster_give_back                    |
 *                                                                 v          (store_write_begin)                  |
 *                    DISK <───────────────────────────────────────┘                                               |
 *                     | ^                                                                                         |
 *      store_load_begin | reap_load: failed                                                                       |
 *                     v |                                                                                         |
 *                    LOADING ─────────────────────────────────> BOTH ─────────────────────────────────────────────┘
 *                                          reap_load
 *
 * Reading takes no lock. A reader pins the cluster by adding one to the word that has the state, too: so it learns in one step
 * whether the bytes are there, and keeps them there.
 *
 * Invariants:
 *  1. The bytes of a slot do not change from the moment its reference is returned until it is dropped; but in CLUSTER_BOTH they are those
 *     on disk (sealed), in all other states with RAM the plain ones.
 *  2. A buffer is only given back, loaded into, or made another cluster's after the state has become one that readers turn away from, and
 *     after the last pin was gone since. Likewise a table of slots after cluster.slots points to another one.
 *  3. RELEASING is left by the thread that set it alone. WRITING and LOADING are left by the thread that reaps the transfer.
 *  4. The state changes, and SLOT_LIVE is cleared, under the lock. Whoever makes a copy of a table has it from before to after.
 *  5. A cluster without a live page is freed: by the last store_drop() in RAM, BOTH, DISK; else by the thread that leaves the state.
 *  6. A closed cluster is in the queue of its age in RAM and BOTH, and in no queue in other states.
 *  7. An extent's records are those of the slots that do not say SLOT_NO_RECORD or COMPRESSION_ZERO, one after the other. The former is only said of
 *     dead slots.
 *  8. The bytes of a dead slot stay while a live one of its chain comes after it: in RAM no byte goes before the cluster, and on disk such a slot
 *     has a record (mark_records).
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/container_of.h"
#include "memmgr/os.h"
#include "memmgr/store_internal.h"

/*
 * So many buffers of freed clusters keep their RAM for the next ones: giving back and touching 64 KiB takes the time of compressing
 * five pages.
 */
#define WARM_CLUSTERS 8
#define SPINS 200 /* some microseconds */

uint32_t store_now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

/* --- creation --- */

static size_t clusters_len(const struct store *s)
{
	return whole_pages(s->max_clusters * sizeof(struct cluster));
}

static size_t buffers_len(const struct store *s)
{
	return (size_t)s->max_clusters * CLUSTER_STRIDE;
}

int store_create(const struct store_params *params, struct store **out, struct error *err)
{
	/*
	 * Room for clusters with four live pages on average, which is far less than the pager's habit of emptying sparse ones
	 * leaves. Clusters on disk are emptied as their pages come back.
	 */
	uint64_t max = params->nr_pages / 4 + 4096;
	if (params->nr_pages == 0 || params->nr_pages > 1ull << 32 || max > UINT32_MAX)
		return error_set(err, EINVAL, "compressed memory: %llu pages, must be 1 to 2^32",
				 (unsigned long long)params->nr_pages);
	struct store *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "compressed memory: out of memory");
	s->nr_pages = params->nr_pages;
	s->max_clusters = (uint32_t)max;
	s->swap = params->swap;
	s->ram_limit = params->ram_limit;
	lock_init(&s->lock, LOCK_STORE);
	s->clusters = mem_map(clusters_len(s));
	s->buffers = s->clusters ? mem_map(buffers_len(s)) : NULL;
	if (!s->buffers) {
		store_destroy(s);
		return error_set(err, ENOMEM,
				 "compressed memory: cannot map %llu MiB of addresses; raise the address space limit (ulimit -v)",
				 (unsigned long long)(max * CLUSTER_STRIDE >> 20));
	}
	/* Advice only: huge pages would fill the gaps between buffers. */
	mem_madvise(s->buffers, buffers_len(s), MADV_NOHUGEPAGE);
	mem_madvise(s->buffers, buffers_len(s), MADV_DONTDUMP);
	*out = s;
	return 0;
}

void store_destroy(struct store *s)
{
	if (!s)
		return;
	for (uint32_t number = 1; number <= s->next_new; number++)
		if (cluster_state(cluster_of(s, number)) != CLUSTER_FREE) {
			struct disk_table *table = cluster_disk_table(s, cluster_of(s, number));
			if (table && table->extent.len)
				swap_file_free(s->swap, &table->extent);
			mem_free(table);
		}
	for (unsigned i = 0; i < NR_SEATS; i++)
		decompressor_destroy(s->seats[i].decompressor);
	if (s->buffers)
		munmap(s->buffers, buffers_len(s));
	if (s->clusters)
		munmap(s->clusters, clusters_len(s));
	lock_fini(&s->lock);
	mem_free(s);
}

void store_set_ram_limit(struct store *s, uint64_t bytes)
{
	lock_take(&s->lock);
	s->ram_limit = bytes;
	lock_release(&s->lock);
}

/* --- lists of clusters --- */

void cluster_list_append(struct store *s, struct cluster_list *list, enum cluster_link which, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	c->links[which].prev = list->last;
	c->links[which].next = 0;
	if (list->last)
		cluster_of(s, list->last)->links[which].next = number;
	else
		list->first = number;
	list->last = number;
}

void cluster_list_remove(struct store *s, struct cluster_list *list, enum cluster_link which, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	uint32_t next = c->links[which].next, prev = c->links[which].prev;
	if (next)
		cluster_of(s, next)->links[which].prev = prev;
	else
		list->last = prev;
	if (prev)
		cluster_of(s, prev)->links[which].next = next;
	else
		list->first = next;
}

static void set_bucket(struct store *s, uint32_t number, unsigned bucket)
{
	struct cluster *c = cluster_of(s, number);
	if (c->bucket == bucket)
		return;
	if (c->bucket)
		cluster_list_remove(s, &s->sparse[c->bucket], LINK_SPARSE, number);
	c->bucket = (uint8_t)bucket;
	if (bucket)
		cluster_list_append(s, &s->sparse[bucket], LINK_SPARSE, number);
}

void cluster_update_bucket(struct store *s, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	unsigned bucket = 0;
	if (cluster_state(c) == CLUSTER_RAM && c->data_len)
		bucket = (unsigned)((uint64_t)(c->data_len - c->live_bytes) * NR_BUCKETS / c->data_len);
	set_bucket(s, number, bucket < NR_BUCKETS ? bucket : NR_BUCKETS - 1);
}

/* Keeps invariant 6. */
void cluster_enqueue(struct store *s, uint32_t number, enum cluster_queue queue)
{
	struct cluster *c = cluster_of(s, number);
	if (c->queue != QUEUE_NONE)
		cluster_list_remove(s, &s->ages[c->queue], LINK_AGE, number);
	c->queue = (uint8_t)queue;
	if (queue != QUEUE_NONE)
		cluster_list_append(s, &s->ages[queue], LINK_AGE, number);
	cluster_update_bucket(s, number);
}

enum cluster_queue cluster_home_queue(const struct cluster *c)
{
	switch ((enum store_method)c->method) {
	case STORE_FAST:
		return QUEUE_FAST;
	case STORE_RAW:
		return QUEUE_RAW;
	default:
		return QUEUE_DENSE;
	}
}

/* --- clusters --- */

static bool state_has_ram(enum cluster_state state)
{
	return state == CLUSTER_OPEN || state == CLUSTER_RAM || state == CLUSTER_WRITING || state == CLUSTER_BOTH;
}

void cluster_set_state(struct cluster *c, enum cluster_state state)
{
	/* Pins come and go meanwhile. */
	atomic_fetch_add(&c->word, ((uint32_t)state - (uint32_t)cluster_state(c)) << CLUSTER_STATE_SHIFT);
}

void cluster_wait_unpinned(struct cluster *c)
{
	static const struct timespec moment = {.tv_nsec = 20000};
	/* A reader takes microseconds, unless it reads from disk, or waits for this CPU: then it needs us to sleep. */
	for (unsigned tries = 0; atomic_load(&c->word) & CLUSTER_PINS; tries++) {
		if (tries < SPINS)
			__builtin_ia32_pause();
		else
			nanosleep(&moment, NULL);
	}
}

struct disk_table *cluster_disk_table(const struct store *s, const struct cluster *c)
{
	slot_word *slots = atomic_load(&c->slots);
	enum cluster_state state = cluster_state(c);
	uintptr_t at = (uintptr_t)slots, buffers = (uintptr_t)s->buffers;
	if (!slots || state == CLUSTER_FREE || state == CLUSTER_OPEN || (at >= buffers && at < buffers + buffers_len(s)))
		return NULL;
	return (struct disk_table *)((char *)slots - offsetof(struct disk_table, slots));
}

static size_t disk_table_bytes(const struct cluster *c)
{
	return sizeof(struct disk_table) + c->nr_slots * sizeof(slot_word);
}

size_t cluster_ram(const struct store *s, uint32_t number)
{
	const struct cluster *c = cluster_of(s, number);
	if (cluster_state(c) == CLUSTER_BOTH)
		return cluster_disk_table(s, c)->extent.len;
	return whole_pages(((c->data_len + 7ull) & ~7ull) + c->nr_slots * sizeof(slot_word));
}

size_t store_ram_bytes(const struct store *s)
{
	size_t bytes = s->cluster_bytes + s->table_bytes + whole_pages(s->next_new * sizeof(struct cluster)) + sizeof(*s) +
		       atomic_load(&s->writer_bytes);
	for (unsigned i = 0; i < NR_SEATS; i++)
		bytes += atomic_load(&s->seats[i].bytes);
	return bytes;
}

uint32_t cluster_allocate(struct store *s, bool limited)
{
	uint32_t number = s->first_warm;
	size_t warm = number ? cluster_of(s, number)->live_bytes : 0;
	if (limited && s->ram_limit && store_ram_bytes(s) + CLUSTER_BYTES - warm > s->ram_limit)
		return 0;
	if (number) {
		s->first_warm = cluster_of(s, number)->links[LINK_ORDER].next;
		s->nr_warm--;
	} else if (s->first_free) {
		number = s->first_free;
		s->first_free = cluster_of(s, number)->links[LINK_ORDER].next;
	} else if (s->next_new < s->max_clusters) {
		number = ++s->next_new;
	} else {
		return 0;
	}
	s->cluster_bytes += CLUSTER_BYTES - warm;
	return number;
}

void cluster_free(struct store *s, uint32_t number, size_t len, bool keep)
{
	struct cluster *c = cluster_of(s, number);
	bool warm = keep && len && len <= CLUSTER_BYTES && s->nr_warm < WARM_CLUSTERS;
	if (len && !warm) {
		lock_release(&s->lock);
		mem_madvise(cluster_buffer(s, number), CLUSTER_STRIDE, MADV_DONTNEED);
		lock_take(&s->lock);
		s->cluster_bytes -= len;
	}
	cluster_set_state(c, CLUSTER_FREE);
	c->live_bytes = warm ? (uint32_t)len : 0;
	uint32_t *first = warm ? &s->first_warm : &s->first_free;
	s->nr_warm += warm;
	c->links[LINK_ORDER].next = *first;
	*first = number;
}

/*
 * Takes the cluster away from readers and out of the queues: RELEASING. Returns how much RAM its buffer still has. The lock is
 * released meanwhile.
 */
static size_t retire(struct store *s, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	bool has_ram = state_has_ram(cluster_state(c));
	size_t len = has_ram ? cluster_ram(s, number) : 0;
	cluster_set_state(c, CLUSTER_RELEASING); /* invariant 3 */
	cluster_enqueue(s, number, QUEUE_NONE);
	if (has_ram) {
		s->pages_ram -= c->nr_live;
		s->pages_disk += c->nr_live;
		s->data_bytes -= c->live_bytes;
	}
	if (atomic_load(&c->word) & CLUSTER_PINS) {
		lock_release(&s->lock);
		cluster_wait_unpinned(c); /* invariant 2 */
		lock_take(&s->lock);
	}
	return len;
}

void cluster_release(struct store *s, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	struct disk_table *table = cluster_disk_table(s, c);
	size_t table_bytes = table ? disk_table_bytes(c) : 0, len = retire(s, number);
	cluster_list_remove(s, &s->order, LINK_ORDER, number);
	atomic_store(&c->slots, NULL);
	s->table_bytes -= table_bytes;
	cluster_free(s, number, len, true);
	lock_release(&s->lock);
	if (table && table->extent.len)
		swap_file_free(s->swap, &table->extent);
	mem_free(table);
}

void cluster_give_back(struct store *s, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	size_t len = retire(s, number);
	lock_release(&s->lock);
	mem_madvise(cluster_buffer(s, number), whole_pages(len), MADV_DONTNEED);
	lock_take(&s->lock);
	s->cluster_bytes -= len;
	cluster_set_state(c, CLUSTER_DISK);
	if (c->nr_live == 0)
		cluster_release(s, number); /* invariant 5 */
	else
		lock_release(&s->lock);
}

/* --- pages --- */

static struct seat *take_seat(struct store *s)
{
	for (;;) {
		for (unsigned i = 0; i < NR_SEATS; i++)
			if (!atomic_load_explicit(&s->seats[i].busy, memory_order_relaxed) &&
			    !atomic_exchange_explicit(&s->seats[i].busy, true, memory_order_acquire))
				return &s->seats[i];
		sched_yield();
	}
}

size_t store_record_offset(const struct disk_table *table, unsigned slot)
{
	size_t offset = 0;
	for (unsigned i = 0; i < slot; i++) {
		uint64_t word = atomic_load_explicit(&table->slots[i], memory_order_relaxed);
		if (slot_has_record(word))
			offset += slot_len(word) + SWAP_TAG_BYTES;
	}
	return offset;
}

/*
 * The plain bytes of a slot of a pinned cluster that has RAM: within its buffer, or unsealed to room. Returns 0 or -EIO.
 */
static int slot_bytes(struct store *s, uint32_t number, enum cluster_state state, slot_word *slots, unsigned slot, uint8_t *room,
		      const uint8_t **bytes)
{
	uint64_t word = atomic_load_explicit(&slots[slot], memory_order_relaxed);
	const uint8_t *buffer = cluster_buffer(s, number);
	if (state != CLUSTER_BOTH) {
		*bytes = buffer + slot_offset(word);
		return 0;
	}
	const struct disk_table *table = (const struct disk_table *)((char *)slots - offsetof(struct disk_table, slots));
	*bytes = room;
	return swap_file_unseal(s->swap, &table->extent, slot, buffer + store_record_offset(table, slot),
				slot_len(word) + SWAP_TAG_BYTES, room);
}

/* The slots of slot's chain up to itself. Returns how many; 0: there is no such chain. */
static unsigned chain_of(slot_word *slots, unsigned slot, unsigned chain[COMPRESS_CHAIN])
{
	unsigned found[COMPRESS_CHAIN], nr = 0;
	for (unsigned i = slot + 1; i-- > 0;) {
		uint64_t word = atomic_load_explicit(&slots[i], memory_order_relaxed);
		if (!slot_is_chained(word))
			continue;
		if (nr == COMPRESS_CHAIN)
			return 0;
		found[nr++] = i;
		if (slot_how(word) == COMPRESSION_ZSTD)
			break;
		if (i == 0)
			return 0;
	}
	for (unsigned i = 0; i < nr; i++)
		chain[i] = found[nr - 1 - i];
	return nr;
}

/* How many of the chain's pages the seat has decompressed already. */
static unsigned chain_done(struct store *s, const struct seat *seat, uint32_t number, const unsigned *chain, unsigned nr)
{
	/* The serial tells clusters of one number apart, until it comes round. */
	if (seat->number != number || seat->serial != atomic_load_explicit(&cluster_of(s, number)->serial, memory_order_relaxed) ||
	    atomic_load_explicit(&s->opened, memory_order_relaxed) - seat->opened >= UINT32_MAX)
		return 0;
	return seat->place < nr && chain[seat->place] == seat->slot ? seat->place + 1 : 0;
}

static int read_chain(struct store *s, struct seat *seat, uint32_t number, enum cluster_state state, slot_word *slots,
		      unsigned slot, void *page)
{
	unsigned chain[COMPRESS_CHAIN], nr = chain_of(slots, slot, chain), at = chain_done(s, seat, number, chain, nr);
	uint8_t room[COMPRESS_PAGE];
	const uint8_t *bytes;
	int ret = nr ? 0 : -EIO;
	if (!seat->decompressor) {
		seat->decompressor = decompressor_create();
		if (!seat->decompressor)
			return -ENOMEM;
	}
	seat->number = 0;
	for (; ret == 0 && at < nr; at++) {
		ret = slot_bytes(s, number, state, slots, chain[at], room, &bytes);
		if (ret == 0)
			ret = decompress_dense(seat->decompressor, at, bytes,
					       slot_len(atomic_load_explicit(&slots[chain[at]], memory_order_relaxed)));
	}
	atomic_store_explicit(&seat->bytes, decompressor_bytes(seat->decompressor), memory_order_relaxed);
	if (ret)
		return ret;
	memcpy(page, decompressor_page(seat->decompressor, nr - 1), COMPRESS_PAGE);
	seat->number = number;
	seat->serial = atomic_load_explicit(&cluster_of(s, number)->serial, memory_order_relaxed);
	seat->slot = slot;
	seat->place = nr - 1;
	seat->opened = atomic_load_explicit(&s->opened, memory_order_relaxed);
	return 0;
}

/* From a pinned cluster. */
static int read_slot(struct store *s, struct seat *seat, uint32_t number, enum cluster_state state, unsigned slot, void *page)
{
	slot_word *slots = atomic_load_explicit(&cluster_of(s, number)->slots, memory_order_acquire);
	uint64_t word = atomic_load_explicit(&slots[slot], memory_order_relaxed);
	uint8_t room[COMPRESS_PAGE];
	const uint8_t *bytes;
	if (!(word & SLOT_LIVE))
		return -EINVAL;
	if (slot_how(word) == COMPRESSION_ZERO)
		return decompress_page(COMPRESSION_ZERO, NULL, 0, page);
	if (state == CLUSTER_DISK || state == CLUSTER_LOADING)
		return -EAGAIN;
	if (slot_is_chained(word))
		return read_chain(s, seat, number, state, slots, slot, page);
	int ret = slot_bytes(s, number, state, slots, slot, room, &bytes);
	return ret ? ret : decompress_page((enum compression)slot_how(word), bytes, slot_len(word), page);
}

int store_get(struct store *s, store_ref ref, void *page)
{
	uint32_t number = ref_cluster(ref);
	if (number == 0 || number > s->max_clusters)
		return -EINVAL;
	struct cluster *c = cluster_of(s, number);
	struct seat *seat = take_seat(s);
	enum cluster_state state = (enum cluster_state)(atomic_fetch_add(&c->word, 1) >> CLUSTER_STATE_SHIFT); /* invariant 2 */
	int ret = state == CLUSTER_FREE ? -EINVAL : -EAGAIN;
	if (state_has_ram(state) || state == CLUSTER_DISK || state == CLUSTER_LOADING)
		ret = read_slot(s, seat, number, state, ref_slot(ref), page);
	atomic_fetch_sub(&c->word, 1);
	atomic_fetch_add_explicit(&seat->gets, ret == 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&seat->damaged, ret == -EIO, memory_order_relaxed);
	atomic_store_explicit(&seat->busy, false, memory_order_release);
	if (ret == -EIO && state == CLUSTER_BOTH) {
		/* It may be the transfer that was at fault: whoever tries again reads again. */
		lock_take(&s->lock);
		if (cluster_state(c) == CLUSTER_BOTH)
			cluster_give_back(s, number);
		else
			lock_release(&s->lock);
	}
	return ret;
}

void store_drop(struct store *s, store_ref ref)
{
	uint32_t number = ref_cluster(ref);
	struct cluster *c = cluster_of(s, number);
	lock_take(&s->lock);
	slot_word *slots = atomic_load(&c->slots);
	uint64_t word = slots ? atomic_fetch_and(&slots[ref_slot(ref)], ~SLOT_LIVE) : 0; /* invariant 4 */
	if (!(word & SLOT_LIVE)) {
		lock_release(&s->lock);
		return;
	}
	enum cluster_state state = cluster_state(c);
	c->nr_live--;
	c->live_bytes -= slot_len(word);
	s->drops++;
	if (state_has_ram(state)) {
		s->pages_ram--;
		s->data_bytes -= slot_len(word);
	} else {
		s->pages_disk--;
	}
	if (c->nr_live == 0 && (state == CLUSTER_RAM || state == CLUSTER_BOTH || state == CLUSTER_DISK)) {
		cluster_release(s, number); /* invariant 5 */
		return;
	}
	if (state == CLUSTER_RAM)
		cluster_update_bucket(s, number);
	lock_release(&s->lock);
}

/* Functions that only look have a const store; the lock is no part of what they promise not to change. */
static struct lock *lock_of(const struct store *s)
{
	return (struct lock *)&s->lock;
}

size_t store_size(const struct store *s, store_ref ref)
{
	lock_take(lock_of(s));
	slot_word *slots = atomic_load(&cluster_of(s, ref_cluster(ref))->slots);
	size_t len = slots ? slot_len(atomic_load(&slots[ref_slot(ref)])) : 0;
	lock_release(lock_of(s));
	return len;
}

/* The slots of a cluster, with the lock held. */
static size_t list_items(const struct store *s, uint32_t number, bool live_only, struct store_item *items, size_t max)
{
	const struct cluster *c = cluster_of(s, number);
	slot_word *slots = atomic_load(&c->slots);
	size_t nr = 0;
	for (unsigned i = 0; i < c->nr_slots && nr < max; i++) {
		uint64_t word = atomic_load(&slots[i]);
		if (word & SLOT_LIVE || !live_only)
			items[nr++] = (struct store_item){(uint32_t)(word >> SLOT_PAGE_SHIFT), cluster_ref(number, i)};
	}
	return nr;
}

size_t store_cluster_items(struct store *s, store_ref ref, struct store_item *items, size_t max, size_t *self)
{
	uint32_t number = ref_cluster(ref);
	if (number == 0 || number > s->max_clusters)
		return 0;
	lock_take(&s->lock);
	size_t nr = atomic_load(&cluster_of(s, number)->slots) ? list_items(s, number, false, items, max) : 0;
	lock_release(&s->lock);
	*self = ref_slot(ref);
	return nr;
}

/* --- clusters in their order --- */

static store_ref neighbour(struct store *s, store_ref ref, bool next)
{
	uint32_t number = ref_cluster(ref), to = 0;
	if (number == 0 || number > s->max_clusters)
		return 0;
	const struct cluster *c = cluster_of(s, number);
	lock_take(&s->lock);
	if (cluster_state(c) != CLUSTER_FREE)
		to = next ? c->links[LINK_ORDER].next : c->links[LINK_ORDER].prev;
	lock_release(&s->lock);
	return to ? cluster_ref(to, 0) : 0;
}

store_ref store_cluster_next(struct store *s, store_ref ref)
{
	return neighbour(s, ref, true);
}

store_ref store_cluster_prev(struct store *s, store_ref ref)
{
	return neighbour(s, ref, false);
}

store_ref store_cluster_last(struct store *s)
{
	lock_take(&s->lock);
	uint32_t number = s->order.last;
	lock_release(&s->lock);
	return number ? cluster_ref(number, 0) : 0;
}

uint32_t store_get_mark(struct store *s, store_ref ref)
{
	lock_take(&s->lock);
	uint32_t mark = cluster_of(s, ref_cluster(ref))->mark;
	lock_release(&s->lock);
	return mark;
}

void store_set_mark(struct store *s, store_ref ref, uint32_t mark)
{
	lock_take(&s->lock);
	cluster_of(s, ref_cluster(ref))->mark = mark;
	lock_release(&s->lock);
}

bool store_is_on_disk(struct store *s, store_ref ref)
{
	enum cluster_state state = cluster_state(cluster_of(s, ref_cluster(ref)));
	return state != CLUSTER_FREE && !state_has_ram(state);
}

/* --- what to put again --- */

/* How many clusters of a bucket are looked at for the sparsest one. */
#define SPARSE_LOOKS 8

size_t store_pick_sparse(struct store *s, unsigned percent, struct store_item *items, size_t max, enum store_method *method)
{
	size_t nr = 0;
	lock_take(&s->lock);
	for (unsigned bucket = NR_BUCKETS - 1; bucket > 0 && !nr; bucket--) {
		uint32_t best = 0, best_dead = 0, number = s->sparse[bucket].first;
		for (unsigned looks = 0; number && looks < SPARSE_LOOKS; looks++) {
			const struct cluster *c = cluster_of(s, number);
			uint32_t dead = c->data_len - c->live_bytes;
			if ((uint64_t)dead * 100 > (uint64_t)c->data_len * percent && dead > best_dead) {
				best = number;
				best_dead = dead;
			}
			number = c->links[LINK_SPARSE].next;
		}
		if (!best)
			continue;
		nr = list_items(s, best, true, items, max);
		*method = (enum store_method)cluster_of(s, best)->method;
		set_bucket(s, best, 0); /* until another page of it dies: not to be picked for ever when its pages cannot be put */
		s->compacted += nr;
	}
	lock_release(&s->lock);
	return nr;
}

size_t store_pick_cold(struct store *s, uint64_t min_age_ms, struct store_item *items, size_t max)
{
	size_t nr = 0;
	lock_take(&s->lock);
	uint32_t number = s->ages[QUEUE_FAST].first;
	if (number && store_now_ms() - cluster_of(s, number)->opened_ms >= min_age_ms) {
		nr = list_items(s, number, true, items, max);
		cluster_enqueue(s, number, QUEUE_DENSE);
	}
	lock_release(&s->lock);
	return nr;
}

void store_get_stats(const struct store *s, struct store_stats *stats)
{
	lock_take(lock_of(s));
	*stats = (struct store_stats){
		.pages_ram = s->pages_ram,
		.pages_disk = s->pages_disk,
		.data_bytes = s->data_bytes,
		.ram_bytes = store_ram_bytes(s),
		.disk_bytes = s->swap ? swap_file_used(s->swap) : 0,
		.puts = s->puts,
		.drops = s->drops,
		.incompressible = atomic_load(&s->incompressible),
		.clusters_written = s->clusters_written,
		.clusters_read = s->clusters_read,
		.compacted = s->compacted,
		.pages_written = s->pages_written,
		.pages_read = s->pages_read,
		.io_errors = s->io_errors,
	};
	lock_release(lock_of(s));
	for (unsigned i = 0; i < NR_SEATS; i++) {
		stats->gets += atomic_load(&s->seats[i].gets);
		stats->damaged += atomic_load(&s->seats[i].damaged);
	}
}
