/* See guest_group.h. Groups are named by the guest's UUID: names may be the same with another daemon. */
#include "host/guest_group.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "memmgr/evict_kernel.h"

#define NAME_BYTES (sizeof("pagoda-") + DEFINITION_UUID_BYTES)

static void name_of(const struct definition *d, char name[NAME_BYTES])
{
	snprintf(name, NAME_BYTES, "pagoda-%s", d->uuid);
}

bool guest_group_is_single(const struct definition *d)
{
	return d->minimum > 0 || d->maximum < d->memory || definition_has_own_shares(d);
}

static int join_shared(struct shared_group **shared, struct memory_cgroup *group)
{
	int ret = *shared ? 0 : shared_group_create(shared);
	if (ret)
		return ret;
	*group = *shared_group_dir(*shared);
	group->dir_fd = fcntl(group->dir_fd, F_DUPFD_CLOEXEC, 0);
	return group->dir_fd < 0 ? -errno : 0;
}

static int make_single(const struct definition *d, struct memory_cgroup *group)
{
	struct memory_cgroup parent;
	char name[NAME_BYTES];
	name_of(d, name);
	int ret = memory_cgroup_open_parent(&parent);
	if (ret)
		return ret;
	ret = memory_cgroup_make(&parent, name, group);
	memory_cgroup_close(&parent);
	return ret;
}

int guest_group_make(const struct definition *d, struct shared_group **shared, struct memory_cgroup *group, struct error *err)
{
	*group = (struct memory_cgroup){.dir_fd = -1};
	if (d->pinned || d->tier == DEFINITION_TIER_OWN)
		return 0;
	int ret = kernel_swap_check(err);
	if (ret)
		return d->tier == DEFINITION_TIER_AUTO ? 0 : error_prefix(err, "%s", d->name);
	ret = guest_group_is_single(d) ? make_single(d, group) : join_shared(shared, group);
	if (ret == 0)
		return 1;
	if (d->tier == DEFINITION_TIER_AUTO)
		return 0;
	log_warning("%s: its VMM gets no control group: %s; it chooses the pages itself that the kernel is to swap out", d->name,
		    strerror(-ret));
	return 1;
}

void guest_group_remove(const struct definition *d)
{
	struct memory_cgroup parent;
	char name[NAME_BYTES];
	name_of(d, name);
	if (memory_cgroup_open_parent(&parent) != 0)
		return;
	int ret = memory_cgroup_remove(&parent, name);
	if (ret && ret != -ENOENT)
		log_debug("%s: its control group stays: %s", d->name, strerror(-ret));
	memory_cgroup_close(&parent);
}
