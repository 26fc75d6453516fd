/*
 * The content index.
 *
 * Problem: a hundred million candidates at a cost that is small beside what merging saves, found in less than a microsecond, in
 * a table that grows without anybody waiting for it, with a limit at which one client that floods it takes nothing from the others.
 *
 * Idea: nine bytes an entry, seven entries a cache line (a bucket), two buckets where an entry may lie (Azar, Broder, Karlin, Upfal,
 * "Balanced Allocations", 1994), and one step of cuckoo hashing where both are full (Pagh, Rodler, 2004): so buckets are 90 % full before
 * that fails. The upper bits of the hash choose one of many segments. A segment is a small table of its own, in granules of eight buckets;
 * it grows by about a quarter, by being built again from its own entries: they keep the bits of the hash from which
 * any size of segment places them. So no operation costs more than one rebuild of some 16,000 entries, there never is a second
 * table, and memory follows the number of entries: 10.2 bytes each just before a segment grows, 11.4 on average.
 *
 *     hash.high   | segment: 0 to 16 bits | place: 16 bits | 10 bits more |  unused
 *                                         '----- tag: 26 bits, kept -----'
 *
 * Two operations on entries need no whole hash: what is removed is named by the upper 32 bits and its own number.
 *
 *   (not there) --add--> young --hand--> old --hand, displace, remove, sweep--> (not there)
 *                          |              ^
 *                          `--replace-----'  page becomes slot; slots do not age
 *
 * Forgetting. Within its share a client's candidates are pushed out only when memory is at its limit and both buckets are full;
 * then it is the candidate of whoever has most for its share, and if that is who wants to add, the new one is not kept (displace).
 * A client over its share makes a hand move on at each addition, which drops old candidates of such clients (a clock: second chance).
 *
 * Invariants:
 *  1. An entry lies in one of the two buckets that its place gives for the present size of its segment.
 *  2. clients[c].nr_pages counts the entries that are pages of c; segment.nr_entries all of a segment.
 *  3. A segment that is not half full does not grow, nor one of MOST_SEGMENT_GRANULES: what clients choose as hashes costs no more
 *     memory than what they offer, and no rebuild takes longer than four of the usual.
 *  4. The bytes of an unused entry mean nothing; bit i of used says which are used, bit 7 is clear.
 */
#include "dedup/index.h"

#include <emmintrin.h>
#include <errno.h>
#include <string.h>

#include "dedup/granules.h"
#include "memmgr/os.h"

#define BUCKET_ENTRIES 7u
#define GRANULE_BUCKETS (GRANULE_BYTES / 64)
#define GRANULE_ENTRIES (GRANULE_BUCKETS * BUCKET_ENTRIES)
#define SEGMENT_ENTRIES 16384u /* about so many at the limit */
#define MOST_SEGMENT_GRANULES \
	(4 * SEGMENT_ENTRIES / GRANULE_ENTRIES) /* hashes are what clients say: they may all name one segment */
#define MOST_SEGMENT_BITS 16u
#define LEAST_BYTES (1ull << 20)
#define HAND_BUCKETS 8u /* that the hand looks at in one addition */

/* word: bits 0 to 31 number, 32 to 43 owner, 44 is a slot, 45 young, 46 to 63 the tag's upper 18 bits, of which 16 are the place. */
#define WORD_ITEM ((1ull << 45) - 1)
#define WORD_SLOT (1ull << 44)
#define WORD_YOUNG (1ull << 45)
#define WORD_TAG_SHIFT 46
#define WORD_PLACE_SHIFT 48

struct bucket {
	uint64_t words[BUCKET_ENTRIES];
	uint8_t lows[BUCKET_ENTRIES]; /* the tag's lower 8 bits */
	uint8_t used;
};
_Static_assert(sizeof(struct bucket) == 64, "a cache line");

struct entry {
	uint64_t word;
	uint8_t low;
};

struct segment {
	uint32_t *granules;
	uint16_t nr_granules, nr_room;
	uint32_t nr_entries;
};

struct index_client {
	uint32_t nr_pages, share;
	bool gone;
};

