/*
 * See pool.h.
 *
 * What is kept about a slot takes 28 bytes: half of the hash, which is enough to check a hint of the index without a look at the page, and to
 * find the index's entry when the slot is freed; and the holders, four bytes each, sorted by client, four of them in place, more in a list
 * whose room doubles. Where slots are free is kept as the
 * free space of a swap file is (memmgr/swap_extents.h): a bit a slot, runs, and which free slots still take memory.
 *
 * Invariants:
 *  1. A FILLED slot's bytes never change, and its memory is there, until pool_free().
 *  2. No holder's count is 0.
 *  3. A slot's bit in extents is set unless it is FREE, or set aside in a run.
 *  4. clients[] is what counting over all holders would give.
 */
#include "dedup/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "dedup/os.h"
#include "memmgr/os.h"
#include "memmgr/swap_extents.h"

#define GROUP_SLOTS SWAP_GROUP_BLOCKS
#define RUN_SLOTS SWAP_RUN_MAX
#define IN_PLACE 4u
#define MOST_VAIN 64u /* groups that one search looks at in vain */

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_FILLED, SLOT_UNHASHED /* taken back, and then filled */ };

struct slot {
	uint64_t hash_high;
	uint16_t nr_holders;
	uint8_t room; /* of the list: 1 << room; 0: in place */
	uint8_t state;
	struct pool_holder in_place[IN_PLACE]; /* or the list's address in the first two */
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct slot) == 28, "28 bytes a slot");
#define LIST_OVERHEAD 16 /* of an allocation, in the allocator */

struct pool {
	struct pool_file file;
	int node;
	uint64_t most_slots;
	struct swap_extents extents;
	struct slot **groups;
	size_t nr_groups, most_groups;
	uint64_t list_bytes, slots, references, unclaimed;
	uint64_t trim_from;
	struct pool_client clients[POOL_MOST_CLIENTS];
};

/* --- slots --- */

static struct slot *slot_at(const struct pool *p, uint32_t slot)
{
	size_t g = slot / GROUP_SLOTS;
	return g < p->nr_groups ? &p->groups[g][slot % GROUP_SLOTS] : NULL;
}

static struct slot *filled_at(const struct pool *p, uint32_t slot)
{
	struct slot *s = slot_at(p, slot);
	return s && s->state >= SLOT_FILLED ? s : NULL;
}

uint32_t pool_end(const struct pool *p)
{
	return (uint32_t)(p->nr_groups * GROUP_SLOTS);
}

bool pool_hash(const struct pool *p, uint32_t slot, uint64_t *hash_high)
{
	const struct slot *s = slot_at(p, slot);
	if (!s || s->state != SLOT_FILLED)
		return false;
	*hash_high = s->hash_high;
	return true;
}

int pool_read(const struct pool *p, uint32_t slot, void *page)
{
	return dedup_read_at(p->file.fd, page, PAGE_HASH_BYTES, (off_t)slot * PAGE_HASH_BYTES);
}

/* --- holders --- */

static struct pool_holder *list_of(const struct slot *s)
{
	struct pool_holder *list;
	memcpy(&list, s->in_place, sizeof(list));
	return list;
}

static struct pool_holder *holders_of(struct slot *s)
{
	return s->room ? list_of(s) : s->in_place;
}

/* The first holder that is not below client. */
static size_t lower_bound(const struct pool_holder *holders, size_t nr, uint16_t client)
{
	size_t low = 0;
	while (low < nr) {
		size_t middle = (low + nr) / 2;
		if (holders[middle].client < client)
			low = middle + 1;
		else
			nr = middle;
	}
	return low;
}

static int make_room(struct pool *p, struct slot *s)
{
	size_t room = s->room ? (size_t)1 << s->room : IN_PLACE;
	if (s->nr_holders < room)
		return 0;
	size_t more = s->room ? room * 2 : 8;
	struct pool_holder *list = mem_calloc(more, sizeof(*list));
	if (!list)
		return -ENOMEM;
	memcpy(list, holders_of(s), s->nr_holders * sizeof(*list));
	if (s->room) {
		mem_free(list_of(s));
		p->list_bytes -= room * sizeof(*list) + LIST_OVERHEAD;
	}
	p->list_bytes += more * sizeof(*list) + LIST_OVERHEAD;
	memcpy(s->in_place, &list, sizeof(list));
	s->room = (uint8_t)__builtin_ctzl(more);
	return 0;
}

