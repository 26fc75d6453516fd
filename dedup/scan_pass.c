/*
 * A pass of the scanner: chunk by chunk, what was written is noted, what was not since the last pass is hashed, and offered to the daemon in
 * the order of pages. Broken merges are found on the way, and chunks in which little is shared any more become ordinary memory again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "dedup/scanner_internal.h"
#include "memmgr/memmgr.h"

enum {
	COLLECT = 256,
	FEW_SHARED = 8,       /* one in so many of a chunk's pages in the pool still shared: it is put together again */
	LITTLE_WRITTEN = 512, /* a pass in which one page of so many was written is followed by a later one */
	MOST_PASSES = 16,     /* so many times pass_ms is the longest from pass to pass */
	FEW_FAULTS = 256,     /* one for so many mappings is not worth a look at all of them, */
	LEAST_FAULTS = 4096,  /* nor is one for so many pages worth a pass */
	MOST_REST = 15,
	AT_ONCE = 256,     /* chunks that are passed over without asking what the daemon says */
	SURE_PASSES = 256, /* every so many look at everything, whatever the count of faults says */
};

static unsigned count(const uint64_t bits[QUIET_WORDS])
{
	unsigned nr = 0;
	for (unsigned word = 0; word < QUIET_WORDS; word++)
		nr += (unsigned)__builtin_popcountll(bits[word]);
	return nr;
}

/* --- pressure --- */