struct dedup_index {
	struct granules granules;
	struct segment *segments;
	unsigned segment_bits;
	struct entry *scratch; /* of a segment that is built again */
	uint32_t nr_scratch;
	uint64_t list_bytes; /* of segment.granules */
	uint64_t most_bytes, nr_pages, nr_slots;
	uint64_t forgotten, aged, missing_slots, rebuilds;
	unsigned hand_segment, hand_bucket, sweep_segment;
	struct index_client clients[INDEX_MOST_CLIENTS];
};

/* --- places --- */

static struct segment *segment_of(const struct dedup_index *x, struct page_hash hash)
{
	return &x->segments[x->segment_bits ? hash.high >> (64 - x->segment_bits) : 0];
}

static uint32_t tag_of(const struct dedup_index *x, struct page_hash hash)
{
	return (uint32_t)(hash.high << x->segment_bits >> 38);
}

static uint32_t nr_buckets(const struct segment *s)
{
	return s->nr_granules * GRANULE_BUCKETS;
}

static uint32_t capacity(const struct segment *s)
{
	return s->nr_granules * GRANULE_ENTRIES;
}

static struct bucket *bucket_at(const struct dedup_index *x, const struct segment *s, uint32_t n)
{
	return (struct bucket *)granule_at(&x->granules, s->granules[n / GRANULE_BUCKETS]) + n % GRANULE_BUCKETS;
}

/* The two buckets of a place (16 bits): a fraction of the segment, and the same of the place scrambled by an odd factor. */
static void buckets_of(const struct segment *s, uint32_t place, uint32_t n[2])
{
	uint32_t nr = nr_buckets(s);
	n[0] = (uint32_t)((uint64_t)place * nr >> 16);
	n[1] = (uint32_t)((uint64_t)((place * 40503u) & 0xffff) * nr >> 16);
	if (n[1] == n[0])
		n[1] = n[1] + 1 < nr ? n[1] + 1 : 0;
}

static struct entry make_entry(uint32_t tag, struct index_item item)
{
	return (struct entry){
		.word = (uint64_t)(tag >> 8) << WORD_TAG_SHIFT | (item.is_slot ? WORD_SLOT : WORD_YOUNG) |
			(uint64_t)item.owner << 32 | item.number,
		.low = (uint8_t)tag,
	};
}

static struct index_item item_of(uint64_t word)
{
	return (struct index_item){
		.is_slot = word & WORD_SLOT,
		.owner = (uint16_t)(word >> 32 & (INDEX_MOST_CLIENTS - 1)),
		.number = (uint32_t)word,
	};
}

/* --- counting --- */

static void count(struct dedup_index *x, uint64_t word, int change)
{
	if (word & WORD_SLOT) {
		x->nr_slots += (uint64_t)(int64_t)change;
		return;
	}
	x->nr_pages += (uint64_t)(int64_t)change;
	x->clients[item_of(word).owner].nr_pages += (uint32_t)change;
}

static void drop(struct dedup_index *x, struct segment *s, struct bucket *b, unsigned i)
{
	count(x, b->words[i], -1);
	b->used &= (uint8_t) ~(1u << i);
	s->nr_entries--;
}

static void note_lost(struct dedup_index *x, uint64_t word)
{
	if (word & WORD_SLOT)
		x->missing_slots++;
	else
		x->forgotten++;
}

/* --- placing --- */

#define BUCKET_FULL ((1u << BUCKET_ENTRIES) - 1)

static void set(struct bucket *b, unsigned i, struct entry e)
{
	b->words[i] = e.word;
	b->lows[i] = e.low;
	b->used |= (uint8_t)(1u << i);
}

static unsigned free_entry(const struct bucket *b)
{
	return (unsigned)__builtin_ctz(~(unsigned)b->used);
}

/* Moves some entry of a full bucket to its other bucket. Returns its former place, or BUCKET_ENTRIES. */
static unsigned kick(struct dedup_index *x, struct segment *s, struct bucket *b, uint32_t n)
{
	for (unsigned i = 0; i < BUCKET_ENTRIES; i++) {
		uint32_t at[2];
		buckets_of(s, (uint32_t)(b->words[i] >> WORD_PLACE_SHIFT), at);
		struct bucket *other = bucket_at(x, s, at[0] == n ? at[1] : at[0]);
		if (other == b || other->used == BUCKET_FULL)
			continue;
		set(other, free_entry(other), (struct entry){b->words[i], b->lows[i]});
		return i;
	}
	return BUCKET_ENTRIES;
}

