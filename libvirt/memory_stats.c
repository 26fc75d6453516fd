/* See memory_stats.h. */
#include "libvirt/memory_stats.h"

#include "host/guest_report.h"

enum tag {
	SWAP_IN,
	SWAP_OUT,
	MAJOR_FAULT,
	MINOR_FAULT,
	UNUSED,
	AVAILABLE,
	ACTUAL,
	RSS,
	USABLE,
	LAST_UPDATE,
	DISK_CACHES,
	HUGE_PAGES,
	HUGE_PAGES_FAILED,
};

const char *libvirt_memory_stat_name(unsigned tag)
{
	static const char *const names[LIBVIRT_MEMORY_STATS] = {
		"swap_in", "swap_out", "major_fault", "minor_fault", "unused",          "available",      "current",
		"rss",     "usable",   "last-update", "disk_caches", "hugetlb_pgalloc", "hugetlb_pgfail",
	};
	return names[tag];
}

unsigned libvirt_memory_stats(const struct guest *g, const json_t *balloon, struct libvirt_memory_stat out[LIBVIRT_MEMORY_STATS])
{
	static const struct {
		const char *name;
		enum tag tag;
		unsigned shift;
	} fields[] = {
		{"swap-in", SWAP_IN, 10},         {"swap-out", SWAP_OUT, 10},
		{"major-faults", MAJOR_FAULT, 0}, {"minor-faults", MINOR_FAULT, 0},
		{"free-memory", UNUSED, 10},      {"total-memory", AVAILABLE, 10},
		{"available-memory", USABLE, 10}, {"disk-caches", DISK_CACHES, 10},
		{"htlb-pgalloc", HUGE_PAGES, 0},  {"htlb-pgfail", HUGE_PAGES_FAILED, 0},
	};
	const json_t *stats = json_object_get(balloon, "stats"), *actual = json_object_get(balloon, "actual");
	const json_t *last = json_object_get(balloon, "last-update");
	struct guest_use use;
	unsigned nr = 0;
	/* What it may use: the balloon leaves it so much, and the host lets it have no more than its maximum. */
	uint64_t memory = guest_in_force(g)->maximum;
	if (json_is_integer(actual) && (uint64_t)json_integer_value(actual) < memory)
		memory = (uint64_t)json_integer_value(actual);
	out[nr++] = (struct libvirt_memory_stat){ACTUAL, memory >> 10};
	if (guest_use(g, &use))
		out[nr++] = (struct libvirt_memory_stat){RSS, (uint64_t)use.granted >> 10};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const json_t *value = json_object_get(stats, fields[i].name);
		if (json_is_integer(value) && json_integer_value(value) >= 0)
			out[nr++] =
				(struct libvirt_memory_stat){fields[i].tag, (uint64_t)json_integer_value(value) >> fields[i].shift};
	}
	if (json_is_integer(last) && json_integer_value(last) > 0)
		out[nr++] = (struct libvirt_memory_stat){LAST_UPDATE, (uint64_t)json_integer_value(last)};
	return nr;
}
