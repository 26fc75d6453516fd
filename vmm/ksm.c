/* See ksm.h. Marks are madvise(2) on the guest's mappings; counters are small files, one number or one "name number" a line. */
#include "vmm/ksm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/os.h"

#define KSM_NAME(name) #name,
const char *const ksm_global_names[KSM_NR_GLOBAL] = {KSM_GLOBAL(KSM_NAME)};
const char *const ksm_process_names[KSM_NR_PROCESS] = {KSM_PROCESS(KSM_NAME)};
#undef KSM_NAME

int ksm_enable(const struct guest_ram *ram, struct error *err)
{
	size_t nr;
	const struct guest_ram_region *regions = guest_ram_regions(ram, &nr);
	for (size_t i = 0; i < nr; i++) {
		int ret = mem_madvise(regions[i].hva, regions[i].size, MADV_MERGEABLE);
		if (ret == -EINVAL)
			return error_set(err, ENOTSUP,
					 "-machine mem-merge=ksm: this kernel has no KSM (CONFIG_KSM); leave mem-merge out");
		if (ret)
			return error_set(err, -ret,
					 "-machine mem-merge=ksm: the kernel does not take the guest's memory for KSM: %s",
					 strerror(-ret));
	}
	return 0;
}

/* Takes the number that text is, to its end or a blank. */
static void take(struct ksm_counter *counter, const char *text)
{
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (end == text || errno || (*end && *end != '\n' && *end != ' '))
		return;
	*counter = (struct ksm_counter){.known = true, .value = value};
}

static void read_global(const char *sysfs, enum ksm_global which, struct ksm_counter *counter)
{
	char path[512], line[64];
	snprintf(path, sizeof(path), "%s/%s", sysfs, ksm_global_names[which]);
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(line, sizeof(line), file))
		take(counter, line);
	fclose(file);
}

static void read_process(const char *path, struct ksm_counter counters[KSM_NR_PROCESS])
{
	char line[128];
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		size_t len = strcspn(line, " ");
		for (size_t i = 0; line[len] && i < KSM_NR_PROCESS; i++)
			if (strlen(ksm_process_names[i]) == len && !strncmp(line, ksm_process_names[i], len))
				take(&counters[i], line + len + 1);
	}
	fclose(file);
}

void ksm_read_stats(const char *sysfs, const char *process_file, struct ksm_stats *stats)
{
	*stats = (struct ksm_stats){.global = {{.known = false}}};
	for (unsigned i = 0; i < KSM_NR_GLOBAL; i++)
		read_global(sysfs, (enum ksm_global)i, &stats->global[i]);
	read_process(process_file, stats->process);
}

const char *ksm_trouble(const struct ksm_stats *stats)
{
	const struct ksm_counter *run = &stats->global[KSM_GLOBAL_run];
	if (!run->known)
		return "whether ksmd runs is not known: " KSM_SYSFS "/run cannot be read";
	if (run->value == 0)
		return "ksmd is not running; start it by: echo 1 > " KSM_SYSFS "/run";
	if (run->value == 2)
		return "ksmd was told to unmerge everything; start it again by: echo 1 > " KSM_SYSFS "/run";
	return NULL;
}