/* Invariant 1. Returns false if there is no room. Counts nothing. */
static bool place(struct dedup_index *x, struct segment *s, struct entry e)
{
	uint32_t n[2];
	buckets_of(s, (uint32_t)(e.word >> WORD_PLACE_SHIFT), n);
	struct bucket *b[2] = {bucket_at(x, s, n[0]), bucket_at(x, s, n[1])};
	bool second = __builtin_popcount(b[1]->used) < __builtin_popcount(b[0]->used);
	if (b[second]->used != BUCKET_FULL) {
		set(b[second], free_entry(b[second]), e);
		return true;
	}
	for (unsigned k = 0; k < 2; k++) {
		unsigned i = kick(x, s, b[k], n[k]);
		if (i == BUCKET_ENTRIES)
			continue;
		set(b[k], i, e);
		return true;
	}
	return false;
}

/* --- giving way --- */

/* Whether a has more than b, each for its share. */
static bool has_more(const struct index_client *a, const struct index_client *b)
{
	return (uint64_t)a->nr_pages * (b->share + 1ull) > (uint64_t)b->nr_pages * (a->share + 1ull);
}

/* Both buckets are full: e takes the place of a page whose owner has most, or is not kept. */
static bool displace(struct dedup_index *x, struct segment *s, struct entry e)
{
	struct bucket *from = NULL;
	const struct index_client *most = e.word & WORD_SLOT ? NULL : &x->clients[item_of(e.word).owner];
	unsigned at = 0;
	uint32_t n[2];
	if (!s->nr_granules)
		return false;
	buckets_of(s, (uint32_t)(e.word >> WORD_PLACE_SHIFT), n);
	for (unsigned k = 0; k < 2; k++) {
		struct bucket *b = bucket_at(x, s, n[k]);
		for (unsigned used = b->used; used; used &= used - 1) {
			unsigned i = (unsigned)__builtin_ctz(used);
			if (b->words[i] & WORD_SLOT)
				continue;
			const struct index_client *c = &x->clients[item_of(b->words[i]).owner];
			bool better = !most || has_more(c, most);
			bool as_good = !better && !has_more(most, c) && (!from || !(b->words[i] & WORD_YOUNG));
			if (better || as_good) {
				most = c;
				from = b;
				at = i;
			}
		}
	}
	if (!from)
		return false;
	x->forgotten++;
	drop(x, s, from, at);
	set(from, at, e);
	s->nr_entries++;
	count(x, e.word, 1);
	return true;
}

/* --- size of a segment --- */

static bool reserve_scratch(struct dedup_index *x, uint32_t nr)
{
	if (nr <= x->nr_scratch)
		return true;
	struct entry *scratch = mem_calloc(nr + nr / 4, sizeof(*scratch));
	if (!scratch)
		return false;
	mem_free(x->scratch);
	x->scratch = scratch;
	x->nr_scratch = nr + nr / 4;
	return true;
}

static bool reserve_list(struct dedup_index *x, struct segment *s, uint32_t nr)
{
	if (nr <= s->nr_room)
		return true;
	uint32_t room = nr < 4 ? 4 : nr + nr / 4;
	uint32_t *granules = mem_calloc(room, sizeof(*granules));
	if (!granules)
		return false;
	if (s->nr_granules)
		memcpy(granules, s->granules, s->nr_granules * sizeof(*granules));
	mem_free(s->granules);
	x->list_bytes += (room - s->nr_room) * sizeof(*granules);
	s->granules = granules;
	s->nr_room = (uint16_t)room;
	return true;
}

/* Copies all entries to the scratch, for which there is room. Returns how many. */
static uint32_t unload(struct dedup_index *x, const struct segment *s)
{
	uint32_t nr = 0;
	for (uint32_t n = 0; n < nr_buckets(s); n++) {
		const struct bucket *b = bucket_at(x, s, n);
		for (unsigned used = b->used; used; used &= used - 1) {
			unsigned i = (unsigned)__builtin_ctz(used);
			x->scratch[nr++] = (struct entry){b->words[i], b->lows[i]};
		}
	}
	return nr;
}