/* Whether the host has less than an eighth of its memory to give. */
static bool host_is_short(void)
{
	unsigned long long total = 0, available = 0;
	char line[100];
	FILE *file = fopen("/proc/meminfo", "re");
	if (!file)
		return false;
	while (!(total && available) && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %llu", &total) != 1)        /* NOLINT(cert-err34-c) */
			sscanf(line, "MemAvailable: %llu", &available); /* NOLINT(cert-err34-c) */
	fclose(file);
	return available && available < total / 8;
}

static bool memory_is_short(const struct scanner *s)
{
	struct memmgr_stats stats;
	memmgr_get_stats(s->mm, &stats);
	return (stats.target_pages && stats.used_pages >= stats.target_pages - stats.target_pages / 8) || host_is_short();
}

/*
 * Page faults of this process but for this thread's own. Whoever writes to a page that is tracked or shared, or touches one that was not
 * there, takes one: while there are few, little has changed. Every so many passes look all the same: at what was little, and since faults
 * that a kernel thread takes for a vCPU are not counted.
 */
static uint64_t faults_of_others(void)
{
	struct rusage all, own;
	getrusage(RUSAGE_SELF, &all);
	getrusage(RUSAGE_THREAD, &own);
	return (uint64_t)(all.ru_minflt + all.ru_majflt) - (uint64_t)(own.ru_minflt + own.ru_majflt);
}

/* --- broken merges --- */

static void note_broken(struct scanner *s, const struct share_item *item)
{
	pass_again(s, item->page);
	s->counts.pages_broken++;
	if (scan_is_foreign(s, item->page))
		scan_clear_foreign(s, item->page);
	else
		dedup_client_release(s->client, item->slot, 1, PROTOCOL_BROKEN);
}

/* What the guest wrote to, if that is looked for, and what the memory manager dropped. */
static void collect(struct scanner *s, uint32_t chunk, bool broken)
{
	struct share_item items[COLLECT];
	uint32_t at = chunk * QUIET_PAGES, end = at + QUIET_PAGES;
	while (at < end) {
		size_t nr = share_collect(s->mm, &at, end, broken, items, COLLECT);
		for (size_t i = 0; i < nr; i++)
			note_broken(s, &items[i]);
	}
}

/* Where most merges of a chunk are broken, it takes more mappings than it saves memory, and cannot be taken away under pressure. */
static void put_together(struct scanner *s, uint32_t chunk, const struct quiet_chunk *seen)
{
	if (seen->nr_shared > seen->nr_in_pool / FEW_SHARED)
		return;
	if (share_restore(s->mm, chunk * QUIET_PAGES) < 0)
		return; /* some other time */
	s->counts.restored++;
	collect(s, chunk, false);
	pass_chunk_again(s, chunk);
}

void pass_again(struct scanner *s, uint32_t page)
{
	quiet_set(s->chunks[page / QUIET_PAGES].pending, page);
	s->chunks[page / QUIET_PAGES].due = true;
}

void pass_chunk_again(struct scanner *s, uint32_t chunk)
{
	struct scan_chunk *c = &s->chunks[chunk];
	memset(c->pending, 0xff, sizeof(c->pending));
	c->twins = 0;
	c->dropped = false;
	c->due = true;
}

/* --- hashing --- */

/* Zero pages of one chunk, which go without a word to anybody. */
struct hashing {
	struct scanner *s;
	uint32_t zeroes[QUIET_PAGES];
	size_t nr_zeroes;
};

static void hash_pages(void *arg, const uint32_t pages[], const void *const contents[], size_t nr)
{
	struct hashing *h = arg;
	struct scanner *s = h->s;
	struct page_hash hashes[QUIET_READ];
	page_hash_batch(dedup_client_hasher(s->client), contents, nr, hashes);
	for (size_t i = 0; i < nr; i++) {
		if (page_hash_is_zero(hashes[i]))
			h->zeroes[h->nr_zeroes++] = pages[i];
		else
			s->offers.offers[s->offers.nr++] =
				(struct protocol_offer){.hash_low = hashes[i].low, .hash_high = hashes[i].high, .page = pages[i]};
	}
	s->counts.pages_scanned += nr;
	s->pass.offered += nr;
}

static bool send_offers(struct scanner *s)
{
	if (s->offers.nr == 0)
		return true;
	if (dedup_client_room(s->client) == 0)
		return false;
	/* A connection that ends is noticed where messages are received; then all is offered again. */
	if (dedup_client_offer(s->client, s->offers.offers, s->offers.nr) != 0)
		for (size_t i = 0; i < s->offers.nr; i++)
			pass_again(s, s->offers.offers[i].page);
	s->offers.nr = 0;
	return true;
}

/* Hashes the pages that were quiet. There is room for all of the chunk's offers. Returns how many. */
static unsigned hash_chunk(struct scanner *s, uint32_t chunk, uint64_t quiet[QUIET_WORDS])
{
	struct scan_chunk *c = &s->chunks[chunk];
	struct hashing h = {.s = s};
	uint64_t read[QUIET_WORDS];
	memcpy(read, quiet, sizeof(read));
	quiet_read(s->mm, chunk, quiet, hash_pages, &h);
	/* What is left in quiet could not be read, and stays pending. */
	for (unsigned word = 0; word < QUIET_WORDS; word++) {
		read[word] &= ~quiet[word];
		c->pending[word] &= ~read[word];
	}
	c->may_break |= h.nr_zeroes >= scan_enough(s);
	if (h.nr_zeroes && !scan_stays_huge(c))
		s->counts.ksm_zero_pages += share_drop_zeroes(s->mm, h.zeroes, h.nr_zeroes);
	return count(read);
}

/* --- the pass --- */

/* Whether huge pages may be broken now. */
static bool takes_huge(const struct scanner *s)
{
	bool matters = s->pass.take_huge || s->pass.skipped || s->counts.full_scans == 0;
	return s->now.huge == SCANNER_HUGE_ON || (s->now.huge == SCANNER_HUGE_AUTO && matters && memory_is_short(s));
}

/* Whether so many faults are reason enough to look for broken merges, which takes time for each mapping. */
static bool broken_are_worth_it(const struct scanner *s, uint64_t faults)
{
	return faults * FEW_FAULTS > share_mappings(s->mm) && faults * LEAST_FAULTS > (uint64_t)s->nr_chunks * QUIET_PAGES;
}

void pass_begin(struct scanner *s)
{
	uint64_t faults = faults_of_others(), pages = (uint64_t)s->nr_chunks * QUIET_PAGES, passes = s->counts.full_scans;
	bool took_huge = s->pass.take_huge, takes = takes_huge(s);
	s->pass = (struct scan_pass){
		.active = true,
		.begun_ns = clock_now_ns(),
		.begun_cpu = clock_thread_cpu_ns(),
		.looks_at_all = passes % SURE_PASSES == 0 || takes != took_huge || (faults - s->faults) * LEAST_FAULTS > pages,
		.collects = passes % (SURE_PASSES * 4ull) == 0 || broken_are_worth_it(s, faults - s->collected_faults),
		.take_huge = takes,
	};
	if (s->pass.collects)
		s->collected_faults = faults;
	if (s->pass.looks_at_all) {
		s->faults = faults;
		merge_find_limit(s);
	}
	/* What was passed over as it was not to be broken may be now. */
	for (uint32_t i = 0; i < s->nr_chunks && takes != took_huge; i++)
		s->chunks[i].rest_left = 0;
}

static void pass_end(struct scanner *s)
{
	struct scan_pass *p = &s->pass;
	p->active = false;
	s->counts.full_scans++;
	s->counts.pages_skipped = p->skipped;
	s->counts.pages_volatile = p->rewritten;
	s->counts.pages_unshared = p->lone;
	s->counts.pass_cpu_us = (clock_thread_cpu_ns() - p->begun_cpu) / 1000;
	/* Offers mean that something was written one pass ago. */
	if ((p->written + p->offered) * LITTLE_WRITTEN < (uint64_t)s->nr_chunks * QUIET_PAGES)
		s->pass_ms = s->pass_ms * 2 < s->now.pass_ms * MOST_PASSES ? s->pass_ms * 2 : s->now.pass_ms * MOST_PASSES;
	else
		s->pass_ms = s->now.pass_ms;
	s->next_pass_ns = p->begun_ns + s->pass_ms * 1000000;
	if (p->offered || s->to_send.nr || s->gathered.nr) {
		s->rests = false;
	} else if (!s->rests) {
		dedup_client_rest(s->client);
		share_rest(s->mm);
		s->rests = true;
	}
}

/*
 * Tracking writes costs the guest a fault for each page that it writes to. Where all that is written is written again and again, and
 * nothing comes to rest, the chunk is passed over once, twice, up to MOST_REST passes.
 */
static void decide_rest(struct scan_chunk *c, unsigned again, unsigned nr_quiet)
{
	if (nr_quiet || !again)
		c->rest = 0;
	else
		c->rest = c->rest * 2 + 1 > MOST_REST ? MOST_REST : (uint8_t)(c->rest * 2 + 1);
	c->rest_left = c->rest;
}

/* Whether there was nothing to look for. */
static bool pass_over(struct scanner *s, uint32_t chunk)
{
	struct scan_chunk *c = &s->chunks[chunk];
	if (!c->rest_left && (c->due || s->pass.looks_at_all))
		return false;
	collect(s, chunk, s->pass.collects);
	c->rest_left -= c->rest_left > 0;
	s->pass.lone += count(c->lone);
	s->pass.skipped += c->is_huge && !s->pass.take_huge ? QUIET_PAGES : 0;
	return true;
}

/* Leaves as many pages as the batch has room for. The others stay pending; returns whether there are any. */
static bool trim(const struct scanner *s, uint64_t quiet[QUIET_WORDS])
{
	uint32_t room = s->now.batch_pages ? s->now.batch_pages - s->nr_batch : QUIET_PAGES;
	bool trimmed = false;
	for (unsigned word = 0; word < QUIET_WORDS; word++) {
		uint64_t left = 0;
		for (uint64_t rest = quiet[word]; rest && room; rest &= rest - 1, room--)
			left |= rest & -rest;
		trimmed |= left != quiet[word];
		quiet[word] = left;
	}
	return trimmed;
}

static void look_at(struct scanner *s, uint32_t chunk)
{
	struct scan_chunk *c = &s->chunks[chunk];
	unsigned again = 0;
	uint64_t waits = 0;
	struct quiet_chunk seen;
	uint64_t quiet[QUIET_WORDS];
	collect(s, chunk, s->pass.collects);
	int ret = quiet_look(s->mm, chunk, s->pass.take_huge ? QUIET_TAKE_HUGE : QUIET_KEEP_HUGE, &seen);
	if (ret == -ENXIO)
		return;
	c->is_huge = seen.is_huge;
	if (!c->is_huge) {
		c->may_break = false;
		if (c->dropped)
			pass_chunk_again(s, chunk);
	}
	if (c->is_huge && !s->pass.take_huge) {
		s->pass.skipped += QUIET_PAGES;
		c->due = false;
		return;
	}
	if (ret)
		memset(seen.written, 0xff, sizeof(seen.written));
	for (unsigned word = 0; word < QUIET_WORDS; word++) {
		again += (unsigned)__builtin_popcountll(c->pending[word] & seen.written[word]);
		c->pending[word] = (c->pending[word] | seen.written[word]) & ~seen.shared[word];
		quiet[word] = c->pending[word] & ~seen.written[word] & ~c->coming[word];
		waits |= c->pending[word] & c->coming[word];
		c->lone[word] &= ~seen.written[word];
	}
	unsigned written = count(seen.written);
	c->due = trim(s, quiet) || written || waits;
	s->pass.rewritten += again;
	s->pass.written += written;
	s->pass.lone += count(c->lone);
	unsigned hashed = count(quiet) ? hash_chunk(s, chunk, quiet) : 0;
	s->nr_batch += hashed;
	if (!seen.is_anew)
		decide_rest(c, again, hashed);
	if (seen.nr_in_pool)
		put_together(s, chunk, &seen);
}

static void sleep_a_while(struct scanner *s)
{
	s->nr_batch = 0;
	s->next_pass_ns = clock_now_ns() + s->now.pass_ms * 1000000ull;
}

bool pass_step(struct scanner *s)
{
	unsigned over = 0;
	while (over < AT_ONCE && s->pass.chunk < s->nr_chunks && pass_over(s, s->pass.chunk)) {
		s->pass.chunk++;
		over++;
	}
	if (over == AT_ONCE)
		return true;
	bool is_last = s->pass.chunk == s->nr_chunks, is_full = s->now.batch_pages && s->nr_batch >= s->now.batch_pages;
	if ((is_last || is_full || s->offers.nr + QUIET_PAGES > DEDUP_CLIENT_BATCH) && !send_offers(s))
		return false;
	if (is_last)
		pass_end(s);
	else if (is_full)
		sleep_a_while(s);
	else
		look_at(s, s->pass.chunk++);
	return true;
}
