/*
 * The broker.
 *
 * An offered page takes one of these ways:
 *
 *     broker_offer ── nothing under its hash ──────────────────────────> FIRST: a candidate in the index
 *        │  └──────── a slot with its hash ────────────────────────────> the slot, with a reference
 *        └─────────── a candidate (of anybody in the domain) ──────────> SEND
 *     broker_content ─ hashed here, found again:
 *        ├──────────── a slot with its hash and its bytes ─────────────> the slot
 *        ├──────────── a slot with its hash and other bytes ───────────> UNLIKE: never merges
 *        ├──────────── a candidate ── slot filled ─────────────────────> the slot; and a twin for the candidate's client
 *        └──────────── nothing any more ───────────────────────────────> FIRST
 *
 * So a content is copied once for each slot, and a page whose twin is in the pool already is never copied: the VMM compares it with the
 * slot itself, with the page out of its guest's reach.
 *
 * Contents of one message that go into slots which follow each other are written at once (struct batch): pages in sequence get slots in
 * sequence. References and the index follow when the bytes are there.
 *
 * Invariants:
 *  1. The index names a slot only while it is filled; slots leave it before they are freed (let_go).
 *  2. A reference is held for each slot number that was ever given to a client and not yet released by it, or by its death.
 *  3. Pools do not mix: an item of another pool, found by chance under a hash, is passed over (is_mine).
 *  4. A number of a client is used again only when neither index nor pool know anything of it.
 */
#include "dedup/broker.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "dedup/index.h"
#include "memmgr/os.h"

enum client_state { CLIENT_UNUSED, CLIENT_JOINED, CLIENT_LEAVING };

struct client {
	enum client_state state;
	bool listening;
	uint16_t pool;
	uint32_t nr_pages;
	uint32_t next_page; /* that would go on with its last content */
	uint32_t cursor;    /* LEAVING: slots below it are let go */
	uint16_t heir;      /* LEAVING: who gets what it holds; BROKER_NONE: nobody */
	struct pool_run run;
};

struct broker_pool {
	char domain[PROTOCOL_NAME_BYTES];
	int node;
	uint8_t salt[PAGE_HASH_SALT];
	struct page_hasher hasher;
	struct pool *pool; /* NULL: no memory yet */
	bool ready;        /* all hashes are known */
	bool settled;      /* nobody will claim anything */
	bool sweeping;     /* unclaimed slots are being freed, from cursor on */
	uint32_t cursor;
};

/* Contents whose slots follow each other, to be written at once. */
struct batch {
	size_t first, nr;  /* of the message */
	uint32_t slot;     /* the first one's */
	uint64_t seen[64]; /* a bit for some bits of each hash: whether one like it may be among them */
};

struct broker {
	struct broker_settings settings;
	struct dedup_index *index;
	struct broker_pool *pools[BROKER_MOST_POOLS];
	uint16_t nr_pools;
	unsigned nr_clients, nr_leaving;
	struct client clients[BROKER_MOST_CLIENTS];
	struct page_hash hashes[BROKER_MOST_BATCH];
	struct index_item former[BROKER_MOST_BATCH]; /* by content: the candidate whose twin it is */
	struct broker_twin twins[BROKER_MOST_BATCH];
	uint32_t found_slots[BROKER_MOST_BATCH];
	size_t nr_twins;
	uint64_t pages_scanned, pages_sent, unlike, unmatched, released[PROTOCOL_NR_REASONS];
};

