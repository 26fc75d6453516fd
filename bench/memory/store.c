/*
 * What a guest's memory takes once it is evicted, and what that costs: from a dump of a real guest (make_dumps.sh).
 *
 * Ours: dense=off is LZ4. dense=first: by zstd at once, which is what dense=on does with what counts as cold when it leaves limbo (cold= not above limbo=).
 * dense=later: by LZ4 first, then packed again by zstd as cold pages are: that is done near the target only, which therefore follows what is taken;
 * counted when nothing changes any more. zram= (kernel): the device's directory in /sys, whose memory is counted, with 16 bytes a page that its table
 * has. Pages that stay in count whole, with both.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/memory/place.h"

#define USAGE "store " PLACE_USAGE " dump=FILE [dense=off|first|later] [zram=/sys/block/zram1]"
enum { ZRAM_TABLE_ENTRY = 16, QUIET_MS = 1000, LONGEST_MS = 120000, STEP_MS = 100, MOST_NAMED = 10 };

/* Maps the dump; *nr_pages is how many it has. */
static const uint8_t *open_dump(const char *path, uint64_t *nr_pages)
{
	struct stat info;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &info) < 0 || info.st_size < (off_t)GUEST_PAGE_SIZE) {
		fprintf(stderr, "store: %s: %s\n", path, errno ? strerror(errno) : "too short");
		return NULL;
	}
	*nr_pages = (uint64_t)info.st_size / GUEST_PAGE_SIZE;
	void *at = mmap(NULL, *nr_pages * GUEST_PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static uint64_t zram_bytes(const char *directory)
{
	char path[256];
	unsigned long long original = 0, compressed = 0, total = 0;
	snprintf(path, sizeof(path), "%s/mm_stat", directory);
	FILE *file = fopen(path, "re");
	if (!file || fscanf(file, "%llu %llu %llu", &original, &compressed, &total) != 3)
		fprintf(stderr, "store: %s cannot be read\n", path);
	if (file)
		fclose(file);
	return total;
}

/* cold_ms as limbo_ms or less: pages are packed at once. target_pages 0: none. */
static int set_dense(struct place *place, bool first, uint64_t target_pages)
{
	struct memmgr_settings settings;
	struct error err = {0};
	memmgr_get_settings(place->mm, &settings);
	settings.dense = true;
	settings.limbo_ms = first ? settings.limbo_ms : 0;
	settings.cold_ms = first ? settings.limbo_ms : 1;
	settings.target = target_pages * GUEST_PAGE_SIZE;
	int ret = memmgr_configure(place->mm, &settings, &err);
	if (ret)
		fprintf(stderr, "%s\n", err.text);
	return ret;
}

/* Has all packed again: keeps the target a sixteenth above what is taken, until that has not changed for a while. */
static int pack_again(struct place *place)
{
	struct memmgr_stats stats, last;
	unsigned quiet = 0;
	int ret = 0;
	place_stats(place, &last);
	for (unsigned ms = 0; ret == 0 && ms < LONGEST_MS && quiet < QUIET_MS; ms += STEP_MS) {
		ret = set_dense(place, false, last.used_pages + last.used_pages / 16);
		usleep(STEP_MS * 1000);
		place_stats(place, &stats);
		quiet = stats.compressed_bytes == last.compressed_bytes && stats.compressed == last.compressed ? quiet + STEP_MS
													       : 0;
		last = stats;
	}
	return ret ? ret : set_dense(place, false, 0);
}

/* Reads every page and compares every byte. Returns how many pages are wrong; the first ones are named. */
static uint64_t verify(const struct place *place, const uint8_t *dump)
{
	uint64_t wrong = 0;
	for (uint64_t page = 0; page < place->nr_pages; page++) {
		const uint8_t *got = place_page(place, page), *expected = dump + page * GUEST_PAGE_SIZE;
		unsigned first = 0, bytes = 0;
		if (!memcmp(got, expected, GUEST_PAGE_SIZE))
			continue;
		for (unsigned i = GUEST_PAGE_SIZE; i-- > 0;) {
			if (got[i] == expected[i])
				continue;
			first = i;
			bytes++;
		}
		if (wrong++ < MOST_NAMED)
			fprintf(stderr, "wrong: page %llu, offset %u: expected 0x%02x, got 0x%02x, %u wrong\n",
				(unsigned long long)page, first, expected[first], got[first], bytes);
	}
	return wrong;
}

int main(int argc, char **argv)
{
	struct options options;
	struct place place;
	struct memmgr_stats since, stats;
	uint64_t nr_pages = 0;
	char pages[32], *words[64];

	if (argc > 60 || options_open(&options, argc, argv, PLACE_OPTIONS " dump dense zram", USAGE))
		return 2;
	const uint8_t *dump = open_dump(option_text(&options, "dump", ""), &nr_pages);
	if (!dump)
		return 1;
	/* The place is as large as the dump. */
	snprintf(pages, sizeof(pages), "pages=%llu", (unsigned long long)nr_pages);
	memcpy(words, options.words, (size_t)options.nr * sizeof(*words));
	words[options.nr] = pages;
	options = (struct options){options.nr + 1, words};
	if (place_open(&place, &options))
		return 1;
	const char *zram = option_text(&options, "zram", NULL);
	memcpy(place.bytes, dump, nr_pages * GUEST_PAGE_SIZE);
	const char *dense = place.mm ? option_text(&options, "dense", "off") : "off";
	if (!strcmp(dense, "first") && set_dense(&place, true, 0))
		return 1;
	place_stats(&place, &since);
	uint64_t before = zram ? zram_bytes(zram) : 0, cpu = place_cpu_ns();
	if (place_evict(&place, 0, nr_pages) < 0)
		return 1;
	if (!strcmp(dense, "later") && pack_again(&place))
		return 1;
	usleep(100000);
	cpu = place_cpu_ns() - cpu;
	place_stats(&place, &stats);
	uint64_t present = place_present(&place) * GUEST_PAGE_SIZE;
	uint64_t bytes = place.mm ? stats.compressed_bytes + stats.metadata_bytes + stats.limbo_pages * GUEST_PAGE_SIZE + present
				  : (zram ? zram_bytes(zram) - before : 0) + nr_pages * ZRAM_TABLE_ENTRY + present;
	printf("store: pages=%llu bytes=%llu mib_per_gib=%.2f cpu_us=%.3f present=%llu", (unsigned long long)nr_pages,
	       (unsigned long long)bytes, (double)bytes / (double)(nr_pages * GUEST_PAGE_SIZE) * 1024,
	       (double)cpu / 1e3 / (double)nr_pages, (unsigned long long)(present / GUEST_PAGE_SIZE));
	place_print_stats(&place, &since);
	uint64_t wrong = verify(&place, dump);
	printf(" wrong=%llu\n", (unsigned long long)wrong);
	place_close(&place);
	return wrong != 0;
}