/* Whether entries find no room because there are many; else they crowd in a few buckets, on purpose, and more room would not help. */
static bool is_filled(const struct segment *s)
{
	return s->nr_entries * 2 >= capacity(s);
}

static bool add_granule(struct dedup_index *x, struct segment *s)
{
	if (s->nr_granules >= MOST_SEGMENT_GRANULES || !is_filled(s) || !reserve_list(x, s, s->nr_granules + 1))
		return false;
	uint32_t granule = granule_take(&x->granules);
	if (granule == GRANULE_NONE)
		return false;
	s->granules[s->nr_granules++] = granule;
	return true;
}

/*
 * Builds the segment from the scratch. Where entries happen to crowd, it gets one granule more and another start; without memory for
 * that, they give way as they would in an addition.
 */
static void reload(struct dedup_index *x, struct segment *s, uint32_t nr)
{
	for (uint32_t i = 0; i <= nr; i++) {
		if (i == 0)
			for (uint32_t n = 0; n < nr_buckets(s); n++)
				bucket_at(x, s, n)->used = 0;
		if (i == nr || place(x, s, x->scratch[i]))
			continue;
		if (add_granule(x, s)) {
			i = UINT32_MAX; /* from 0 */
			continue;
		}
		count(x, x->scratch[i].word, -1);
		s->nr_entries--;
		if (!displace(x, s, x->scratch[i]))
			note_lost(x, x->scratch[i].word);
	}
	x->rebuilds++;
}

/* An eighth to three eighths more: not the same for all, or segments, which fill alike, would all grow at once. Returns false if there is no memory. */
static bool grow(struct dedup_index *x, struct segment *s)
{
	uint32_t more = 1 + s->nr_granules / 8 + (uint32_t)(s->nr_granules * (x->rebuilds & 7) / 28);
	if (x->granules.used == x->granules.most || s->nr_granules >= MOST_SEGMENT_GRANULES || !is_filled(s) ||
	    !reserve_scratch(x, s->nr_entries))
		return false;
	uint32_t nr = unload(x, s), before = s->nr_granules;
	while (more && add_granule(x, s))
		more--;
	if (s->nr_granules == before)
		return false;
	reload(x, s, nr);
	return true;
}

/* Down to 80 % full. */
static void shrink(struct dedup_index *x, struct segment *s)
{
	uint32_t wanted = (s->nr_entries * 5 / 4 + GRANULE_ENTRIES - 1) / GRANULE_ENTRIES;
	if (wanted >= s->nr_granules || !reserve_scratch(x, s->nr_entries))
		return;
	uint32_t nr = unload(x, s);
	while (s->nr_granules > wanted)
		granule_put(&x->granules, s->granules[--s->nr_granules]);
	if (nr)
		reload(x, s, nr);
}

/* --- the hand --- */

static bool is_over(const struct index_client *c)
{
	return c->gone || c->nr_pages > c->share;
}

/* The hand looks at one bucket. Returns whether it dropped something. */
static bool age_bucket(struct dedup_index *x, struct segment *s, struct bucket *b)
{
	bool dropped = false;
	for (unsigned used = b->used; used; used &= used - 1) {
		unsigned i = (unsigned)__builtin_ctz(used);
		const struct index_client *c = &x->clients[item_of(b->words[i]).owner];
		if (b->words[i] & WORD_SLOT || !is_over(c))
			continue;
		if (b->words[i] & WORD_YOUNG && !c->gone) {
			b->words[i] &= ~WORD_YOUNG;
			continue;
		}
		x->aged += !c->gone;
		drop(x, s, b, i);
		dropped = true;
	}
	return dropped;
}

static void move_hand(struct dedup_index *x)
{
	for (unsigned looked = 0; looked < HAND_BUCKETS; looked++) {
		struct segment *s = &x->segments[x->hand_segment];
		if (x->hand_bucket >= nr_buckets(s)) {
			x->hand_segment = (x->hand_segment + 1) & ((1u << x->segment_bits) - 1);
			x->hand_bucket = 0;
			continue;
		}
		if (age_bucket(x, s, bucket_at(x, s, x->hand_bucket++)))
			return;
	}
}

