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
	TWINS_REST_MS = 50, /* without new twins, before those that came are merged */
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

/* Whether the page's chunk is a huge page that is to stay one. */
static bool stays_huge(const struct scanner *s, uint32_t page)
{
	const struct scan_chunk *c = chunk_of(s, page);
	return c->is_huge && !c->may_break;
}

/* A page of a huge page has a twin; when enough of it have, all of it is looked at again. */
static void count_twin(struct scanner *s, const struct share_item *item)
{
	struct scan_chunk *c = chunk_of(s, item->page);
	give_up(s, item, PROTOCOL_NO_GAIN);
	s->counts.no_gain++;
	if (++c->twins < QUIET_PAGES * s->now.huge_percent / 100)
		return;
	pass_again(s, item->page / QUIET_PAGES);
	c->may_break = true;
}

/* Leaves out what is not worth a mapping. Returns how many items are left. */
static size_t leave_out(struct scanner *s, struct share_item *items, size_t nr)
{
	uint32_t least = least_run(s);
	size_t left = 0;
	for (size_t i = 0; i < nr;) {
		size_t n = 1;
		while (i + n < nr && items[i + n].page == items[i].page + n && items[i + n].slot == items[i].slot + n)
			n++;
		for (size_t k = i; k < i + n; k++) {
			if (stays_huge(s, items[k].page)) {
				count_twin(s, &items[k]);
			} else if (n < least) {
				give_up(s, &items[k], PROTOCOL_NO_GAIN);
				s->counts.no_gain++;
			} else {
				items[left++] = items[k];
			}
		}
		i += n;
	}
	return left;
}

/* items: in the order of pages. */
static void merge(struct scanner *s, struct share_item *items, size_t nr)
{
	enum share_result results[DEDUP_CLIENT_BATCH];
	size_t mappings = 0;
	nr = leave_out(s, items, nr);
	s->counts.pages_merged += share_pages(s->mm, items, nr, results, &mappings);
	for (size_t i = 0; i < nr; i++) {
		struct scan_chunk *c = chunk_of(s, items[i].page);
		bool changed = quiet_bit(c->pending, items[i].page);
		switch (results[i]) {
		case SHARE_DONE:
			c->lone[items[i].page % QUIET_PAGES / 64] &= ~(1ull << items[i].page % 64);
			if (s->foreign)
				s->foreign[items[i].page / 64] &= ~(1ull << items[i].page % 64);
			break;
		case SHARE_DIFFERS:
			/* One that was written will be found so by the next pass; one that was not is never like this slot. */
			give_up(s, &items[i], changed ? PROTOCOL_CHANGED : PROTOCOL_DIFFERED);
			s->counts.differed++;
			break;
		case SHARE_BUSY:
			give_up(s, &items[i], PROTOCOL_CHANGED);
			quiet_set(c->pending, items[i].page);
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

/* --- twins --- */

static bool make_room(struct scan_twins *t, size_t nr)
{
	if (t->done) {
		memmove(t->items, t->items + t->done, (t->nr - t->done) * sizeof(*t->items));
		t->nr -= t->done;
		t->sorted -= t->done;
		t->done = 0;
	}
	if (t->nr + nr <= t->room)
		return true;
	uint32_t room = t->room * 2 > DEDUP_CLIENT_BATCH ? t->room * 2 : DEDUP_CLIENT_BATCH;
	struct share_item *more = room <= MOST_TWINS ? realloc(t->items, room * sizeof(*more)) : NULL;
	if (!more)
		return false;
	t->items = more;
	t->room = room;
	return true;
}

void merge_twins(struct scanner *s, const struct dedup_event *event)
{
	struct scan_twins *t = &s->twins;
	if (t->nr + event->nr > t->room && !make_room(t, event->nr)) {
		/* No room: these are merged as they come. */
		struct share_item items[DEDUP_CLIENT_BATCH];
		for (size_t i = 0; i < event->nr; i++)
			items[i] = (struct share_item){event->pages[i], event->verdicts[i]};
		qsort(items, event->nr, sizeof(items[0]), by_page);
		merge(s, items, event->nr);
		return;
	}
	for (size_t i = 0; i < event->nr; i++)
		t->items[t->nr++] = (struct share_item){event->pages[i], event->verdicts[i]};
	t->last_ns = scan_now_ns();
}

bool merge_gathered(struct scanner *s, uint64_t *wait_ns)
{
	struct scan_twins *t = &s->twins;
	*wait_ns = UINT64_MAX;
	if (t->done == t->nr) {
		t->done = t->sorted = t->nr = 0;
		return false;
	}
	if (t->done == t->sorted) {
		uint64_t age = scan_now_ns() - t->last_ns, rest = TWINS_REST_MS * 1000000ull;
		if (age < rest && t->nr - t->done < MOST_TWINS / 2) {
			*wait_ns = rest - age;
			return false;
		}
		qsort(t->items + t->done, t->nr - t->done, sizeof(*t->items), by_page);
		t->sorted = t->nr;
	}
	uint32_t nr = t->sorted - t->done;
	if (nr > DEDUP_CLIENT_BATCH)
		nr = DEDUP_CLIENT_BATCH;
	merge(s, t->items + t->done, nr);
	t->done += nr;
	return true;
}

/* --- answers --- */

static void queue_content(struct scanner *s, uint32_t page)
{
	struct scan_send *q = &s->to_send;
	if (q->nr == MOST_TO_SEND)
		quiet_set(chunk_of(s, page)->pending, page);
	else
		q->pages[(q->first + q->nr++) % MOST_TO_SEND] = page;
}

static bool has_twin(uint32_t verdict)
{
	return verdict <= PROTOCOL_MOST_SLOT || verdict == PROTOCOL_SEND;
}

/* How much of a huge page would merge is known from the answers for all of it, which come together. */
static void decide_huge(struct scanner *s, const struct dedup_event *event)
{
	for (size_t i = 0; i < event->nr;) {
		uint32_t chunk = event->pages[i] / QUIET_PAGES, twins = 0;
		for (; i < event->nr && event->pages[i] / QUIET_PAGES == chunk; i++)
			twins += has_twin(event->verdicts[i]);
		if (s->chunks[chunk].is_huge && twins && twins >= QUIET_PAGES * s->now.huge_percent / 100)
			s->chunks[chunk].may_break = true;
	}
}

void merge_answers(struct scanner *s, const struct dedup_event *event)
{
	struct share_item items[DEDUP_CLIENT_BATCH];
	size_t nr = 0;
	if (!event->of_content)
		decide_huge(s, event);
	for (size_t i = 0; i < event->nr; i++) {
		uint32_t page = event->pages[i], verdict = event->verdicts[i];
		if (verdict <= PROTOCOL_MOST_SLOT) {
			items[nr++] = (struct share_item){page, verdict};
		} else if (verdict == PROTOCOL_FIRST) {
			quiet_set(chunk_of(s, page)->lone, page);
		} else if (verdict == PROTOCOL_SEND && stays_huge(s, page)) {
			s->counts.no_gain++;
		} else if (verdict == PROTOCOL_SEND) {
			queue_content(s, page);
		} else if (verdict == PROTOCOL_LATER) {
			quiet_set(chunk_of(s, page)->pending, page);
		}
	}
	merge(s, items, nr);
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
		quiet_set(chunk_of(s, pages[i])->pending, pages[i]);
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
		s->chunks[word / QUIET_WORDS].pending[i] |= wanted[i];
	return true;
}
