/* How much is to be taken from guests whose pages the kernel takes from all of them together (shared_group.h). Pure. */
#ifndef HOST_ARBITER_COMMON_H
#define HOST_ARBITER_COMMON_H

#include <stddef.h>
#include <stdint.h>

#include "host/arbiter.h"

/*
 * Pages that the kernel is to swap out of guests that are in_common, so that they use no more than the sum of their targets: of each only a part is gained, which those tell that are
 * swapped out already. No more than an eighth of what they use: it is looked at again soon. Arguments as arbiter_decide() had and gave them.
 */
uint64_t arbiter_common_excess(const struct arbiter_guest guests[], const struct arbiter_guest_decision decisions[], size_t nr);

#endif