/* --- operations --- */

/* Entries of a bucket with that tag, a bit each. */
static unsigned match(const struct bucket *b, uint32_t tag)
{
	__m128i lows = _mm_loadl_epi64((const __m128i *)(const void *)b->lows);
	unsigned hits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(lows, _mm_set1_epi8((char)tag))) & b->used;
	unsigned found = 0;
	for (; hits; hits &= hits - 1) {
		unsigned i = (unsigned)__builtin_ctz(hits);
		found |= (unsigned)(b->words[i] >> WORD_TAG_SHIFT == tag >> 8) << i;
	}
	return found;
}

/* The entry that is this item, by place and number alone. */
static struct bucket *locate(const struct dedup_index *x, const struct segment *s, uint32_t tag, struct index_item item,
			     unsigned *at)
{
	uint64_t word = make_entry(tag, item).word & WORD_ITEM;
	uint32_t n[2];
	if (!s->nr_granules)
		return NULL;
	buckets_of(s, tag >> 10, n);
	for (unsigned k = 0; k < 2; k++) {
		struct bucket *b = bucket_at(x, s, n[k]);
		for (unsigned used = b->used; used; used &= used - 1) {
			*at = (unsigned)__builtin_ctz(used);
			if ((b->words[*at] & WORD_ITEM) == word && b->words[*at] >> WORD_PLACE_SHIFT == tag >> 10)
				return b;
		}
	}
	return NULL;
}

unsigned dedup_index_find(const struct dedup_index *x, struct page_hash hash, struct index_item items[INDEX_MOST_HITS])
{
	const struct segment *s = segment_of(x, hash);
	uint32_t tag = tag_of(x, hash), n[2];
	unsigned nr = 0;
	if (!s->nr_granules)
		return 0;
	buckets_of(s, tag >> 10, n);
	for (unsigned k = 0; k < 2; k++) {
		const struct bucket *b = bucket_at(x, s, n[k]);
		for (unsigned found = match(b, tag); found && nr < INDEX_MOST_HITS; found &= found - 1)
			items[nr++] = item_of(b->words[__builtin_ctz(found)]);
	}
	return nr;
}

bool dedup_index_add(struct dedup_index *x, struct page_hash hash, struct index_item item)
{
	struct segment *s = segment_of(x, hash);
	struct entry e = make_entry(tag_of(x, hash), item);
	if (!item.is_slot && x->clients[item.owner].nr_pages >= x->clients[item.owner].share)
		move_hand(x);
	while (!s->nr_granules || !place(x, s, e)) {
		if (grow(x, s))
			continue;
		if (displace(x, s, e))
			return true;
		note_lost(x, e.word);
		return false;
	}
	s->nr_entries++;
	count(x, e.word, 1);
	if ((uint64_t)s->nr_entries * 10 > (uint64_t)capacity(s) * 9)
		grow(x, s);
	return true;
}

bool dedup_index_replace(struct dedup_index *x, struct page_hash hash, struct index_item from, struct index_item to)
{
	struct segment *s = segment_of(x, hash);
	uint32_t tag = tag_of(x, hash);
	unsigned at;
	struct bucket *b = locate(x, s, tag, from, &at);
	if (!b)
		return false;
	count(x, b->words[at], -1);
	set(b, at, make_entry(tag, to));
	count(x, b->words[at], 1);
	return true;
}

bool dedup_index_remove(struct dedup_index *x, struct page_hash hash, struct index_item item)
{
	struct segment *s = segment_of(x, hash);
	unsigned at;
	struct bucket *b = locate(x, s, tag_of(x, hash), item, &at);
	if (!b)
		return false;
	drop(x, s, b, at);
	return true;
}

