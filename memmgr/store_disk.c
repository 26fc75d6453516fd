/*
 * Clusters to the swap file and back: see store.h, and store.c for states and invariants.
 *
 * A cluster is written from a copy, in which each record is sealed, so that it is read from meanwhile. It is loaded into its own
 * buffer as it lies on disk, and each record is unsealed when its page is wanted: the first one, for which somebody waits, does not
 * wait for the others.
 */
#include <errno.h>
#include <sys/mman.h>

#include "memmgr/os.h"
#include "memmgr/store_internal.h"

#define IO_DEPTH 32

struct transfer {
	uint32_t number; /* the cluster; 0: not in use */
	uint32_t copy;   /* a write: the number whose buffer has the sealed records */
	bool is_write;
};

struct store_io {
	struct store *s;
	struct swap_io *io;
	bool is_ahead; /* loads are, from now on */
	struct transfer transfers[IO_DEPTH];
};

int store_io_create(struct store *s, struct store_io **out, struct error *err)
{
	if (!s->swap)
		return error_set(err, ENODEV, "compressed memory: there is no swap file");
	struct store_io *io = mem_calloc(1, sizeof(*io));
	if (!io)
		return error_set(err, ENOMEM, "compressed memory: out of memory");
	int ret = swap_io_create(s->swap, IO_DEPTH, &io->io, err);
	if (ret) {
		mem_free(io);
		return ret;
	}
	io->s = s;
	*out = io;
	return 0;
}

void store_io_destroy(struct store_io *io)
{
	if (!io)
		return;
	struct store_done done[IO_DEPTH];
	while (store_io_pending(io))
		store_io_reap(io, true, done, IO_DEPTH);
	swap_io_destroy(io->io);
	mem_free(io);
}

int store_io_fd(const struct store_io *io)
{
	return swap_io_fd(io->io);
}

unsigned store_io_pending(const struct store_io *io)
{
	return swap_io_pending(io->io);
}

/* The index of a transfer that is not in use, or -1. */
static int free_transfer(const struct store_io *io)
{
	for (int i = 0; i < IO_DEPTH; i++)
		if (!io->transfers[i].number)
			return i;
	return -1;
}

/* Changes the state from one to another, if it is that. */
static bool change_state(struct store *s, struct cluster *c, enum cluster_state from, enum cluster_state to,
			 enum cluster_state *was)
{
	lock_take(&s->lock);
	*was = cluster_state(c);
	if (*was == from)
		cluster_set_state(c, to);
	lock_release(&s->lock);
	return *was == from;
}

/* --- loading --- */

/* Whether a page of it is not to be had by its record alone: of a chain, or by itself what LZ4 found nothing to save in. */
static bool has_chained(const struct cluster *c, const struct disk_table *table)
{
	for (unsigned i = 0; i < c->nr_slots; i++) {
		uint64_t word = atomic_load_explicit(&table->slots[i], memory_order_relaxed);
		if (word & SLOT_LIVE && slot_is_chained(word))
			return true;
	}
	return false;
}

int store_load_begin(struct store_io *io, store_ref ref)
{
	struct store *s = io->s;
	uint32_t number = ref_cluster(ref);
	if (number == 0 || number > s->max_clusters)
		return -EINVAL;
	struct cluster *c = cluster_of(s, number);
	int slot = free_transfer(io);
	if (slot < 0)
		return -EBUSY;
	enum cluster_state was;
	if (!change_state(s, c, CLUSTER_DISK, CLUSTER_LOADING, &was)) {
		switch (was) {
		case CLUSTER_LOADING:
		case CLUSTER_RELEASING:
			return -EALREADY;
		case CLUSTER_FREE:
			return -EINVAL;
		default:
			return -EEXIST;
		}
	}
	const struct disk_table *table = cluster_disk_table(s, c);
	/* Nobody who waits for a page of a chain can have it but by this read. */
	swap_io_set_ahead(io->io, io->is_ahead && !has_chained(c, table));
	int ret = swap_io_read(io->io, &table->extent, cluster_buffer(s, number), (uint64_t)slot);
	if (ret) {
		lock_take(&s->lock);
		cluster_set_state(c, CLUSTER_DISK);
		if (c->nr_live == 0)
			cluster_release(s, number); /* invariant 5 */
		else
			lock_release(&s->lock);
		return ret;
	}
	io->transfers[slot] = (struct transfer){.number = number};
	return 0;
}

void store_load_set_ahead(struct store_io *io, bool is_ahead)
{
	io->is_ahead = is_ahead;
}

static int reap_load(struct store *s, uint32_t number, int result)
{
	struct cluster *c = cluster_of(s, number);
	if (result) /* before the state says that somebody else may load */
		mem_madvise(cluster_buffer(s, number), CLUSTER_STRIDE, MADV_DONTNEED);
	lock_take(&s->lock);
	if (result) {
		s->io_errors++;
		cluster_set_state(c, CLUSTER_DISK);
	} else {
		s->clusters_read++;
		s->pages_read += c->nr_live;
		cluster_set_state(c, CLUSTER_BOTH);
		s->cluster_bytes += cluster_ram(s, number);
		s->pages_ram += c->nr_live;
		s->pages_disk -= c->nr_live;
		s->data_bytes += c->live_bytes;
		cluster_enqueue(s, number, QUEUE_BOTH);
		c->opened_ms = store_now_ms();
	}
	if (c->nr_live == 0)
		cluster_release(s, number); /* invariant 5 */
	else
		lock_release(&s->lock);
	return result;
}

