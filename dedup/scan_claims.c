/*
 * What the scanner does about references from before, when a daemon has answered.
 *
 *     READY, a new pool ───────────> all that is held is of a pool before: nobody writes to that any more, and its references are
 *                                    nobody's business (foreign); pages that map it stay as they are
 *     READY, the pool that we have ──> all slots are claimed ──GONE──> foreign, and the chunk is put together as soon as that can be
 *
 * A slot that is gone may get other bytes at any time. So a chunk with pages that map one is tried again and again, whatever else the scanner
 * does or waits for: it cannot be put together while something of it lies on disk, or a device reads into it.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "dedup/scanner_internal.h"
#include "memmgr/os.h"

#define FIRST_RETRY_NS 10000000ull
#define LAST_RETRY_NS 1000000000ull

/* --- foreign pages --- */

static int make_foreign(struct scanner *s, uint32_t page)
{
	if (!s->foreign)
		s->foreign = mem_calloc(s->nr_chunks * (size_t)QUIET_WORDS, sizeof(*s->foreign));
	if (!s->foreign)
		return -ENOMEM;
	s->foreign[page / 64] |= 1ull << page % 64;
	return 0;
}

static int make_all_foreign(struct scanner *s)
{
	struct share_item items[QUIET_PAGES];
	int ret = 0;
	for (uint32_t at = 0; ret == 0 && at < s->nr_chunks * QUIET_PAGES;) {
		size_t nr = share_held(s->mm, &at, items, QUIET_PAGES);
		for (size_t i = 0; ret == 0 && i < nr; i++)
			ret = make_foreign(s, items[i].page);
	}
	return ret;
}

/* --- claims --- */

static int by_slot(const void *a, const void *b)
{
	uint32_t x = ((const struct share_item *)a)->slot, y = ((const struct share_item *)b)->slot;
	return x < y ? -1 : x > y;
}

/* All references that are held, in the order of slots; the caller frees it. */
static struct share_item *list_held(struct scanner *s, size_t *nr)
{
	size_t room = 4ull * QUIET_PAGES;
	struct share_item *items = malloc(room * sizeof(*items));
	*nr = 0;
	for (uint32_t at = 0; items && at < s->nr_chunks * QUIET_PAGES;) {
		if (room - *nr < QUIET_PAGES) {
			room *= 2;
			struct share_item *more = realloc(items, room * sizeof(*items));
			if (!more) {
				free(items);
				return NULL;
			}
			items = more;
		}
		size_t found = share_held(s->mm, &at, items + *nr, room - *nr), kept = 0;
		for (size_t i = 0; i < found; i++)
			if (!scan_is_foreign(s, items[*nr + i].page))
				items[*nr + kept++] = items[*nr + i];
		*nr += kept;
	}
	if (items)
		qsort(items, *nr, sizeof(*items), by_slot);
	return items;
}

int claims_begin(struct scanner *s, bool resumed)
{
	/* Should this fail, the next daemon may well know the pool, which is not ours yet all the same. */
	s->pool_is_new |= !resumed;
	int ret = s->pool_is_new ? make_all_foreign(s) : 0;
	if (ret == 0 && s->pool_is_new)
		ret = share_set_pool(s->mm, dedup_client_pool_fd(s->client));
	if (ret)
		return ret;
	s->pool_is_new = false;
	if (!resumed)
		return 0;
	s->held = list_held(s, &s->nr_held);
	s->claimed = 0;
	return s->held ? 1 : -ENOMEM;
}

int claims_send(struct scanner *s)
{
	int ret = 0;
	while (ret == 0 && s->claimed < s->nr_held) {
		struct protocol_claim claims[DEDUP_CLIENT_BATCH];
		size_t nr = 0, at = s->claimed;
		while (at < s->nr_held && (nr < DEDUP_CLIENT_BATCH || s->held[at].slot == claims[nr - 1].slot)) {
			if (!nr || s->held[at].slot != claims[nr - 1].slot)
				claims[nr++] = (struct protocol_claim){.slot = s->held[at].slot};
			claims[nr - 1].nr++;
			at++;
		}
		ret = dedup_client_claim(s->client, claims, nr);
		if (ret == 0)
			s->claimed = at;
	}
	if (ret == 0)
		ret = dedup_client_claimed(s->client);
	if (ret == 0) {
		free(s->held);
		s->held = NULL;
	}
	return ret == -EAGAIN ? 0 : ret;
}

/* --- slots that are gone --- */

static int compare_slots(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* They were claimed in the order of slots. */
static bool is_gone(const struct dedup_event *event, uint32_t slot)
{
	const uint32_t *found = bsearch(&slot, event->pages, event->nr, sizeof(slot), compare_slots);
	return found && event->verdicts[found - event->pages] == PROTOCOL_GONE;
}

static int note_gone(struct scanner *s, uint32_t page)
{
	struct scan_chunk *c = &s->chunks[page / QUIET_PAGES];
	s->nr_gone += !c->gone;
	c->gone = true;
	s->gone_wait_ns = FIRST_RETRY_NS;
	s->gone_ns = 0;
	return make_foreign(s, page);
}

int claims_answered(struct scanner *s, const struct dedup_event *event)
{
	struct share_item items[QUIET_PAGES];
	bool some = false, is_news = !s->nr_gone;
	int ret = 0;
	for (size_t i = 0; i < event->nr; i++)
		some |= event->verdicts[i] == PROTOCOL_GONE;
	for (uint32_t at = 0; some && at < s->nr_chunks * QUIET_PAGES;) {
		size_t nr = share_held(s->mm, &at, items, QUIET_PAGES);
		for (size_t i = 0; i < nr; i++)
			if (!scan_is_foreign(s, items[i].page) && is_gone(event, items[i].slot) && note_gone(s, items[i].page) != 0)
				ret = -ENOMEM;
	}
	if (some && is_news)
		log_warning("dedup: the daemon does not keep some slots that pages map; these become ordinary pages");
	return ret;
}

void claims_restore(struct scanner *s)
{
	if (!s->nr_gone || clock_now_ns() < s->gone_ns)
		return;
	for (uint32_t i = 0; i < s->nr_chunks; i++) {
		if (!s->chunks[i].gone || share_restore(s->mm, i * QUIET_PAGES) < 0)
			continue;
		s->chunks[i].gone = false;
		s->nr_gone--;
		s->counts.restored++;
		pass_chunk_again(s, i);
	}
	s->gone_ns = clock_now_ns() + s->gone_wait_ns;
	s->gone_wait_ns = s->gone_wait_ns * 2 < LAST_RETRY_NS ? s->gone_wait_ns * 2 : LAST_RETRY_NS;
}
