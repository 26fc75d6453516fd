/* See guest_ram.h. Regions are few and sorted, so look-up is a scan. */
#include "memmgr/guest_ram.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_SIZE (2ull << 20)
#define GPA_END (1ull << 52) /* the architecture's last physical address, and one */

struct guest_ram {
	uint64_t size;
	size_t nr_regions;
	struct guest_ram_region regions[GUEST_RAM_MAX_REGIONS];
	_Atomic uint32_t *pins; /* GUEST_RAM_PIN_BUCKETS */
};

/* Maps size bytes whose address is congruent to gpa modulo 2 MiB, so that huge pages of both sides match. */
static uint8_t *map_aligned(uint64_t gpa, uint64_t size)
{
	uint64_t room = size + HUGE_PAGE_SIZE;
	uint8_t *base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	uint64_t skip = (gpa - (uint64_t)(uintptr_t)base) & (HUGE_PAGE_SIZE - 1);
	if (skip)
		munmap(base, skip);
	uint64_t tail = room - skip - size;
	if (tail)
		munmap(base + skip + size, tail);
	return base + skip;
}

static int check_regions(const struct guest_ram_region *regions, size_t nr, struct error *err)
{
	if (nr == 0 || nr > GUEST_RAM_MAX_REGIONS)
		return error_set(err, EINVAL, "guest RAM: %zu regions, must be 1 to %d", nr, GUEST_RAM_MAX_REGIONS);
	uint64_t end = 0;
	for (size_t i = 0; i < nr; i++) {
		const struct guest_ram_region *r = &regions[i];
		if (r->size == 0 || r->size % GUEST_PAGE_SIZE || r->gpa % GUEST_PAGE_SIZE || r->gpa < end || r->gpa > GPA_END ||
		    r->size > GPA_END - r->gpa)
			return error_set(err, EINVAL, "guest RAM: bad region %zu at %#llx", i, (unsigned long long)r->gpa);
		end = r->gpa + r->size;
	}
	return 0;
}

void guest_ram_advise(void *hva, uint64_t len)
{
	/* Advice only: a kernel without huge pages refuses it, and a core dump of the VMM need not hold the guest. */
	madvise(hva, len, MADV_HUGEPAGE);
	madvise(hva, len, MADV_DONTDUMP);
}

int guest_ram_create(const struct guest_ram_region *regions, size_t nr, struct guest_ram **out, struct error *err)
{
	int ret = check_regions(regions, nr, err);
	if (ret)
		return ret;
	struct guest_ram *ram = calloc(1, sizeof(*ram));
	if (ram)
		ram->pins = calloc(GUEST_RAM_PIN_BUCKETS, sizeof(*ram->pins));
	if (!ram || !ram->pins) {
		free(ram);
		return error_set(err, ENOMEM, "guest RAM: out of memory");
	}
	for (size_t i = 0; i < nr; i++) {
		struct guest_ram_region *r = &ram->regions[i];
		*r = regions[i];
		r->hva = map_aligned(r->gpa, r->size);
		if (!r->hva) {
			ret = error_set(err, ENOMEM,
					"guest RAM: cannot map %llu MiB: %s; ask for less memory, or raise the address "
					"space limit (ulimit -v)",
					(unsigned long long)(r->size >> 20), strerror(errno));
			guest_ram_destroy(ram);
			return ret;
		}
		ram->nr_regions++;
		ram->size += r->size;
		guest_ram_advise(r->hva, r->size);
	}
	*out = ram;
	return 0;
}

void guest_ram_destroy(struct guest_ram *ram)
{
	if (!ram)
		return;
	for (size_t i = 0; i < ram->nr_regions; i++)
		munmap(ram->regions[i].hva, ram->regions[i].size);
	free(ram->pins);
	free(ram);
}

const struct guest_ram_region *guest_ram_regions(const struct guest_ram *ram, size_t *nr)
{
	*nr = ram->nr_regions;
	return ram->regions;
}