/* --- one page --- */

/* Reads and opens a record of a pinned cluster that is on disk, whether it is being loaded meanwhile or not. */
static int read_record(struct store *s, const struct disk_table *table, unsigned slot, uint8_t *buffer, uint8_t *plain)
{
	uint64_t word = atomic_load_explicit(&table->slots[slot], memory_order_relaxed);
	/* One of a chain takes the others of it, too. */
	if (!(word & SLOT_LIVE) || !slot_has_record(word) || slot_is_chained(word))
		return -EAGAIN;
	size_t begin = store_record_offset(table, slot), len = slot_len(word) + SWAP_TAG_BYTES;
	size_t from = begin & ~(size_t)(SWAP_ALIGNMENT - 1),
	       to = (begin + len + SWAP_ALIGNMENT - 1) & ~(size_t)(SWAP_ALIGNMENT - 1);
	if (to > table->extent.len || to - from > STORE_DISK_BUFFER)
		return -EIO;
	int ret = swap_file_read(s->swap, &table->extent, (uint32_t)from, (uint32_t)(to - from), buffer);
	return ret ? ret : swap_file_unseal(s->swap, &table->extent, slot, buffer + (begin - from), len, plain);
}

uint32_t store_serial(const struct store *s, store_ref ref)
{
	return atomic_load(&cluster_of(s, ref_cluster(ref))->serial);
}

int store_get_from_disk(struct store *s, store_ref ref, void *buffer, void *page, uint32_t *serial)
{
	uint32_t number = ref_cluster(ref);
	if (number == 0 || number > s->max_clusters)
		return -EAGAIN;
	struct cluster *c = cluster_of(s, number);
	uint8_t plain[COMPRESS_PAGE];
	enum cluster_state state = (enum cluster_state)(atomic_fetch_add(&c->word, 1) >> CLUSTER_STATE_SHIFT); /* invariant 2 */
	int ret = -EAGAIN;
	if (state == CLUSTER_DISK || state == CLUSTER_LOADING) {
		slot_word *slots = atomic_load_explicit(&c->slots, memory_order_acquire);
		const struct disk_table *table = (const struct disk_table *)((char *)slots - offsetof(struct disk_table, slots));
		*serial = atomic_load(&c->serial);
		ret = read_record(s, table, ref_slot(ref), buffer, plain);
		uint64_t word = atomic_load_explicit(&slots[ref_slot(ref)], memory_order_relaxed);
		if (ret == 0)
			ret = decompress_page((enum compression)slot_how(word), plain, slot_len(word), page);
	}
	atomic_fetch_sub(&c->word, 1);
	return ret;
}

/* --- writing --- */

/* The cluster that is given back next: incompressible ones, for which RAM is no place, then the oldest. */
static uint32_t oldest(const struct store *s)
{
	uint32_t best = s->ages[QUEUE_RAW].first, now = store_now_ms();
	if (best)
		return best;
	for (unsigned queue = 0; queue < NR_QUEUES; queue++) {
		uint32_t number = s->ages[queue].first;
		if (number && (!best || now - cluster_of(s, number)->opened_ms > now - cluster_of(s, best)->opened_ms))
			best = number;
	}
	return best;
}

/*
 * Bytes of the records, as they will lie on disk. Marks the dead that have none: all but those that a live page of their chain needs
 * (invariants 7 and 8). With the lock held.
 */
static size_t mark_records(struct cluster *c, slot_word *slots)
{
	size_t len = 0;
	bool needed = false; /* by a live page that comes later in the chain */
	for (unsigned i = c->nr_slots; i-- > 0;) {
		uint64_t word = atomic_load(&slots[i]);
		bool kept = word & SLOT_LIVE;
		if (slot_is_chained(word)) {
			kept |= needed;
			needed = kept && slot_how(word) != COMPRESSION_ZSTD;
		}
		if (kept)
			len += slot_has_record(word) ? slot_len(word) + SWAP_TAG_BYTES : 0;
		else
			atomic_store(&slots[i], word | (uint64_t)SLOT_NO_RECORD << SLOT_HOW_SHIFT);
	}
	return len;
}

/* The table that a cluster has beside its extent, from the one behind its data. Under the lock. Returns 0 or -ENOMEM. */
static int make_disk_table(struct store *s, struct cluster *c, struct disk_table **table)
{
	*table = cluster_disk_table(s, c);
	if (*table) /* it could not be written the last time */
		return 0;
	size_t bytes = sizeof(**table) + c->nr_slots * sizeof(slot_word);
	*table = mem_calloc(1, bytes);
	if (!*table)
		return -ENOMEM;
	const slot_word *slots = atomic_load(&c->slots);
	for (unsigned i = 0; i < c->nr_slots; i++)
		atomic_store_explicit(&(*table)->slots[i], atomic_load(&slots[i]), memory_order_relaxed);
	atomic_store_explicit(&c->slots, (*table)->slots, memory_order_release); /* invariant 4 */
	s->table_bytes += bytes;
	return 0;
}