static uint32_t min_u32(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

/* --- pools --- */

int broker_find_pool(struct broker *b, const char domain[PROTOCOL_NAME_BYTES], int node, uint16_t *pool)
{
	for (uint16_t i = 0; i < b->nr_pools; i++)
		if (b->pools[i]->node == node && !strcmp(b->pools[i]->domain, domain)) {
			*pool = i;
			return 0;
		}
	if (b->nr_pools == BROKER_MOST_POOLS)
		return -ENOSPC;
	struct broker_pool *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	memcpy(p->domain, domain, strnlen(domain, sizeof(p->domain) - 1));
	p->node = node;
	/* Of domain and node, so that nothing is found across either; keyed, so that nobody else can work it out. */
	unsigned char name[PROTOCOL_NAME_BYTES + sizeof(node)] = {0};
	memcpy(name, p->domain, sizeof(p->domain));
	memcpy(name + sizeof(p->domain), &node, sizeof(node));
	crypto_generichash(p->salt, sizeof(p->salt), name, sizeof(name), b->settings.key, sizeof(b->settings.key));
	page_hasher_init(&p->hasher, p->salt);
	if (!page_hash_is_zero(b->settings.mask))
		p->hasher.mask = b->settings.mask;
	b->pools[b->nr_pools] = p;
	*pool = b->nr_pools++;
	return 0;
}

int broker_open_pool(struct broker *b, uint16_t pool, struct error *err)
{
	struct broker_pool *p = b->pools[pool];
	int ret = pool_create(b->settings.most_slots, p->node, &p->pool, err);
	p->ready = p->settled = ret == 0;
	return ret;
}

int broker_take_back_pool(struct broker *b, uint16_t pool, int fd, const struct pool_identity *identity, struct error *err)
{
	struct broker_pool *p = b->pools[pool];
	int ret = pool_take_back(fd, identity, b->settings.most_slots, p->node, &p->pool, err);
	p->cursor = 0;
	return ret;
}

void broker_settle_pool(struct broker *b, uint16_t pool)
{
	struct broker_pool *p = b->pools[pool];
	if (p->settled)
		return;
	p->settled = true;
	p->sweeping = true;
	if (p->ready)
		p->cursor = 0;
}

uint16_t broker_nr_pools(const struct broker *b)
{
	return b->nr_pools;
}

const struct pool *broker_pool(const struct broker *b, uint16_t pool)
{
	return b->pools[pool]->pool;
}

const uint8_t *broker_salt(const struct broker *b, uint16_t pool)
{
	return b->pools[pool]->salt;
}

const char *broker_domain(const struct broker *b, uint16_t pool)
{
	return b->pools[pool]->domain;
}

int broker_node(const struct broker *b, uint16_t pool)
{
	return b->pools[pool]->node;
}

bool broker_is_ready(const struct broker *b, uint16_t pool)
{
	return b->pools[pool]->ready;
}

/* --- slots --- */

static struct index_item slot_item(uint16_t pool, uint32_t slot)
{
	return (struct index_item){.is_slot = true, .owner = pool, .number = slot};
}

static struct index_item page_item(uint16_t client, uint32_t page)
{
	return (struct index_item){.owner = client, .number = page};
}

/* Invariant 1. Nobody holds the slot. */
static void let_go(struct broker *b, uint16_t pool, uint32_t slot)
{
	struct pool *p = b->pools[pool]->pool;
	struct page_hash hash = {.low = 0};
	if (pool_hash(p, slot, &hash.high))
		dedup_index_remove(b->index, hash, slot_item(pool, slot));
	pool_free(p, slot);
}

/* In a pool that is not settled somebody may still come who maps the slot. */
static int release(struct broker *b, uint16_t client, uint32_t slot, uint32_t nr)
{
	uint16_t pool = b->clients[client].pool;
	int left = pool_release(b->pools[pool]->pool, slot, client, nr);
	if (left == 0 && b->pools[pool]->settled)
		let_go(b, pool, slot);
	return left;
}

static uint64_t all_slots(const struct broker *b)
{
	struct pool_stats stats;
	uint64_t slots = 0;
	for (uint16_t i = 0; i < b->nr_pools; i++)
		if (b->pools[i]->pool) {
			pool_stats(b->pools[i]->pool, &stats);
			slots += stats.slots;
		}
	return slots;
}

static bool may_hold_more(const struct broker *b, const struct client *c, uint16_t client)
{
	return pool_client(b->pools[c->pool]->pool, client)->references < c->nr_pages;
}

/* When half of all slots are used, a client may have only so many that help nobody else. */
static bool may_fill_more(const struct broker *b, const struct client *c, uint16_t client, uint64_t slots)
{
	uint64_t most = b->settings.most_slots;
	if (slots >= most)
		return false;
	return slots < most / 2 ||
	       pool_client(b->pools[c->pool]->pool, client)->alone < most / 2 / (b->nr_clients ? b->nr_clients : 1);
}

/* --- clients --- */

int broker_join(struct broker *b, uint16_t pool, uint32_t nr_pages, uint16_t *client)
{
	if (nr_pages == 0 || nr_pages > b->settings.most_client_pages)
		return -EINVAL;
	for (uint16_t i = 0; i < BROKER_MOST_CLIENTS; i++) {
		if (b->clients[i].state != CLIENT_UNUSED)
			continue;
		b->clients[i] = (struct client){.state = CLIENT_JOINED, .listening = true, .pool = pool, .nr_pages = nr_pages};
		/* A page that changed without a word leaves a candidate behind: a quarter more than can be right. */
		dedup_index_set_share(b->index, i, min_u32(nr_pages + nr_pages / 4ull, UINT32_MAX));
		b->nr_clients++;
		*client = i;
		return 0;
	}
	return -EUSERS;
}

void broker_bequeath(struct broker *b, uint16_t client, uint16_t heir)
{
	struct client *c = &b->clients[client];
	if (c->state != CLIENT_JOINED)
		return;
	c->state = CLIENT_LEAVING;
	c->cursor = 0;
	c->heir = heir;
	b->nr_clients--;
	b->nr_leaving++;
	pool_end_run(b->pools[c->pool]->pool, &c->run);
	dedup_index_forget_client(b->index, client);
	/* Who was to inherit from it goes away empty. */
	for (uint16_t i = 0; i < BROKER_MOST_CLIENTS; i++)
		if (b->clients[i].state == CLIENT_LEAVING && b->clients[i].heir == client)
			b->clients[i].heir = BROKER_NONE;
}

void broker_leave(struct broker *b, uint16_t client)
{
	broker_bequeath(b, client, BROKER_NONE);
}

bool broker_inherits(const struct broker *b, uint16_t heir)
{
	for (uint16_t i = 0; b->nr_leaving && i < BROKER_MOST_CLIENTS; i++)
		if (b->clients[i].state == CLIENT_LEAVING && b->clients[i].heir == heir)
			return true;
	return false;
}

void broker_set_listening(struct broker *b, uint16_t client, bool listening)
{
	b->clients[client].listening = listening;
}

uint32_t broker_claim(struct broker *b, uint16_t client, uint16_t former, uint32_t slot, uint32_t nr)
{
	struct client *c = &b->clients[client];
	struct broker_pool *p = b->pools[c->pool];
	uint64_t held = pool_client(p->pool, client)->references;
	if (former == BROKER_NONE ? p->settled : b->clients[former].pool != c->pool || pool_held(p->pool, slot, former) < nr)
		return PROTOCOL_GONE;
	if (slot > PROTOCOL_MOST_SLOT || nr == 0 || nr > c->nr_pages || held > c->nr_pages - nr)
		return PROTOCOL_GONE;
	int ret = pool_hold(p->pool, slot, client, nr);
	if (ret)
		return ret == -ENOMEM ? PROTOCOL_LATER : PROTOCOL_GONE;
	if (former != BROKER_NONE)
		release(b, former, slot, nr);
	return slot;
}

/* --- offers --- */

/* Invariant 3. */
static bool is_mine(const struct broker *b, const struct client *c, struct index_item item)
{
	if (item.is_slot)
		return item.owner == c->pool;
	return b->clients[item.owner].state == CLIENT_JOINED && b->clients[item.owner].pool == c->pool;
}

enum found { FOUND_NOTHING, FOUND_ITSELF, FOUND_CANDIDATE, FOUND_SLOT };

/* The best that the index has: a slot, of whose hash 64 bits are known, before a candidate. */
static enum found look_up(const struct broker *b, uint16_t client, uint32_t page, struct page_hash hash, struct index_item *found)
{
	const struct client *c = &b->clients[client];
	struct index_item items[INDEX_MOST_HITS];
	enum found best = FOUND_NOTHING;
	unsigned nr = dedup_index_find(b->index, hash, items);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t of_slot;
		enum found this = items[i].owner == client && items[i].number == page ? FOUND_ITSELF : FOUND_CANDIDATE;
		if (!is_mine(b, c, items[i]))
			continue;
		if (items[i].is_slot) {
			if (!pool_hash(b->pools[c->pool]->pool, items[i].number, &of_slot) || of_slot != hash.high)
				continue;
			this = FOUND_SLOT;
		}
		if (this > best) {
			best = this;
			*found = items[i];
		}
	}
	return best;
}