uint64_t guest_ram_size(const struct guest_ram *ram)
{
	return ram->size;
}

/* The RAM at gpa, and in *run how much of len lies there without a break: nodes that touch are regions of their own. */
static uint8_t *run_at(const struct guest_ram *ram, uint64_t gpa, uint64_t len, uint64_t *run)
{
	for (size_t i = 0; i < ram->nr_regions; i++) {
		const struct guest_ram_region *r = &ram->regions[i];
		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		uint64_t left = r->size - (gpa - r->gpa);
		*run = left < len ? left : len;
		return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

void *guest_ram_at(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	uint64_t run;
	uint8_t *at = len ? run_at(ram, gpa, len, &run) : NULL;
	return at && run == len ? at : NULL;
}

bool guest_ram_gpa(const struct guest_ram *ram, const void *hva, uint64_t *gpa)
{
	for (size_t i = 0; i < ram->nr_regions; i++) {
		const struct guest_ram_region *r = &ram->regions[i];
		uint64_t offset = (uint64_t)(uintptr_t)hva - (uint64_t)(uintptr_t)r->hva;
		if (offset >= r->size)
			continue;
		*gpa = r->gpa + offset;
		return true;
	}
	return false;
}

static bool all_is_ram(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	for (uint64_t run; len; gpa += run, len -= run)
		if (!run_at(ram, gpa, len, &run))
			return false;
	return true;
}

int guest_ram_read(const struct guest_ram *ram, uint64_t gpa, void *buf, size_t len)
{
	if (!all_is_ram(ram, gpa, len)) {
		memset(buf, 0, len);
		return -EFAULT;
	}
	uint64_t run = 0;
	for (uint8_t *to = buf; len; gpa += run, to += run, len -= run) {
		const uint8_t *from = run_at(ram, gpa, len, &run);
		memcpy(to, from, run);
	}
	return 0;
}

int guest_ram_write(const struct guest_ram *ram, uint64_t gpa, const void *buf, size_t len)
{
	if (!all_is_ram(ram, gpa, len))
		return -EFAULT;
	uint64_t run = 0;
	for (const uint8_t *from = buf; len; gpa += run, from += run, len -= run) {
		uint8_t *to = run_at(ram, gpa, len, &run);
		memcpy(to, from, run);
	}
	return 0;
}

static unsigned bucket_of(uint64_t address)
{
	return (unsigned)(address / HUGE_PAGE_SIZE % GUEST_RAM_PIN_BUCKETS);
}

static void count_pins(const struct guest_ram *ram, const struct guest_ram_pins *pins, uint32_t change)
{
	for (unsigned word = 0; word < GUEST_RAM_PIN_BUCKETS / 64; word++)
		for (uint64_t bits = pins->buckets[word]; bits; bits &= bits - 1)
			atomic_fetch_add(&ram->pins[word * 64 + (unsigned)__builtin_ctzll(bits)], change);
}

void guest_ram_pin(const struct guest_ram *ram, const struct iovec *iov, unsigned nr, struct guest_ram_pins *pins)
{
	*pins = (struct guest_ram_pins){{0}};
	for (unsigned i = 0; i < nr; i++) {
		uint64_t start = (uint64_t)(uintptr_t)iov[i].iov_base, end = start + iov[i].iov_len;
		for (uint64_t at = start; at < end; at = (at | (HUGE_PAGE_SIZE - 1)) + 1)
			pins->buckets[bucket_of(at) / 64] |= 1ull << bucket_of(at) % 64;
	}
	count_pins(ram, pins, 1);
}

void guest_ram_unpin(const struct guest_ram *ram, const struct guest_ram_pins *pins)
{
	count_pins(ram, pins, (uint32_t)-1);
}

bool guest_ram_is_pinned(const struct guest_ram *ram, const void *hva)
{
	return atomic_load(&ram->pins[bucket_of((uint64_t)(uintptr_t)hva)]) != 0;
}