/* Back in place when so few are left. */
static void save_room(struct pool *p, struct slot *s)
{
	if (!s->room || s->nr_holders > IN_PLACE)
		return;
	struct pool_holder *list = list_of(s);
	p->list_bytes -= (sizeof(*list) << s->room) + LIST_OVERHEAD;
	s->room = 0;
	memcpy(s->in_place, list, s->nr_holders * sizeof(*list));
	mem_free(list);
}

/* The one holder of a slot is alone with it, or no longer. */
static void note_alone(struct pool *p, struct slot *s, bool alone)
{
	if (s->nr_holders == 1)
		p->clients[holders_of(s)[0].client].alone += alone ? 1 : (uint32_t)-1;
}

int pool_hold(struct pool *p, uint32_t slot, uint16_t client, uint32_t nr)
{
	struct slot *s = filled_at(p, slot);
	if (!s)
		return -ENOENT;
	if (nr > POOL_MOST_REFERENCES)
		return -EOVERFLOW;
	size_t at = lower_bound(holders_of(s), s->nr_holders, client);
	if (at < s->nr_holders && holders_of(s)[at].client == client) {
		if (nr > POOL_MOST_REFERENCES - holders_of(s)[at].nr)
			return -EOVERFLOW;
	} else {
		int ret = make_room(p, s);
		if (ret)
			return ret;
		struct pool_holder *holders = holders_of(s);
		note_alone(p, s, false);
		memmove(&holders[at + 1], &holders[at], (s->nr_holders - at) * sizeof(*holders));
		holders[at] = (struct pool_holder){.client = client & (POOL_MOST_CLIENTS - 1)};
		p->unclaimed -= s->nr_holders == 0;
		s->nr_holders++;
		note_alone(p, s, true);
		p->clients[client].slots++;
	}
	holders_of(s)[at].nr += nr;
	p->references += nr;
	p->clients[client].references += nr;
	return 0;
}

int pool_release(struct pool *p, uint32_t slot, uint16_t client, uint32_t nr)
{
	struct slot *s = filled_at(p, slot);
	if (!s)
		return -ENOENT;
	struct pool_holder *holders = holders_of(s);
	size_t at = lower_bound(holders, s->nr_holders, client);
	if (at == s->nr_holders || holders[at].client != client || holders[at].nr < nr)
		return -ENOENT;
	holders[at].nr -= nr;
	p->references -= nr;
	p->clients[client].references -= nr;
	if (holders[at].nr == 0) {
		note_alone(p, s, false);
		s->nr_holders--;
		memmove(&holders[at], &holders[at + 1], (s->nr_holders - at) * sizeof(*holders));
		p->unclaimed += s->nr_holders == 0;
		p->clients[client].slots--;
		save_room(p, s);
		note_alone(p, s, true);
	}
	return s->nr_holders;
}

const struct pool_holder *pool_holders(const struct pool *p, uint32_t slot, size_t *nr)
{
	struct slot *s = filled_at(p, slot);
	*nr = s ? s->nr_holders : 0;
	return s ? holders_of(s) : NULL;
}

uint32_t pool_held(const struct pool *p, uint32_t slot, uint16_t client)
{
	size_t nr;
	const struct pool_holder *holders = pool_holders(p, slot, &nr);
	size_t at = lower_bound(holders, nr, client);
	return at < nr && holders[at].client == client ? holders[at].nr : 0;
}

/* --- space --- */

/* The pool works elsewhere, too, and slower: said once. */
static void bind_slots(struct pool *p, uint64_t first, uint64_t nr)
{
	size_t bytes = nr * PAGE_HASH_BYTES;
	void *at = dedup_map(p->file.fd, bytes, (off_t)(first * PAGE_HASH_BYTES)); /* for as long as it takes to say so */
	int ret = at ? mem_mbind(at, bytes, MPOL_PREFERRED, 1ull << p->node) : -ENOMEM;
	if (at)
		munmap(at, bytes);
	if (ret && ret != -ENOSYS && first == 0)
		log_warning("pool of shared pages: cannot be bound to host node %d: %s; its memory comes from any node", p->node,
			    strerror(-ret));
}

/* Room for one group more. The file is longer than the slots there are if something fails half-way. */
static int grow(struct pool *p)
{
	uint64_t before = p->nr_groups * GROUP_SLOTS;
	if (before >= p->most_slots || p->nr_groups == p->most_groups)
		return -ENOSPC;
	uint64_t more = p->most_slots - before < GROUP_SLOTS ? p->most_slots - before : GROUP_SLOTS;
	uint64_t bytes = (before + more) * PAGE_HASH_BYTES;
	struct slot *slots = mem_calloc(GROUP_SLOTS, sizeof(*slots));
	int ret = slots ? 0 : -ENOMEM;
	if (ret == 0 && p->file.size < bytes)
		ret = pool_file_grow(&p->file, bytes);
	if (ret == 0)
		ret = swap_extents_grow(&p->extents, (unsigned)more);
	if (ret) {
		mem_free(slots);
		return ret;
	}
	/* What is written there later comes from that node: the policy belongs to the file. */
	if (p->node >= 0)
		bind_slots(p, before, more);
	p->groups[p->nr_groups++] = slots;
	return 0;
}