/* A reference to a slot that is there. */
static uint32_t grant(struct broker *b, uint16_t client, uint32_t slot)
{
	const struct client *c = &b->clients[client];
	if (!may_hold_more(b, c, client) || pool_hold(b->pools[c->pool]->pool, slot, client, 1) < 0)
		return PROTOCOL_LATER;
	return slot;
}

static uint32_t add_candidate(struct broker *b, uint16_t client, uint32_t page, struct page_hash hash)
{
	return dedup_index_add(b->index, hash, page_item(client, page)) ? PROTOCOL_FIRST : PROTOCOL_LATER;
}

static struct page_hash masked(const struct broker_pool *p, const struct protocol_offer *offer)
{
	return page_hash_masked(&p->hasher, (struct page_hash){.low = offer->hash_low, .high = offer->hash_high});
}

static uint32_t judge(struct broker *b, uint16_t client, uint32_t page, struct page_hash hash)
{
	struct index_item found;
	if (page_hash_is_zero(hash))
		return PROTOCOL_ZERO;
	switch (look_up(b, client, page, hash, &found)) {
	case FOUND_SLOT:
		return grant(b, client, found.number);
	case FOUND_CANDIDATE:
		return PROTOCOL_SEND;
	case FOUND_ITSELF:
		return PROTOCOL_FIRST;
	default:
		return add_candidate(b, client, page, hash);
	}
}

