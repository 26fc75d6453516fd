/* The options of pagoda-vmm (and QEMU) that put a guest where the placement says. */
#ifndef HOST_PLACEMENT_WORDS_H
#define HOST_PLACEMENT_WORDS_H

#include <stddef.h>

#include "host/placement.h"

struct placement_words {
	unsigned nr;
	char *words[4 * PLACEMENT_MOST_VNODES + 2 * PLACEMENT_MOST_VNODES * (PLACEMENT_MOST_VNODES - 1) +
		    1]; /* NULL after the last */
};

/*
 * For one virtual node: its RAM bound to the host's node. For several: each with its vCPUs, and their distances, which the guest
 * finds in SRAT and SLIT. -m and -smp are the caller's, and must be the guest's. RAM is taken from the node as long as there is some (policy preferred): a guest is
 * slower on a full node, rather than killed. Returns 0 or -ENOMEM.
 */
int placement_words_make(const struct topology *t, const struct placement *p, struct placement_words *words);
void placement_words_free(struct placement_words *words);

#endif