static int take(struct pool *p, unsigned nr, uint64_t *block)
{
	int ret = swap_extents_take(&p->extents, nr, MOST_VAIN, block);
	if (ret == 0)
		return 0;
	ret = grow(p);
	return ret ? ret : swap_extents_take_last(&p->extents, nr, block);
}

/* Near the limit runs become shorter. */
static int start_run(struct pool *p, struct pool_run *run)
{
	int ret = -ENOSPC;
	for (unsigned nr = RUN_SLOTS; nr && ret == -ENOSPC; nr /= 2) {
		uint64_t block;
		ret = take(p, nr, &block);
		if (ret == 0)
			*run = (struct pool_run){(uint32_t)block, (uint32_t)block + nr};
	}
	return ret;
}

int pool_next_slot(struct pool *p, struct pool_run *run, bool sequential, uint32_t *slot)
{
	int ret = 0;
	if (sequential && run->next == run->end)
		ret = start_run(p, run);
	if (ret)
		return ret;
	if (sequential) {
		*slot = run->next++;
	} else {
		uint64_t block;
		ret = take(p, 1, &block);
		if (ret)
			return ret;
		*slot = (uint32_t)block;
	}
	slot_at(p, *slot)->state = SLOT_TAKEN;
	return 0;
}

void pool_end_run(struct pool *p, struct pool_run *run)
{
	if (run->next < run->end)
		swap_extents_put(&p->extents, run->next, run->end - run->next);
	*run = (struct pool_run){0};
}

int pool_fill(struct pool *p, uint32_t first, size_t nr, const void *pages, const struct page_hash hashes[])
{
	/* By a write: a page that is filled through a mapping would be zeroed before, and faulted in one by one. */
	int ret = dedup_write_at(p->file.fd, pages, nr * PAGE_HASH_BYTES, (off_t)first * PAGE_HASH_BYTES);
	if (ret)
		return ret;
	for (size_t i = 0; i < nr; i++) {
		struct slot *s = slot_at(p, first + (uint32_t)i);
		s->hash_high = hashes[i].high;
		s->state = SLOT_FILLED;
	}
	p->slots += nr;
	p->unclaimed += nr;
	return 0;
}

void pool_free(struct pool *p, uint32_t slot)
{
	struct slot *s = slot_at(p, slot);
	if (s->state >= SLOT_FILLED) {
		p->slots--;
		p->unclaimed--;
	}
	s->state = SLOT_FREE;
	swap_extents_put(&p->extents, slot, 1);
}

size_t pool_trim(struct pool *p, unsigned most_holes)
{
	size_t given = 0;
	while (most_holes-- && p->extents.nr_stale) {
		uint64_t block, start;
		if (!swap_extents_next_stale(&p->extents, p->trim_from, &block)) {
			p->trim_from = 0;
			continue;
		}
		unsigned nr = swap_extents_take_stale(&p->extents, block, &start);
		int ret = mem_fallocate(p->file.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start * PAGE_HASH_BYTES,
					(off_t)nr * PAGE_HASH_BYTES);
		p->trim_from = start + nr;
		if (ret) {
			swap_extents_put(&p->extents, start, nr);
			continue;
		}
		swap_extents_put_clean(&p->extents, start, nr);
		given += nr;
	}
	return given;
}

/* --- taking back --- */

/* All slots of the file are taken; those in holes are freed. */
static int adopt(struct pool *p)
{
	uint64_t nr = p->file.size / PAGE_HASH_BYTES, block, start = 0, end = 0;
	if (nr > p->most_slots)
		return -ENOSPC;
	while (p->nr_groups * GROUP_SLOTS < nr) {
		int ret = grow(p);
		if (ret)
			return ret;
	}
	while (swap_extents_take(&p->extents, RUN_SLOTS, SIZE_MAX, &block) == 0)
		;
	while (swap_extents_take(&p->extents, 1, SIZE_MAX, &block) == 0)
		;
	for (uint64_t s = 0; s < p->nr_groups * GROUP_SLOTS && s < p->most_slots; s++) {
		uint64_t at = s * PAGE_HASH_BYTES;
		if (at >= end && !pool_file_next_data(&p->file, at, &start, &end))
			start = end = UINT64_MAX;
		if (at >= start && at < end) {
			slot_at(p, (uint32_t)s)->state = SLOT_UNHASHED;
			p->slots++;
			p->unclaimed++;
		} else {
			swap_extents_put(&p->extents, s, 1);
		}
	}
	return 0;
}

