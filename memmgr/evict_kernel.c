/* See evict_kernel.h. */
#include "memmgr/evict_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "memmgr/guest_ram.h"

/* Sums up the zram devices that are swapped to. Returns how many there are. */
static unsigned zram_usage(uint64_t *stored_bytes, uint64_t *ram_bytes)
{
	char line[512], path[128];
	unsigned nr = 0;
	*stored_bytes = *ram_bytes = 0;
	FILE *swaps = fopen("/proc/swaps", "re");
	if (!swaps)
		return 0;
	while (fgets(line, sizeof(line), swaps)) {
		unsigned device;
		unsigned long long orig, compressed, used;
		if (sscanf(line, "/dev/zram%u ", &device) != 1) /* NOLINT(cert-err34-c) */
			continue;
		nr++;
		/* Documentation/admin-guide/blockdev/zram.rst, mm_stat: orig_data_size compr_data_size mem_used_total ... */
		snprintf(path, sizeof(path), "/sys/block/zram%u/mm_stat", device);
		FILE *stat = fopen(path, "re");
		if (!stat)
			continue;
		if (fscanf(stat, "%llu %llu %llu", &orig, &compressed, &used) == 3) { /* NOLINT(cert-err34-c) */
			*stored_bytes += orig;
			*ram_bytes += used;
		}
		fclose(stat);
	}
	fclose(swaps);
	return nr;
}

int kernel_swap_check(struct error *err)
{
	uint64_t stored, ram;
	if (zram_usage(&stored, &ram) > 0)
		return 0;
	return error_set(
		err, ENODEV,
		"tier=kernel: this host swaps to no zram device; make one (modprobe zram; zramctl -f -s SIZE -a lz4; mkswap and "
		"swapon it with the highest priority), or leave tier out");
}

void kernel_swap_usage(uint64_t *pages, uint64_t *ram_bytes)
{
	char line[256];
	unsigned long long kib = 0;
	uint64_t stored, ram;
	*pages = *ram_bytes = 0;
	FILE *status = fopen("/proc/self/status", "re");
	if (!status)
		return;
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "VmSwap: %llu kB", &kib) == 1) /* NOLINT(cert-err34-c) */
			break;
	fclose(status);
	*pages = kib * 1024 / GUEST_PAGE_SIZE;
	/* Our share of the devices, by what is stored. */
	if (kib && zram_usage(&stored, &ram) > 0 && stored)
		*ram_bytes = (uint64_t)((double)ram * (double)(kib * 1024) / (double)stored);
}

int64_t kernel_reclaim(struct kernel_reclaim *k, size_t nr)
{
	if (!k->tried) {
		int ret = memory_cgroup_open_own(&k->group);
		k->tried = true;
		if (ret == 0 && !memory_cgroup_is_ours_alone(&k->group))
			memory_cgroup_close(&k->group);
	}
	if (k->group.dir_fd < 0)
		return -ENOENT;
	int64_t bytes = memory_cgroup_reclaim(&k->group, (uint64_t)nr * GUEST_PAGE_SIZE);
	if (bytes < 0) {
		log_warning("memory: the kernel does not reclaim from the control group of this process: %s; its pages are chosen "
			    "one by one",
			    strerror((int)-bytes));
		memory_cgroup_close(&k->group);
		return -ENOENT;
	}
	return bytes / GUEST_PAGE_SIZE;
}

void kernel_reclaim_fini(struct kernel_reclaim *k)
{
	if (k->tried)
		memory_cgroup_close(&k->group);
	*k = (struct kernel_reclaim){.tried = false};
}
