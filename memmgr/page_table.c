/* See page_table.h. */
#include "memmgr/page_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memmgr/os.h"

/*
 * The limbo mapping of a region: a range of addresses as large, aligned to 2 MiB like the region itself, so that huge pages move as
 * a whole. It holds pages only while they are in limbo.
 */
static uint8_t *map_limbo(const struct guest_ram_region *r)
{
	uint64_t skip = (uint64_t)(uintptr_t)r->hva % CHUNK_SIZE;
	uint64_t room = skip + r->size + CHUNK_SIZE;
	uint8_t *base = mem_map(room);
	if (!base)
		return NULL;
	uint64_t lead = (CHUNK_SIZE - (uint64_t)(uintptr_t)base % CHUNK_SIZE) % CHUNK_SIZE + skip;
	uint64_t tail = room - lead - r->size;
	if (lead)
		munmap(base, lead);
	if (tail)
		munmap(base + lead + r->size, tail);
	madvise(base + lead, r->size, MADV_DONTDUMP);
	return base + lead;
}

static void init_chunk(struct page_table *pt, const struct page_table_region *r, uint32_t index)
{
	struct chunk *c = &pt->chunks[index];
	uint64_t skip = (uint64_t)(uintptr_t)r->hva % CHUNK_SIZE;
	uint64_t at = (uint64_t)(index - r->first_page / CHUNK_PAGES) * CHUNK_SIZE; /* from the region's aligned start */
	uint64_t end = skip + r->size - at;
	lock_init(&c->lock, LOCK_MEMMGR_CHUNK);
	c->hva = r->hva - skip + at;
	c->limbo = r->limbo - skip + at;
	c->first = at ? 0 : (uint16_t)(skip / GUEST_PAGE_SIZE);
	c->end = (uint16_t)(end < CHUNK_SIZE ? end / GUEST_PAGE_SIZE : CHUNK_PAGES);
	for (uint32_t i = 0; i < CHUNK_PAGES; i++)
		if (i < c->first || i >= c->end)
			pt->entries[index * CHUNK_PAGES + i] = PAGE_ABSENT;
	pt->nr_pages += c->end - c->first;
}

int page_table_create(const struct guest_ram *ram, struct page_table *pt, struct error *err)
{
	const struct guest_ram_region *ram_regions = guest_ram_regions(ram, &pt->nr_regions);
	uint64_t nr_chunks = 0;
	for (size_t i = 0; i < pt->nr_regions; i++) {
		const struct guest_ram_region *from = &ram_regions[i];
		uint64_t skip = (uint64_t)(uintptr_t)from->hva % CHUNK_SIZE;
		struct page_table_region *r = &pt->regions[i];
		r->hva = from->hva;
		r->gpa = from->gpa;
		r->size = from->size;
		r->first_page = (uint32_t)(nr_chunks * CHUNK_PAGES + skip / GUEST_PAGE_SIZE);
		nr_chunks += (skip + from->size + CHUNK_SIZE - 1) / CHUNK_SIZE;
		if (nr_chunks > UINT32_MAX / CHUNK_PAGES)
			return error_set(err, EFBIG,
					 "guest memory: more than %llu GiB cannot be managed; ask for less, or use manager=off",
					 (unsigned long long)(UINT32_MAX * (uint64_t)GUEST_PAGE_SIZE >> 30));
		r->limbo = map_limbo(from);
		if (!r->limbo)
			goto no_memory;
	}
	pt->nr_chunks = (uint32_t)nr_chunks;
	pt->chunks = mem_calloc(nr_chunks, sizeof(*pt->chunks));
	pt->entries = mem_calloc(nr_chunks * CHUNK_PAGES, sizeof(*pt->entries));
	pt->order = mem_calloc(nr_chunks * CHUNK_PAGES, sizeof(*pt->order));
	pt->heat = mem_calloc(nr_chunks * CHUNK_PAGES, sizeof(*pt->heat));
	if (!pt->chunks || !pt->entries || !pt->order || !pt->heat)
		goto no_memory;
	for (size_t i = 0; i < pt->nr_regions; i++) {
		struct page_table_region *r = &pt->regions[i];
		uint32_t first = r->first_page / CHUNK_PAGES;
		uint32_t end = i + 1 < pt->nr_regions ? pt->regions[i + 1].first_page / CHUNK_PAGES : pt->nr_chunks;
		for (uint32_t c = first; c < end; c++)
			init_chunk(pt, r, c);
	}
	pt->counts[PAGE_RESIDENT] = pt->nr_pages;
	return 0;

no_memory:
	page_table_destroy(pt);
	return error_set(err, ENOMEM, "guest memory: no memory for the page table of %llu MiB; ask for less, or use manager=off",
			 (unsigned long long)(guest_ram_size(ram) >> 20));
}