static void seal_records(struct store *s, uint32_t number, const struct disk_table *table, uint8_t *to)
{
	const struct cluster *c = cluster_of(s, number);
	const uint8_t *buffer = cluster_buffer(s, number);
	for (unsigned i = 0; i < c->nr_slots; i++) {
		uint64_t word = atomic_load(&table->slots[i]);
		if (!slot_has_record(word))
			continue;
		swap_file_seal(s->swap, &table->extent, i, buffer + slot_offset(word), slot_len(word), to);
		to += slot_len(word) + SWAP_TAG_BYTES;
	}
}

/* Back to RAM alone. With the lock held, which it releases. */
static void unwrite(struct store *s, uint32_t number)
{
	struct cluster *c = cluster_of(s, number);
	struct disk_table *table = cluster_disk_table(s, c);
	struct swap_extent extent = table->extent;
	table->extent = (struct swap_extent){0};
	cluster_set_state(c, CLUSTER_RAM);
	cluster_enqueue(s, number, cluster_home_queue(c));
	if (c->nr_live == 0)
		cluster_release(s, number); /* invariant 5 */
	else
		lock_release(&s->lock);
	if (extent.len)
		swap_file_free(s->swap, &extent);
}

/* Begins to write the cluster, in state RAM. With the lock held, which it releases. Returns 0 or -errno. */
static int write_cluster(struct store_io *io, uint32_t number, int slot)
{
	struct store *s = io->s;
	struct cluster *c = cluster_of(s, number);
	struct disk_table *table;
	/* Whoever writes wants to be rid of RAM: the limit does not count for the copy. */
	uint32_t copy = cluster_allocate(s, false);
	int ret = copy ? make_disk_table(s, c, &table) : -ENOMEM;
	if (ret) {
		if (copy)
			cluster_free(s, copy, CLUSTER_BYTES, false);
		lock_release(&s->lock);
		return ret;
	}
	size_t len = mark_records(c, table->slots);
	cluster_set_state(c, CLUSTER_WRITING);
	cluster_enqueue(s, number, QUEUE_NONE);
	lock_release(&s->lock);

	struct swap_extent extent;
	ret = swap_file_allocate(s->swap, len ? len : 1, &extent);
	if (!ret) {
		table->extent = extent;
		seal_records(s, number, table, cluster_buffer(s, copy));
		ret = swap_io_write(io->io, &table->extent, cluster_buffer(s, copy), (uint64_t)slot);
	}
	if (ret) {
		lock_take(&s->lock);
		cluster_free(s, copy, CLUSTER_BYTES, false);
		unwrite(s, number);
		return ret;
	}
	io->transfers[slot] = (struct transfer){.number = number, .copy = copy, .is_write = true};
	return 0;
}

static int reap_write(struct store *s, const struct transfer *t, int result)
{
	lock_take(&s->lock);
	cluster_free(s, t->copy, CLUSTER_BYTES, cluster_disk_table(s, cluster_of(s, t->number))->extent.len <= CLUSTER_BYTES);
	if (result) {
		s->io_errors++;
		s->write_error = result;
		unwrite(s, t->number);
		return result;
	}
	s->clusters_written++;
	s->pages_written += cluster_of(s, t->number)->nr_live;
	cluster_give_back(s, t->number);
	return 0;
}

int store_write_begin(struct store_io *io, unsigned max)
{
	struct store *s = io->s;
	unsigned nr = 0;
	int ret = 0;
	lock_take(&s->lock);
	ret = s->write_error;
	s->write_error = 0;
	lock_release(&s->lock);
	while (!ret && nr < max) {
		int slot = free_transfer(io);
		if (slot < 0)
			break;
		lock_take(&s->lock);
		uint32_t number = oldest(s);
		if (!number) {
			lock_release(&s->lock);
			break;
		}
		if (cluster_state(cluster_of(s, number)) == CLUSTER_BOTH)
			cluster_give_back(s, number);
		else
			ret = write_cluster(io, number, slot);
		nr += ret == 0;
	}
	return nr || ret == -EBUSY ? (int)nr : ret;
}

size_t store_io_reap(struct store_io *io, bool wait, struct store_done *done, size_t max)
{
	struct swap_io_done finished[IO_DEPTH];
	size_t nr = swap_io_reap(io->io, wait, finished, max < IO_DEPTH ? max : IO_DEPTH);
	for (size_t i = 0; i < nr; i++) {
		struct transfer *t = &io->transfers[finished[i].token];
		done[i] = (struct store_done){.is_write = t->is_write, .ref = cluster_ref(t->number, 0)};
		done[i].result =
			t->is_write ? reap_write(io->s, t, finished[i].result) : reap_load(io->s, t->number, finished[i].result);
		t->number = 0;
	}
	return nr;
}