int broker_offer(struct broker *b, uint16_t client, const struct protocol_offer offers[], size_t nr, uint32_t verdicts[])
{
	const struct client *c = &b->clients[client];
	for (size_t i = 0; i < nr; i++) {
		if (offers[i].page >= c->nr_pages)
			return -EINVAL;
		b->hashes[i] = masked(b->pools[c->pool], &offers[i]);
	}
	dedup_index_prefetch(b->index, b->hashes, nr);
	for (size_t i = 0; i < nr; i++)
		verdicts[i] = judge(b, client, offers[i].page, b->hashes[i]);
	b->pages_scanned += nr;
	return 0;
}

/* --- contents --- */

static uint64_t *seen_word(struct batch *batch, struct page_hash hash)
{
	return &batch->seen[hash.low >> 6 & 63];
}

static bool may_be_among(struct batch *batch, struct page_hash hash)
{
	return *seen_word(batch, hash) >> (hash.low & 63) & 1;
}

/* The candidate's page has a twin now. Its client is told, if it can hear that. */
static void tell_twin(struct broker *b, struct index_item candidate, uint32_t slot)
{
	const struct client *other = &b->clients[candidate.owner];
	if (!other->listening || grant(b, candidate.owner, slot) != slot)
		return;
	b->twins[b->nr_twins++] = (struct broker_twin){.client = candidate.owner, .page = candidate.number, .slot = slot};
}