void page_table_destroy(struct page_table *pt)
{
	for (uint32_t c = 0; pt->chunks && c < pt->nr_chunks; c++)
		if (pt->chunks[c].hva)
			lock_fini(&pt->chunks[c].lock);
	for (size_t i = 0; i < pt->nr_regions; i++)
		if (pt->regions[i].limbo)
			munmap(pt->regions[i].limbo, pt->regions[i].size);
	mem_free(pt->chunks);
	mem_free(pt->entries);
	mem_free(pt->order);
	mem_free(pt->heat);
	memset(pt, 0, sizeof(*pt));
}

uint64_t page_table_bytes(const struct page_table *pt)
{
	return pt->nr_chunks *
	       (sizeof(*pt->chunks) + CHUNK_PAGES * (sizeof(*pt->entries) + sizeof(*pt->order) + sizeof(*pt->heat)));
}

/* A ballooned page is one that the kernel fills when it is touched, as one that never was. */
static bool is_missing(enum page_state state)
{
	return state != PAGE_RESIDENT && state != PAGE_SHARED && state != PAGE_BALLOONED;
}

static bool is_raw(page_entry e)
{
	return page_state(e) == PAGE_LIMBO && e & PAGE_INCOMPRESSIBLE;
}

void page_table_set(struct page_table *pt, uint32_t page, page_entry entry)
{
	struct chunk *c = page_chunk(pt, page);
	enum page_state before = page_state(pt->entries[page]), after = page_state(entry);
	if (is_raw(pt->entries[page]) != is_raw(entry))
		__atomic_fetch_add((uint64_t *)&pt->nr_raw, is_raw(entry) ? 1 : (uint64_t)-1, __ATOMIC_RELAXED);
	c->in_pool = (uint16_t)(c->in_pool + page_is_in_pool(entry) - page_is_in_pool(pt->entries[page]));
	c->owed = (uint16_t)(c->owed + page_owes_slot(entry) - page_owes_slot(pt->entries[page]));
	/* Others look at it without the lock, for hints. */
	__atomic_store_n(&pt->entries[page], entry, __ATOMIC_RELAXED);
	if (before == after)
		return;
	c->missing = (uint16_t)(c->missing + is_missing(after) - is_missing(before));
	c->in_limbo = (uint16_t)(c->in_limbo + (after == PAGE_LIMBO) - (before == PAGE_LIMBO));
	__atomic_fetch_sub((uint64_t *)&pt->counts[before], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add((uint64_t *)&pt->counts[after], 1, __ATOMIC_RELAXED);
}

bool page_table_find(const struct page_table *pt, uint64_t hva, uint32_t *page)
{
	for (size_t i = 0; i < pt->nr_regions; i++) {
		const struct page_table_region *r = &pt->regions[i];
		uint64_t offset = hva - (uint64_t)(uintptr_t)r->hva;
		if (offset < r->size) {
			*page = r->first_page + (uint32_t)(offset / GUEST_PAGE_SIZE);
			return true;
		}
	}
	return false;
}

bool page_table_find_gpa(const struct page_table *pt, uint64_t gpa, uint32_t *page)
{
	for (size_t i = 0; i < pt->nr_regions; i++) {
		const struct page_table_region *r = &pt->regions[i];
		if (gpa >= r->gpa && gpa - r->gpa < r->size) {
			*page = r->first_page + (uint32_t)((gpa - r->gpa) / GUEST_PAGE_SIZE);
			return true;
		}
	}
	return false;
}

bool page_table_find_range(const struct page_table *pt, uint64_t gpa, uint64_t len, uint32_t *first, uint32_t *end)
{
	uint32_t last;
	if (gpa % GUEST_PAGE_SIZE || len % GUEST_PAGE_SIZE || !len || len > UINT64_MAX - gpa ||
	    !page_table_find_gpa(pt, gpa, first) || !page_table_find_gpa(pt, gpa + len - 1, &last) ||
	    last - *first != len / GUEST_PAGE_SIZE - 1)
		return false;
	*end = last + 1;
	return true;
}
