/*
 * What the scanner does with the daemon's verdicts: pages that have a slot map it, where that is worth a mapping; contents are sent that
 * are asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "dedup/scanner_internal.h"

enum {
	OTHERS_MAPPINGS = 8192, /* of vm.max_map_count, for the rest of the VMM: what its threads and its heap may come to */
	RAISE_ROOM = 65536,
	REST_MS = 50,     /* without new slots, before those that came are merged, */
	LONGEST_MS = 200, /* or since the first of them came: a busy guest is told of some all the time */
};

static struct scan_chunk *chunk_of(const struct scanner *s, uint32_t page)
{
	return &s->chunks[page / QUIET_PAGES];
}

/* --- the limit of mappings --- */

static unsigned long read_limit(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	return len > 0 ? strtoul(text, NULL, 10) : 0;
}

static bool raise_limit(unsigned long to)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%lu", to);
	int fd = open("/proc/sys/vm/max_map_count", O_WRONLY | O_CLOEXEC);
	bool raised = fd >= 0 && write(fd, text, (size_t)len) == len;
	if (fd >= 0)
		close(fd);
	return raised;
}

void merge_find_limit(struct scanner *s)
{
	/* Every page a mapping of its own is the worst that can be. */
	unsigned long limit = read_limit(), wanted = (unsigned long)s->nr_chunks * QUIET_PAGES + RAISE_ROOM;
	if (limit < wanted && !s->now.most_mappings && raise_limit(wanted)) {
		log_info("dedup: vm.max_map_count raised from %lu to %lu", limit, wanted);
		limit = wanted;
	}
	limit = limit > OTHERS_MAPPINGS ? limit - OTHERS_MAPPINGS : 0;
	if (s->now.most_mappings && s->now.most_mappings < limit)
		limit = s->now.most_mappings;
	s->most_mappings = limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit;
}

/* Pages that must follow each other for a new mapping to be made: the fewer mappings are left, the more. */
static uint32_t least_run(const struct scanner *s)
{
	uint64_t used = share_mappings(s->mm) + 128, most = s->most_mappings;
	return used >= most ? UINT32_MAX : used * 8 >= most * 7 ? 16 : used * 4 >= most * 3 ? 4 : used * 2 >= most ? 2 : 1;
}

/* --- merging --- */

static void give_up(struct scanner *s, const struct share_item *item, enum protocol_reason reason)
{
	dedup_client_release(s->client, item->slot, 1, reason);
}

/* The page has a twin: when enough pages of a huge page have one, it may be broken, and those that were dropped are offered again. */
static void note_twin(struct scanner *s, uint32_t page)
{
	struct scan_chunk *c = chunk_of(s, page);
	if (!scan_stays_huge(c) || ++c->twins < scan_enough(s))
		return;
	if (c->dropped)
		pass_chunk_again(s, page / QUIET_PAGES);
	c->may_break = true;
}

static void drop_twin(struct scanner *s, uint32_t page)
{
	chunk_of(s, page)->dropped = true;
	s->counts.no_gain++;
}

/* Of one chunk: leaves out what is not worth a mapping. Returns how many items are left. */
static size_t leave_out(struct scanner *s, struct share_item *items, size_t nr)
{
	uint32_t least = least_run(s);
	size_t left = 0;
	for (size_t i = 0; i < nr;) {
		size_t n = 1;
		while (i + n < nr && items[i + n].page == items[i].page + n && items[i + n].slot == items[i].slot + n)
			n++;
		for (size_t k = i; k < i + n; k++) {
			if (n < least || scan_stays_huge(chunk_of(s, items[k].page))) {
				give_up(s, &items[k], PROTOCOL_NO_GAIN);
				drop_twin(s, items[k].page);
			} else {
				items[left++] = items[k];
			}
		}
		i += n;
	}
	return left;
}

