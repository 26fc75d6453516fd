/*
 * Where a guest's cold pages are kept: by its VMM itself, or by the kernel's swap on zram (memmgr/evict_kernel.h says what each costs). For the latter the VMM
 * gets a control group of memory, so that the kernel chooses the pages, by when they were used: one of its own if the guest has a minimum, a maximum or shares of its
 * own, else that of all others (shared_group.h).
 */
#ifndef HOST_GUEST_GROUP_H
#define HOST_GUEST_GROUP_H

#include "base/memory_cgroup.h"
#include "host/definition.h"
#include "host/shared_group.h"

/* Whether it has limits or shares of its own, which only a group of its own keeps. */
bool guest_group_is_single(const struct definition *d);
/*
 * Decides for a guest that is about to start. *shared is made when the first guest needs it. Returns 1: the kernel's, in *group, which the caller closes (none with dir_fd
 * -1: then the VMM chooses pages itself); 0: its own; or -ENODEV with a sentence: the definition asks for the kernel's, and the host does not swap to zram.
 */
int guest_group_make(const struct definition *d, struct shared_group **shared, struct memory_cgroup *group, struct error *err);
/* After the VMM has ended. */
void guest_group_remove(const struct definition *d);

#endif