void dedup_index_prefetch(const struct dedup_index *x, const struct page_hash hashes[], size_t nr)
{
	/* Three steps from a hash to its buckets, each of which must have come before the next is known: so all hashes take one at a time. */
	for (size_t i = 0; i < nr; i++)
		__builtin_prefetch(segment_of(x, hashes[i]));
	for (size_t i = 0; i < nr; i++) {
		const struct segment *s = segment_of(x, hashes[i]);
		uint32_t n[2];
		if (!s->nr_granules)
			continue;
		buckets_of(s, tag_of(x, hashes[i]) >> 10, n);
		__builtin_prefetch(&s->granules[n[0] / GRANULE_BUCKETS]);
		__builtin_prefetch(&s->granules[n[1] / GRANULE_BUCKETS]);
	}
	for (size_t i = 0; i < nr; i++) {
		const struct segment *s = segment_of(x, hashes[i]);
		uint32_t n[2];
		if (!s->nr_granules)
			continue;
		buckets_of(s, tag_of(x, hashes[i]) >> 10, n);
		__builtin_prefetch(bucket_at(x, s, n[0]), 1);
		__builtin_prefetch(bucket_at(x, s, n[1]), 1);
	}
}

/* --- clients --- */

void dedup_index_set_share(struct dedup_index *x, uint16_t client, uint32_t share)
{
	x->clients[client].share = share;
	x->clients[client].gone = false;
}

uint32_t dedup_index_client_pages(const struct dedup_index *x, uint16_t client)
{
	return x->clients[client].nr_pages;
}

void dedup_index_forget_client(struct dedup_index *x, uint16_t client)
{
	x->clients[client].gone = true;
	x->clients[client].share = 0; /* the first to give way */
}

void dedup_index_sweep(struct dedup_index *x, unsigned nr_segments)
{
	while (nr_segments--) {
		struct segment *s = &x->segments[x->sweep_segment];
		x->sweep_segment = (x->sweep_segment + 1) & ((1u << x->segment_bits) - 1);
		for (uint32_t n = 0; n < nr_buckets(s); n++) {
			struct bucket *b = bucket_at(x, s, n);
			for (unsigned used = b->used; used; used &= used - 1) {
				unsigned i = (unsigned)__builtin_ctz(used);
				if (!(b->words[i] & WORD_SLOT) && x->clients[item_of(b->words[i]).owner].gone)
					drop(x, s, b, i);
			}
		}
		if (s->nr_entries < capacity(s) / 2)
			shrink(x, s);
	}
}

unsigned dedup_index_nr_segments(const struct dedup_index *x)
{
	return 1u << x->segment_bits;
}

/* --- life --- */

int dedup_index_create(uint64_t most_bytes, struct dedup_index **index)
{
	if (most_bytes < LEAST_BYTES)
		most_bytes = LEAST_BYTES;
	/* A granule and its number in a segment's list, which has up to a quarter of room to spare. */
	uint64_t most = most_bytes / (GRANULE_BYTES + 5);
	if (most >= GRANULE_NONE)
		most = GRANULE_NONE - 1;
	struct dedup_index *x = mem_calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	while (x->segment_bits < MOST_SEGMENT_BITS && (most * GRANULE_ENTRIES >> x->segment_bits) > SEGMENT_ENTRIES)
		x->segment_bits++;
	x->most_bytes = most_bytes;
	x->segments = mem_calloc(1ull << x->segment_bits, sizeof(*x->segments));
	if (!x->segments || granules_create(&x->granules, (uint32_t)most) < 0) {
		dedup_index_destroy(x);
		return -ENOMEM;
	}
	*index = x;
	return 0;
}

void dedup_index_destroy(struct dedup_index *x)
{
	if (!x)
		return;
	for (size_t i = 0; x->segments && i < 1ull << x->segment_bits; i++)
		mem_free(x->segments[i].granules);
	granules_destroy(&x->granules);
	mem_free(x->segments);
	mem_free(x->scratch);
	mem_free(x);
}

void dedup_index_stats(const struct dedup_index *x, struct dedup_index_stats *stats)
{
	*stats = (struct dedup_index_stats){
		.pages = x->nr_pages,
		.slots = x->nr_slots,
		.bytes = granules_bytes(&x->granules) + x->list_bytes + (sizeof(*x->segments) << x->segment_bits) +
			 x->nr_scratch * sizeof(*x->scratch) + sizeof(*x),
		.most_bytes = x->most_bytes,
		.forgotten = x->forgotten,
		.aged = x->aged,
		.missing_slots = x->missing_slots,
		.rebuilds = x->rebuilds,
	};
}