/* Writes what has been put together, and only then gives references and enters the slots. */
static void flush(struct broker *b, uint16_t client, struct batch *batch, const uint8_t *bytes, uint32_t verdicts[])
{
	uint16_t pool = b->clients[client].pool;
	struct pool *p = b->pools[pool]->pool;
	if (!batch->nr)
		return;
	int ret = pool_fill(p, batch->slot, batch->nr, bytes + batch->first * PAGE_HASH_BYTES, &b->hashes[batch->first]);
	for (size_t k = 0; k < batch->nr; k++) {
		size_t i = batch->first + k;
		uint32_t slot = batch->slot + (uint32_t)k;
		verdicts[i] = ret ? PROTOCOL_LATER : grant(b, client, slot);
		if (verdicts[i] != slot) {
			pool_free(p, slot);
			continue;
		}
		if (!dedup_index_replace(b->index, b->hashes[i], b->former[i], slot_item(pool, slot)))
			dedup_index_add(b->index, b->hashes[i], slot_item(pool, slot));
		tell_twin(b, b->former[i], slot);
	}
	memset(batch, 0, sizeof(*batch));
}

/* Whether content i of the message is part of a sequence of pages, which gets a sequence of slots. */
static bool in_sequence(const struct client *c, const struct protocol_content contents[], size_t nr, size_t i)
{
	uint32_t page = contents[i].page;
	return (i == 0 ? page == c->next_page : page == contents[i - 1].page + 1) ||
	       (i + 1 < nr && contents[i + 1].page == page + 1);
}

/* Finds a slot for content i, and puts it to those that are written together. */
static void put_in_slot(struct broker *b, uint16_t client, struct batch *batch, bool sequential, size_t i,
			struct index_item candidate, const uint8_t *bytes, uint64_t *slots, uint32_t verdicts[])
{
	struct client *c = &b->clients[client];
	struct pool *p = b->pools[c->pool]->pool;
	uint32_t slot;
	if (!may_hold_more(b, c, client) || !may_fill_more(b, c, client, *slots) ||
	    pool_next_slot(p, &c->run, sequential, &slot) < 0) {
		verdicts[i] = PROTOCOL_LATER;
		return;
	}
	if (batch->nr && (slot != batch->slot + batch->nr || i != batch->first + batch->nr))
		flush(b, client, batch, bytes, verdicts);
	if (!batch->nr) {
		batch->first = i;
		batch->slot = slot;
	}
	batch->nr++;
	*seen_word(batch, b->hashes[i]) |= 1ull << (b->hashes[i].low & 63);
	b->former[i] = candidate;
	(*slots)++;
}

static uint32_t compare(struct broker *b, uint16_t client, uint32_t slot, const uint8_t *bytes)
{
	const struct client *c = &b->clients[client];
	uint8_t page[PAGE_HASH_BYTES];
	if (pool_read(b->pools[c->pool]->pool, slot, page) == 0 && memcmp(page, bytes, PAGE_HASH_BYTES) == 0)
		return grant(b, client, slot);
	b->unlike++;
	return PROTOCOL_UNLIKE;
}

int broker_content(struct broker *b, uint16_t client, const struct protocol_content contents[], size_t nr,
		   const void *content_bytes, uint32_t verdicts[])
{
	struct client *c = &b->clients[client];
	const uint8_t *bytes = content_bytes;
	struct batch batch = {0};
	uint64_t slots = all_slots(b);
	b->nr_twins = 0;
	for (size_t i = 0; i < nr; i++)
		if (contents[i].page >= c->nr_pages)
			return -EINVAL;
	page_hash_run(&b->pools[c->pool]->hasher, bytes, nr, b->hashes);
	dedup_index_prefetch(b->index, b->hashes, nr);
	for (size_t i = 0; i < nr; i++) {
		struct page_hash hash = b->hashes[i];
		struct index_item found;
		if (may_be_among(&batch, hash))
			flush(b, client, &batch, bytes, verdicts);
		if (page_hash_is_zero(hash)) {
			verdicts[i] = PROTOCOL_ZERO;
			continue;
		}
		switch (look_up(b, client, contents[i].page, hash, &found)) {
		case FOUND_SLOT:
			verdicts[i] = compare(b, client, found.number, bytes + i * PAGE_HASH_BYTES);
			break;
		case FOUND_CANDIDATE:
			put_in_slot(b, client, &batch, in_sequence(c, contents, nr, i), i, found, bytes, &slots, verdicts);
			break;
		case FOUND_ITSELF:
			verdicts[i] = PROTOCOL_FIRST;
			b->unmatched++;
			break;
		default:
			verdicts[i] = add_candidate(b, client, contents[i].page, hash);
			b->unmatched++;
		}
	}
	flush(b, client, &batch, bytes, verdicts);
	if (nr)
		c->next_page = contents[nr - 1].page + 1;
	b->pages_sent += nr;
	return 0;
}

