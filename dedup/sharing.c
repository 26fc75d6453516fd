/* See sharing.h. */
#include "dedup/sharing.h"

static void add_slot(struct sharing *s, const struct pool_holder *holders, size_t nr)
{
	uint64_t pages = 0, others = 0, asked = 0;
	for (size_t i = 0; i < nr; i++) {
		bool in_set = sharing_is_asked(s, holders[i].client);
		pages += in_set ? holders[i].nr : 0;
		asked += in_set;
		others += !in_set;
	}
	if (!asked)
		return;
	s->pages += pages;
	s->slots++;
	s->within += pages > 1;
	s->across += others > 0;
	s->saved += pages - 1;
	/* Each page becomes a private one; the slot goes if nobody else has it. */
	s->divergence += pages - (others == 0);
	for (size_t i = 0; i < nr; i++)
		if (!sharing_is_asked(s, holders[i].client) || asked > 1)
			s->with[holders[i].client]++;
}

bool sharing_step(struct sharing *s, const struct pool *pool, uint32_t *cursor, uint32_t nr)
{
	uint32_t end = pool_end(pool);
	for (; *cursor < end && nr; (*cursor)++, nr--) {
		size_t nr_holders;
		const struct pool_holder *holders = pool_holders(pool, *cursor, &nr_holders);
		if (nr_holders)
			add_slot(s, holders, nr_holders);
	}
	return *cursor < end;
}
