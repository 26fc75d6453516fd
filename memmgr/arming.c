/*
 * When userfaultfd tells of what is missing of a chunk.
 *
 * A chunk is armed before the first page leaves it. To disarm one that is whole again is dear: the kernel forgets what was written to it,
 * so that all of it has to be read again for equal pages, and KVM drops what it has mapped of it, which the guest then faults in again,
 * page by page. Pages that are taken and come back soon (samples of the working set, limbo) would have that happen all the time. So a
 * chunk is disarmed at once only when a hole of it was touched, since the kernel then fills its other holes; and else after it was whole
 * at two looks without anything taken in between (`calm`). Who looks is who looks for equal pages (quiet.c), which then goes on tracking
 * writes without a gap, or, where nobody does, the reclaimer.
 */
#include "memmgr/memmgr_internal.h"
#include "memmgr/uffd.h"

enum { OTHERS_LOOK_MS = 60000 }; /* who looked for equal pages within that time will look again */

int chunk_arm(struct memmgr *mm, struct chunk *c)
{
	c->calm = false;
	if (c->armed && !c->arm_again)
		return 0;
	uint64_t len = (uint64_t)(c->end - c->first) * GUEST_PAGE_SIZE, skip = (uint64_t)c->first * GUEST_PAGE_SIZE;
	/* The limbo mapping is the target of moves, and must be registered for that; nobody touches what is missing there. */
	int ret = uffd_register(mm->uffd, c->limbo + skip, len, UFFD_TRACK);
	if (ret == 0)
		ret = c->in_pool ? share_register_rest(mm, c) : uffd_register(mm->uffd, c->hva + skip, len, UFFD_TRACK_MISSING);
	if (ret)
		return ret;
	if (!c->armed)
		COUNT(mm, armed_chunks, 1);
	c->armed = true;
	c->arm_again = false;
	return 0;
}

void chunk_disarm_if_whole(struct memmgr *mm, struct chunk *c)
{
	if (!c->armed || c->missing)
		return;
	uint64_t len = (uint64_t)(c->end - c->first) * GUEST_PAGE_SIZE, skip = (uint64_t)c->first * GUEST_PAGE_SIZE;
	/* Who waits for a page that was never touched is woken by that, tries again, and the kernel fills it. */
	if (uffd_unregister(mm->uffd, c->hva + skip, len) != 0)
		return; /* stays armed, which is right, only slower */
	c->armed = false;
	COUNT(mm, armed_chunks, -1);
	uffd_unregister(mm->uffd, c->limbo + skip, len);
}

void chunk_disarm_if_calm(struct memmgr *mm, struct chunk *c)
{
	if (c->calm)
		chunk_disarm_if_whole(mm, c);
	c->calm = !c->missing;
}

bool chunks_disarm_calm(struct memmgr *mm, uint64_t now_ns)
{
	if (__atomic_load_n(&mm->counters.armed_chunks, __ATOMIC_RELAXED) == 0)
		return false;
	if (now_ns < mm->next_calm_ns)
		return true;
	mm->next_calm_ns = now_ns + mm->calm_ms * 1000000ull;
	uint64_t looked_ns = atomic_load(&mm->looked_ns);
	if (looked_ns && now_ns < looked_ns + OTHERS_LOOK_MS * 1000000ull)
		return true;
	for (uint32_t i = 0; i < mm->pt.nr_chunks && !mm->stopping; i++) {
		struct chunk *c = &mm->pt.chunks[i];
		lock_take(&c->lock);
		if (c->armed)
			chunk_disarm_if_calm(mm, c);
		lock_release(&c->lock);
	}
	return true;
}