const struct broker_twin *broker_twins(const struct broker *b, size_t *nr)
{
	*nr = b->nr_twins;
	return b->twins;
}

/* --- releases --- */

int broker_release(struct broker *b, uint16_t client, const struct protocol_release releases[], size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		if (release(b, client, releases[i].slot, releases[i].nr) < 0)
			return -EINVAL;
		b->released[releases[i].reason] += releases[i].nr;
	}
	return 0;
}

void broker_retract(struct broker *b, uint16_t client, const struct protocol_retract retracts[], size_t nr)
{
	const struct page_hash *mask = &b->pools[b->clients[client].pool]->hasher.mask;
	for (size_t i = 0; i < nr; i++) {
		struct page_hash top = {.high = (uint64_t)retracts[i].hash_top << 32 & mask->high};
		dedup_index_remove(b->index, top, page_item(client, retracts[i].page));
	}
}

/* --- work --- */

enum { WORK_SLOTS = 16384, WORK_FREED = 1024, WORK_SEGMENTS = 8, WALK_SLOTS = 16384 };

/* Returns whether more is to be done for this client. */
static bool work_on_leaving(struct broker *b, uint16_t client)
{
	struct client *c = &b->clients[client];
	struct pool *p = b->pools[c->pool]->pool;
	uint32_t end = min_u32(pool_end(p), (uint64_t)c->cursor + WORK_SLOTS);
	for (; c->cursor < end && pool_client(p, client)->references; c->cursor++) {
		uint32_t held = pool_held(p, c->cursor, client);
		if (held && c->heir != BROKER_NONE && pool_hold(p, c->cursor, c->heir, held) == -ENOMEM)
			return true; /* again later */
		if (held)
			release(b, client, c->cursor, held);
	}
	if (!pool_client(p, client)->references)
		c->heir = BROKER_NONE;
	/* Invariant 4. */
	if (pool_client(p, client)->references || dedup_index_client_pages(b->index, client))
		return true;
	c->state = CLIENT_UNUSED;
	b->nr_leaving--;
	return false;
}

/* Finds hashes of slots that were taken back, and then frees those that nobody has claimed. Returns whether there is more. */
static bool work_on_pool(struct broker *b, uint16_t pool)
{
	struct broker_pool *p = b->pools[pool];
	if (!p->ready) {
		size_t nr = pool_take_back_step(p->pool, &p->hasher, &p->cursor, BROKER_MOST_BATCH, b->found_slots, b->hashes);
		for (size_t i = 0; i < nr; i++)
			dedup_index_add(b->index, b->hashes[i], slot_item(pool, b->found_slots[i]));
		if (nr == BROKER_MOST_BATCH)
			return true;
		p->ready = true;
		p->cursor = 0;
	}
	for (unsigned i = 0; p->sweeping && i < WORK_FREED; i++) {
		uint32_t slot = pool_next_unclaimed(p->pool, p->cursor);
		if (slot == POOL_SLOT_NONE) {
			p->sweeping = false;
			break;
		}
		let_go(b, pool, slot);
		p->cursor = slot + 1;
	}
	return p->sweeping;
}

bool broker_work(struct broker *b)
{
	bool more = false;
	for (uint16_t i = 0; i < b->nr_pools; i++)
		if (b->pools[i]->pool && (!b->pools[i]->ready || b->pools[i]->sweeping))
			more |= work_on_pool(b, i);
	if (!b->nr_leaving)
		return more;
	dedup_index_sweep(b->index, WORK_SEGMENTS);
	for (uint16_t i = 0; i < BROKER_MOST_CLIENTS; i++)
		if (b->clients[i].state == CLIENT_LEAVING)
			more |= work_on_leaving(b, i);
	return more;
}