/* items: of one chunk, in the order of pages. */
static void merge(struct scanner *s, struct share_item *items, size_t nr)
{
	enum share_result results[DEDUP_CLIENT_BATCH];
	for (size_t i = 0; i < nr; i++)
		quiet_clear(chunk_of(s, items[i].page)->coming, items[i].page);
	nr = leave_out(s, items, nr);
	s->counts.pages_merged += share_pages(s->mm, items, nr, results);
	for (size_t i = 0; i < nr; i++) {
		struct scan_chunk *c = chunk_of(s, items[i].page);
		bool changed = quiet_bit(c->pending, items[i].page);
		switch (results[i]) {
		case SHARE_DONE:
			quiet_clear(c->lone, items[i].page);
			scan_clear_foreign(s, items[i].page);
			break;
		case SHARE_DIFFERS:
			/* One that was written will be found so by the next pass; one that was not is never like this slot. */
			give_up(s, &items[i], changed ? PROTOCOL_CHANGED : PROTOCOL_DIFFERED);
			c->due |= changed;
			s->counts.differed++;
			break;
		case SHARE_BUSY:
			give_up(s, &items[i], PROTOCOL_CHANGED);
			pass_again(s, items[i].page);
			s->counts.busy++;
			break;
		}
	}
}

static int by_page(const void *a, const void *b)
{
	uint32_t x = ((const struct share_item *)a)->page, y = ((const struct share_item *)b)->page;
	return x < y ? -1 : x > y;
}

/* --- gathering --- */

static bool make_room(struct scan_gathered *g, size_t nr)
{
	if (g->done) {
		memmove(g->items, g->items + g->done, (g->nr - g->done) * sizeof(*g->items));
		g->nr -= g->done;
		g->sorted -= g->done;
		g->done = 0;
	}
	if (g->nr + nr <= g->room)
		return true;
	uint32_t room = g->room * 2 > DEDUP_CLIENT_BATCH ? g->room * 2 : DEDUP_CLIENT_BATCH;
	struct share_item *more = room <= MOST_GATHERED ? realloc(g->items, room * sizeof(*more)) : NULL;
	if (!more)
		return false;
	g->items = more;
	g->room = room;
	return true;
}

/* They are offered again some other time. */
static void decline(struct scanner *s, const struct share_item *item)
{
	give_up(s, item, PROTOCOL_CHANGED);
	pass_again(s, item->page);
}

static void gather(struct scanner *s, const struct share_item *items, size_t nr)
{
	struct scan_gathered *g = &s->gathered;
	uint64_t now = clock_now_ns();
	s->rests = false;
	bool room = g->nr + nr <= g->room || make_room(g, nr);
	for (size_t i = 0; i < nr; i++) {
		uint64_t *coming = chunk_of(s, items[i].page)->coming;
		if (!room || quiet_bit(coming, items[i].page)) {
			decline(s, &items[i]);
			continue;
		}
		quiet_set(coming, items[i].page);
		g->items[g->nr++] = items[i];
		g->last_ns = now;
		if (g->nr == g->sorted + 1)
			g->first_ns = now;
	}
}

bool merge_gathered(struct scanner *s, uint64_t *wait_ns)
{
	struct scan_gathered *g = &s->gathered;
	*wait_ns = UINT64_MAX;
	if (g->done == g->nr) {
		g->done = g->sorted = g->nr = 0;
		return false;
	}
	if (g->done == g->sorted) {
		uint64_t now = clock_now_ns(), rested = g->last_ns + REST_MS * 1000000ull,
			 late = g->first_ns + LONGEST_MS * 1000000ull;
		if (now < rested && now < late && g->nr - g->done < MOST_GATHERED / 2) {
			*wait_ns = (rested < late ? rested : late) - now;
			return false;
		}
		qsort(g->items + g->done, g->nr - g->done, sizeof(*g->items), by_page);
		g->sorted = g->nr;
	}
	struct share_item *items = g->items + g->done;
	uint32_t nr = 1;
	while (nr < DEDUP_CLIENT_BATCH && g->done + nr < g->sorted && items[nr].page / QUIET_PAGES == items[0].page / QUIET_PAGES)
		nr++;
	g->done += nr;
	merge(s, items, nr);
	return true;
}

