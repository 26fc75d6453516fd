/*
 * The content index: which page of which client, or which slot of which pool, may have the content with a given hash.
 *
 * It holds candidates, pages that were offered and had no twin yet, and slots. Of a hash it keeps 30 to 42 bits, so that what it finds is
 * a hint: the caller checks it against what it knows (a slot's whole hash, a page's content). Forgetting costs
 * a chance to merge and nothing else, so memory is bounded: at the limit, and in a full corner, whoever has most gives way.
 *
 * One thread at a time.
 */
#ifndef DEDUP_INDEX_H
#define DEDUP_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dedup/page_hash.h"

enum {
	INDEX_MOST_CLIENTS = 4096, /* clients and pools are numbered below that */
	INDEX_MOST_HITS = 4,
};

struct dedup_index;

/* What is found under a hash: slot or page `number` of pool or client `owner`. */
struct index_item {
	bool is_slot;
	uint16_t owner;
	uint32_t number;
};

struct dedup_index_stats {
	uint64_t pages, slots;  /* entries of each kind */
	uint64_t bytes;         /* memory taken, everything counted */
	uint64_t most_bytes;    /* the limit */
	uint64_t forgotten;     /* candidates pushed out, or refused, for want of room */
	uint64_t aged;          /* candidates of clients that had more than their share, dropped by the hand */
	uint64_t missing_slots; /* slots that found no room: their content can have twins that nobody finds */
	uint64_t rebuilds;      /* of segments, for growth or shrinking */
};

/*
 * most_bytes bounds the memory; it is rounded to whole segments, and 1 MiB at least. Nothing is allocated in advance but the segments'
 * heads (16 bytes for each 75 to 150 KiB of the limit). Returns 0 or -ENOMEM.
 */
int dedup_index_create(uint64_t most_bytes, struct dedup_index **index);
void dedup_index_destroy(struct dedup_index *index);
void dedup_index_stats(const struct dedup_index *index, struct dedup_index_stats *stats);

/* How many candidates a client may have before its older ones are dropped, and what it is compared by when memory is short. */
void dedup_index_set_share(struct dedup_index *index, uint16_t client, uint32_t share);
uint32_t dedup_index_client_pages(const struct dedup_index *index, uint16_t client);

/* Fetches what the operations on these hashes will look at: before a batch of them, up to some hundred. */
void dedup_index_prefetch(const struct dedup_index *index, const struct page_hash hashes[], size_t nr);

/* All items that may have that hash, up to INDEX_MOST_HITS. Returns how many. */
unsigned dedup_index_find(const struct dedup_index *index, struct page_hash hash, struct index_item items[INDEX_MOST_HITS]);
/*
 * Adds an item, which must not be there. Returns false if it is not kept: there is no room for it, or its owner has more than those
 * who would have to give way.
 */
bool dedup_index_add(struct dedup_index *index, struct page_hash hash, struct index_item item);
/* Puts to in the place of from. Returns false, and does nothing, if from is not there. */
bool dedup_index_replace(struct dedup_index *index, struct page_hash hash, struct index_item from, struct index_item to);
/* Takes an item out. Only the upper 32 bits of hash.high count, so that who remembers no more can still name it. Returns whether it was there. */
bool dedup_index_remove(struct dedup_index *index, struct page_hash hash, struct index_item item);

/*
 * A client that is gone: its candidates are dropped step by step. Its number may be given to another when dedup_index_client_pages() is 0
 * and dedup_index_set_share() was called for the new one.
 */
void dedup_index_forget_client(struct dedup_index *index, uint16_t client);
/* Walks on over some segments: drops what gone clients have left, and gives back room. Costs up to 200 us a segment. */
void dedup_index_sweep(struct dedup_index *index, unsigned nr_segments);
unsigned dedup_index_nr_segments(const struct dedup_index *index);

#endif
