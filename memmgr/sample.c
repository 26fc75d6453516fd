/*
 * Samples of the working set: a few pages a second are taken into limbo and watched; working_set.h makes an estimate of when they
 * come back.
 *
 * A sample is an entry with PAGE_SAMPLED, whatever its state. Taken and touched are told to the estimator in this order: the first
 * under the chunk's lock, the second after the page came back (fault.c).
 */
#include "memmgr/memmgr_internal.h"

enum { AT_ONCE = 64 };

static void note(struct memmgr *mm, uint32_t page, uint64_t now_ns, bool watched)
{
	lock_take(&mm->sample_lock);
	working_set_taken(mm->working_set, page, now_ns, watched);
	lock_release(&mm->sample_lock);
}

static void take_sample(struct memmgr *mm, uint32_t page, uint64_t now_ns)
{
	struct chunk *c = page_chunk(&mm->pt, page);
	bool taken = evict_run(mm, page, 1, true) > 0;
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[page];
	enum page_state state = page_state(e);
	bool watched = state == PAGE_LIMBO || state == PAGE_COMPRESSED || state == PAGE_ZERO;
	if (watched)
		page_table_set(&mm->pt, page, e | PAGE_SAMPLED);
	note(mm, page, now_ns, watched || taken);
	lock_release(&c->lock);
	/* Touched before it could be watched: it is a very active one. */
	if (taken && !watched) {
		lock_take(&mm->sample_lock);
		working_set_touched(mm->working_set, page, clock_now_ns());
		lock_release(&mm->sample_lock);
	}
}

/* A sample of which no more is to be learnt: it goes back where it came from, unless memory is short. */
static void end_sample(struct memmgr *mm, uint32_t page, bool keep_evicted)
{
	struct chunk *c = page_chunk(&mm->pt, page);
	lock_take(&c->lock);
	page_entry e = mm->pt.entries[page];
	if (e & PAGE_SAMPLED) {
		page_table_set(&mm->pt, page, e & ~(uint64_t)PAGE_SAMPLED);
		if (page_state(e) == PAGE_LIMBO && !keep_evicted)
			(void)bring_page(mm, &mm->sample_buffer, page, BRING_PREFETCH, false); /* else the next touch brings it */
	}
	lock_release(&c->lock);
}

bool sample_step(struct memmgr *mm, bool keep_evicted)
{
	uint32_t pages[AT_ONCE];
	uint64_t now_ns = clock_now_ns();
	lock_take(&mm->sample_lock);
	size_t nr = working_set_expire(mm->working_set, now_ns, pages, AT_ONCE);
	lock_release(&mm->sample_lock);
	for (size_t i = 0; i < nr; i++)
		end_sample(mm, pages[i], keep_evicted);

	lock_take(&mm->sample_lock);
	nr = working_set_next(mm->working_set, now_ns, pages, AT_ONCE);
	bool out = nr || working_set_nr_out(mm->working_set) > 0;
	lock_release(&mm->sample_lock);
	if (!nr)
		return out;
	lock_take(&mm->evict_lock);
	for (size_t i = 0; i < nr; i++)
		take_sample(mm, pages[i], clock_now_ns());
	lock_release(&mm->evict_lock);
	COUNT(mm, sampled, nr);
	return out;
}

void sample_touched(struct memmgr *mm, uint32_t page, page_entry e)
{
	uint64_t now_ns = clock_now_ns();
	lock_take(&mm->sample_lock);
	if (e & PAGE_SAMPLED) {
		working_set_touched(mm->working_set, page, now_ns);
	} else {
		uint64_t mask = PAGE_TIME_MASK >> PAGE_TIME_SHIFT, taken = (e & PAGE_TIME_MASK) >> PAGE_TIME_SHIFT;
		working_set_refault(mm->working_set, (uint32_t)((memmgr_time_stamp(now_ns) - taken) & mask) * 250, now_ns);
	}
	lock_release(&mm->sample_lock);
}

void sample_lost(struct memmgr *mm, uint32_t page)
{
	lock_take(&mm->sample_lock);
	working_set_forget(mm->working_set, page, clock_now_ns());
	lock_release(&mm->sample_lock);
}