size_t pool_take_back_step(struct pool *p, const struct page_hasher *hasher, uint32_t *cursor, size_t most, uint32_t slots[],
			   struct page_hash hashes[])
{
	uint8_t page[PAGE_HASH_BYTES];
	size_t nr = 0;
	for (; *cursor < pool_end(p) && nr < most; (*cursor)++) {
		struct slot *s = slot_at(p, *cursor);
		if (s->state != SLOT_UNHASHED)
			continue;
		if (pool_read(p, *cursor, page))
			continue; /* it stays with those who hold it, and nobody else gets it */
		page_hash_run(hasher, page, 1, &hashes[nr]);
		s->hash_high = hashes[nr].high;
		s->state = SLOT_FILLED;
		slots[nr++] = *cursor;
	}
	return nr;
}

uint32_t pool_next_unclaimed(const struct pool *p, uint32_t from)
{
	for (; from < pool_end(p); from++) {
		const struct slot *s = filled_at(p, from);
		if (s && s->nr_holders == 0)
			return from;
	}
	return POOL_SLOT_NONE;
}

/* --- life --- */

/* Returns NULL, with a sentence, without memory. */
static struct pool *begin(uint64_t most_slots, int node, struct error *err)
{
	struct pool *p = mem_calloc(1, sizeof(*p));
	if (p) {
		p->node = node;
		p->most_slots = most_slots;
		p->most_groups = (most_slots + GROUP_SLOTS - 1) / GROUP_SLOTS;
		p->file = (struct pool_file){.fd = -1, .readonly_fd = -1};
		p->groups = mem_calloc(p->most_groups, sizeof(*p->groups));
		swap_extents_init(&p->extents);
		if (p->groups)
			return p;
	}
	mem_free(p);
	error_set(err, ENOMEM, "pool of shared pages: out of memory");
	return NULL;
}

int pool_create(uint64_t most_slots, int node, struct pool **pool, struct error *err)
{
	struct pool *p = begin(most_slots, node, err);
	if (!p)
		return -ENOMEM;
	int ret = pool_file_create(most_slots * PAGE_HASH_BYTES, &p->file, err);
	if (ret) {
		pool_destroy(p);
		return ret;
	}
	*pool = p;
	return 0;
}

int pool_take_back(int fd, const struct pool_identity *identity, uint64_t most_slots, int node, struct pool **pool,
		   struct error *err)
{
	struct pool *p = begin(most_slots, node, err);
	if (!p)
		return -ENOMEM;
	int ret = pool_file_take_back(fd, identity, most_slots * PAGE_HASH_BYTES, &p->file, err);
	if (ret == 0) {
		ret = adopt(p);
		if (ret)
			error_set(err, -ret, "pool of shared pages: cannot take back %llu MiB of slots: %s",
				  (unsigned long long)(p->file.size >> 20), strerror(-ret));
	}
	if (ret) {
		pool_destroy(p);
		return ret;
	}
	*pool = p;
	return 0;
}

void pool_destroy(struct pool *p)
{
	if (!p)
		return;
	for (size_t g = 0; g < p->nr_groups; g++) {
		for (size_t i = 0; i < GROUP_SLOTS; i++)
			if (p->groups[g][i].room)
				mem_free(list_of(&p->groups[g][i]));
		mem_free(p->groups[g]);
	}
	mem_free(p->groups);
	swap_extents_fini(&p->extents);
	pool_file_close(&p->file);
	mem_free(p);
}

int pool_readonly_fd(const struct pool *p)
{
	return p->file.readonly_fd;
}

const struct pool_identity *pool_identity(const struct pool *p)
{
	return &p->file.identity;
}

const struct pool_client *pool_client(const struct pool *p, uint16_t client)
{
	return &p->clients[client];
}

void pool_stats(const struct pool *p, struct pool_stats *stats)
{
	*stats = (struct pool_stats){
		.slots = p->slots,
		.references = p->references,
		.unclaimed = p->unclaimed,
		.stale = p->extents.nr_stale,
		.file_bytes = p->file.size,
		/* Two bits a slot, and two bytes a group, are the extents'. */
		.bytes = sizeof(*p) + p->list_bytes + p->most_groups * sizeof(*p->groups) +
			 p->nr_groups * (GROUP_SLOTS * (sizeof(struct slot) + 0.25) + 64),
	};
}