void merge_give_back(struct scanner *s)
{
	struct scan_gathered *g = &s->gathered;
	for (; g->done < g->nr; g->done++)
		give_up(s, &g->items[g->done], PROTOCOL_CHANGED);
}

void merge_twins(struct scanner *s, const struct dedup_event *event)
{
	struct share_item items[DEDUP_CLIENT_BATCH];
	for (size_t i = 0; i < event->nr; i++) {
		note_twin(s, event->pages[i]);
		items[i] = (struct share_item){event->pages[i], event->verdicts[i]};
	}
	gather(s, items, event->nr);
}

/* --- answers --- */

static void queue_content(struct scanner *s, uint32_t page)
{
	struct scan_send *q = &s->to_send;
	if (q->nr == MOST_TO_SEND)
		pass_again(s, page);
	else
		q->pages[(q->first + q->nr++) % MOST_TO_SEND] = page;
}

void merge_answers(struct scanner *s, const struct dedup_event *event)
{
	struct share_item items[DEDUP_CLIENT_BATCH];
	size_t nr = 0;
	/* The answers for a huge page come together. */
	for (size_t i = 0; i < event->nr && !event->of_content; i++)
		if (event->verdicts[i] <= PROTOCOL_MOST_SLOT || event->verdicts[i] == PROTOCOL_SEND)
			note_twin(s, event->pages[i]);
	for (size_t i = 0; i < event->nr; i++) {
		uint32_t page = event->pages[i], verdict = event->verdicts[i];
		if (verdict <= PROTOCOL_MOST_SLOT) {
			items[nr++] = (struct share_item){page, verdict};
		} else if (verdict == PROTOCOL_FIRST) {
			quiet_set(chunk_of(s, page)->lone, page);
		} else if (verdict == PROTOCOL_SEND && scan_stays_huge(chunk_of(s, page))) {
			drop_twin(s, page);
		} else if (verdict == PROTOCOL_SEND) {
			queue_content(s, page);
		} else if (verdict == PROTOCOL_LATER) {
			pass_again(s, page);
		}
	}
	if (nr)
		gather(s, items, nr);
}

/* --- contents --- */

struct sending {
	struct scanner *s;
	int ret;
};

static void send_pages(void *arg, const uint32_t pages[], const void *const contents[], size_t nr)
{
	struct sending *sending = arg;
	struct scanner *s = sending->s;
	if (sending->ret == 0)
		sending->ret = dedup_client_send(s->client, pages, contents, nr);
	if (sending->ret == 0) {
		s->counts.sent += nr;
		return;
	}
	/* There was room: the connection is over. */
	for (size_t i = 0; i < nr; i++)
		pass_again(s, pages[i]);
}

bool merge_send(struct scanner *s)
{
	struct scan_send *q = &s->to_send;
	struct sending sending = {.s = s};
	uint64_t wanted[QUIET_WORDS] = {0};
	uint32_t word = q->pages[q->first] / 64;
	if (dedup_client_room(s->client) == 0)
		return false;
	/* Those of one word of a chunk's bits: one read, and one question. */
	while (q->nr && q->pages[q->first] / 64 == word) {
		quiet_set(wanted, q->pages[q->first]);
		q->first = (q->first + 1) % MOST_TO_SEND;
		q->nr--;
	}
	if (quiet_read(s->mm, word / QUIET_WORDS, wanted, send_pages, &sending) != 0)
		sending.ret = -ENOMEM;
	/* What could not be read now is offered again when it can be. */
	for (unsigned i = 0; i < QUIET_WORDS; i++)
		if (wanted[i]) {
			s->chunks[word / QUIET_WORDS].pending[i] |= wanted[i];
			s->chunks[word / QUIET_WORDS].due = true;
		}
	return true;
}
