/*
 * Where a guest's cold pages are kept: by its VMM itself, or by the kernel's swap on zram (memmgr/evict_kernel.h says what each costs). For the latter the VMM
 * gets a control group of memory of its own, so that the kernel chooses the pages, by when they were used.
 */
#ifndef HOST_GUEST_GROUP_H
#define HOST_GUEST_GROUP_H

#include "base/memory_cgroup.h"
#include "host/definition.h"

/*
 * Decides for a guest that is about to start. Returns 1: the kernel's, in *group, which the caller closes (none with dir_fd -1: then the VMM chooses pages itself); 0: its own; or
 * -ENODEV with a sentence: the definition asks for the kernel's, and the host does not swap to zram.
 */
int guest_group_make(const struct definition *d, struct memory_cgroup *group, struct error *err);
/* After the VMM has ended. */
void guest_group_remove(const struct definition *d);

#endif
