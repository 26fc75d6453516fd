/* See place.h. */
#include "bench/memory/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGEMAP_PRESENT (1ull << 63)
enum { MOST_NAMED = 5, ATTEMPTS = 8 };

static void memory_failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	(void)owner;
	fprintf(stderr, "memory has failed: %s: %s\n", memmgr_failure_name(failure), detail);
	_exit(3);
}

static void memory_recovered(struct memmgr_owner *owner)
{
	(void)owner;
}

static int open_manager(struct place *place, const struct options *options, struct error *err)
{
	static struct memmgr_owner owner = {memory_failed, memory_recovered};
	struct memmgr_params params = {
		.ram = place->ram,
		.owner = &owner,
		.swap_directory = option_text(options, "swap", place->tier == MEMMGR_TIER_DISK ? "/var/tmp" : NULL),
		.swap_fd = -1,
		.nr_handlers = (unsigned)option_number(options, "handlers", 0),
	};
	memmgr_settings_init(&params.settings);
	params.settings.prefetch = option_on(options, "prefetch", true);
	params.settings.sample_rate = (uint32_t)option_number(options, "sample", 0);
	return memmgr_create(&params, &place->mm, err);
}

int place_open(struct place *place, const struct options *options)
{
	const char *side = option_text(options, "side", "ours"), *tier = option_text(options, "tier", "compressed");
	struct error err = {0};

	*place = (struct place){.side = strcmp(side, "kernel") ? PLACE_OURS : PLACE_KERNEL, .pagemap = -1};
	place->tier = !strcmp(tier, "disk")    ? MEMMGR_TIER_DISK
		      : !strcmp(tier, "limbo") ? MEMMGR_TIER_LIMBO
					       : MEMMGR_TIER_COMPRESSED;
	place->nr_pages = option_number(options, "pages", 65536);
	option_pattern(options, &place->pattern);
	struct guest_ram_region region = {.size = place->nr_pages * GUEST_PAGE_SIZE};
	int ret = guest_ram_create(&region, 1, &place->ram, &err);
	if (!ret) {
		place->bytes = guest_ram_at(place->ram, 0, region.size);
		if (!option_on(options, "huge", true))
			madvise(place->bytes, region.size, MADV_NOHUGEPAGE);
		place->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		if (place->pagemap < 0)
			ret = error_set(&err, errno, "/proc/self/pagemap: %s", strerror(errno));
	}
	if (!ret && place->side == PLACE_OURS)
		ret = open_manager(place, options, &err);
	if (ret) {
		fprintf(stderr, "%s\n", err.text);
		place_close(place);
	}
	return ret;
}

void place_close(struct place *place)
{
	if (place->mm)
		memmgr_destroy(place->mm);
	guest_ram_destroy(place->ram);
	if (place->pagemap >= 0)
		close(place->pagemap);
}

void place_fill(struct place *place)
{
	place->generation++;
	for (uint64_t page = 0; page < place->nr_pages; page++)
		pattern_fill(&place->pattern, page * GUEST_PAGE_SIZE, place->generation, place_page(place, page));
}

uint64_t place_verify(const struct place *place)
{
	struct pattern_mismatch m;
	uint64_t wrong = 0;
	for (uint64_t page = 0; page < place->nr_pages; page++) {
		uint64_t gpa = page * GUEST_PAGE_SIZE;
		if (pattern_verify(&place->pattern, gpa, place->generation, place_page(place, page), &m))
			continue;
		if (wrong++ < MOST_NAMED)
			fprintf(stderr, "wrong byte: page %llu of kind %d, offset %u: expected 0x%02x, got 0x%02x, %u wrong\n",
				(unsigned long long)page, (int)pattern_kind(&place->pattern, gpa), m.offset, m.expected, m.got,
				m.wrong_bytes);
	}
	return wrong;
}

static uint64_t count_present(const struct place *place, uint64_t first, uint64_t nr)
{
	uint64_t entries[512], present = 0;
	for (uint64_t done = 0; done < nr;) {
		uint64_t now = nr - done < 512 ? nr - done : 512;
		off_t at = (off_t)((uintptr_t)place_page(place, first + done) / GUEST_PAGE_SIZE * sizeof(entries[0]));
		if (pread(place->pagemap, entries, now * sizeof(entries[0]), at) != (ssize_t)(now * sizeof(entries[0])))
			return nr;
		for (uint64_t i = 0; i < now; i++)
			present += !!(entries[i] & PAGEMAP_PRESENT);
		done += now;
	}
	return present;
}

uint64_t place_present(const struct place *place)
{
	return count_present(place, 0, place->nr_pages);
}

int64_t place_evict(struct place *place, uint64_t first, uint64_t nr)
{
	uint64_t present = nr, before;
	size_t len = nr * GUEST_PAGE_SIZE;
	int ret;

	for (unsigned attempt = 0; attempt < ATTEMPTS && present; attempt++) {
		before = present;
		if (place->side == PLACE_OURS) {
			ssize_t taken = memmgr_evict_range(place->mm, first * GUEST_PAGE_SIZE, len, place->tier);
			ret = taken < 0 ? (int)taken : 0;
		} else {
			ret = madvise(place_page(place, first), len, MADV_PAGEOUT) < 0 ? -errno : 0;
		}
		if (ret && ret != -EAGAIN) {
			fprintf(stderr, "evicting %llu pages: %s\n", (unsigned long long)nr, strerror(-ret));
			return ret;
		}
		present = count_present(place, first, nr);
		/* Ours takes all that it can at once; what is left does not compress. */
		if (!ret && (present == before || place->side == PLACE_OURS))
			break;
	}
	return (int64_t)(nr - present);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t place_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t place_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void place_stats(const struct place *place, struct memmgr_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	if (place->mm)
		memmgr_get_stats(place->mm, stats);
}

void place_print_stats(const struct place *place, const struct memmgr_stats *since)
{
	struct memmgr_stats stats;
	if (!place->mm)
		return;
	place_stats(place, &stats);
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++) {
		const struct memmgr_stats_field *field = &memmgr_stats_fields[i];
		uint64_t now = *(const uint64_t *)((const char *)&stats + field->offset);
		uint64_t then = *(const uint64_t *)((const char *)since + field->offset);
		if (field->is_count)
			now -= then;
		if (now)
			printf(" %s=%llu", field->name, (unsigned long long)now);
	}
}