bool broker_trim(struct broker *b, unsigned most_holes)
{
	struct pool_stats stats;
	bool more = false;
	for (uint16_t i = 0; i < b->nr_pools; i++) {
		if (!b->pools[i]->pool)
			continue;
		pool_trim(b->pools[i]->pool, most_holes);
		pool_stats(b->pools[i]->pool, &stats);
		more |= stats.stale > 0;
	}
	return more;
}

/* --- what there is to see --- */

void broker_status(const struct broker *b, struct protocol_status *status)
{
	struct dedup_index_stats index;
	dedup_index_stats(b->index, &index);
	*status = (struct protocol_status){
		.pages_unshared = index.pages,
		.pages_scanned = b->pages_scanned,
		.pages_sent = b->pages_sent,
		.index_bytes = index.bytes,
		.pool_bytes = sizeof(*b) + b->nr_pools * sizeof(struct broker_pool),
		.forgotten = index.forgotten + index.aged,
		.missing_slots = index.missing_slots,
		.unlike = b->unlike,
		.unmatched = b->unmatched,
		.nr_clients = b->nr_clients,
		.nr_pools = b->nr_pools,
	};
	memcpy(status->released, b->released, sizeof(status->released));
	for (uint16_t i = 0; i < b->nr_pools; i++) {
		struct pool_stats pool;
		if (!b->pools[i]->pool)
			continue;
		pool_stats(b->pools[i]->pool, &pool);
		status->pages_shared += pool.slots - pool.unclaimed;
		status->pages_sharing += pool.references - (pool.slots - pool.unclaimed);
		status->slots_unclaimed += pool.unclaimed;
		status->slots_stale += pool.stale;
		status->file_bytes += pool.file_bytes;
		status->pool_bytes += pool.bytes;
	}
	status->general_profit = status->pages_sharing * PAGE_HASH_BYTES - status->pool_bytes - status->index_bytes -
				 (status->slots_unclaimed + status->slots_stale) * PAGE_HASH_BYTES;
}

bool broker_next_client(const struct broker *b, uint16_t from, struct protocol_client *client)
{
	for (; from < BROKER_MOST_CLIENTS; from++) {
		const struct client *c = &b->clients[from];
		if (c->state != CLIENT_JOINED)
			continue;
		const struct pool_client *has = pool_client(b->pools[c->pool]->pool, from);
		*client = (struct protocol_client){
			.client = from,
			.references = has->references,
			.slots = has->slots,
			.alone = has->alone,
			.candidates = dedup_index_client_pages(b->index, from),
		};
		memcpy(client->domain, b->pools[c->pool]->domain, sizeof(client->domain));
		return true;
	}
	return false;
}

bool broker_sharing_step(const struct broker *b, struct sharing *sharing, struct broker_walk *walk)
{
	if (walk->pool >= b->nr_pools)
		return false;
	const struct pool *pool = b->pools[walk->pool]->pool;
	if (!pool || !sharing_step(sharing, pool, &walk->cursor, WALK_SLOTS))
		*walk = (struct broker_walk){.pool = (uint16_t)(walk->pool + 1)};
	return true;
}

/* --- life --- */

int broker_create(const struct broker_settings *settings, struct broker **broker, struct error *err)
{
	struct broker *b = mem_calloc(1, sizeof(*b));
	if (b && dedup_index_create(settings->index_bytes, &b->index) == 0) {
		b->settings = *settings;
		*broker = b;
		return 0;
	}
	mem_free(b);
	return error_set(err, ENOMEM, "no memory for an index of up to %llu MiB; give it a lower limit",
			 (unsigned long long)(settings->index_bytes >> 20));
}

void broker_destroy(struct broker *b)
{
	if (!b)
		return;
	for (uint16_t i = 0; i < b->nr_pools; i++) {
		pool_destroy(b->pools[i]->pool);
		mem_free(b->pools[i]);
	}
	dedup_index_destroy(b->index);
	sodium_memzero(&b->settings, sizeof(b->settings));
	mem_free(b);
}
