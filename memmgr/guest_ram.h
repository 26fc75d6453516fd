/*
 * One guest's RAM: where it lies in guest-physical space, and the only way in which devices and loaders touch it.
 *
 * Guest RAM is private anonymous memory of this process. A guest-physical address (gpa) comes from the guest and is hostile: every
 * access goes through the bounded functions below. No arithmetic on guest pointers elsewhere.
 * Callable from any thread once created; the guest may change the bytes at any time: copy, then validate, then use.
 */
#ifndef MEMMGR_GUEST_RAM_H
#define MEMMGR_GUEST_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define GUEST_PAGE_SIZE 4096u
#define GUEST_RAM_MAX_REGIONS 64

struct guest_ram;

/* A run of RAM without holes. gpa and size are multiples of 4096; hva is aligned to 2 MiB like gpa is. */
struct guest_ram_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *hva;  /* set by guest_ram_create */
	unsigned node; /* virtual NUMA node of the guest */
};

/*
 * Maps memory for nr regions, sorted by gpa and not overlapping (hva is ignored). Nothing is touched: the kernel fills it with
 * zeroes on demand, in huge pages where it can. Returns 0, -EINVAL for bad regions, -ENOMEM with a sentence that says how much.
 */
int guest_ram_create(const struct guest_ram_region *regions, size_t nr, struct guest_ram **ram, struct error *err);
/* What the kernel is told of all guest RAM: for parts that are mapped anew, so that they become one mapping with their neighbours. */
void guest_ram_advise(void *hva, uint64_t len);
void guest_ram_destroy(struct guest_ram *ram);

/* The regions, for memory slots and tables. Lives as long as ram. */
const struct guest_ram_region *guest_ram_regions(const struct guest_ram *ram, size_t *nr);
/* Bytes of RAM, holes not counted. */
uint64_t guest_ram_size(const struct guest_ram *ram);

/* Pointer to len bytes at gpa, or NULL unless all of them lie in one region. len 0 gives NULL. */
void *guest_ram_at(const struct guest_ram *ram, uint64_t gpa, uint64_t len);

/* The guest-physical address of what guest_ram_at() gave, or lies in it; false for other addresses. */
bool guest_ram_gpa(const struct guest_ram *ram, const void *hva, uint64_t *gpa);

/* Copies. Return 0, or -EFAULT unless all bytes are RAM (then nothing was written to the guest, buf is zeroed on a failed read). */
int guest_ram_read(const struct guest_ram *ram, uint64_t gpa, void *buf, size_t len);
int guest_ram_write(const struct guest_ram *ram, uint64_t gpa, const void *buf, size_t len);

/*
 * Direct I/O into guest memory: from before it is begun until after it has ended, the kernel may hold its pages, and fill those that it
 * held first, whatever has become of the mapping since. So who replaces pages by copies asks whether a chunk of 2 MiB is pinned, after
 * it has made writers wait (uffd_protect); UFFDIO_MOVE asks by itself. Chunks share counters: some are said to be pinned that are not.
 */
#define GUEST_RAM_PIN_BUCKETS 256u
struct guest_ram_pins {
	uint64_t buckets[GUEST_RAM_PIN_BUCKETS / 64];
};
/* pins is filled in, for the one unpin. */
void guest_ram_pin(const struct guest_ram *ram, const struct iovec *iov, unsigned nr, struct guest_ram_pins *pins);
void guest_ram_unpin(const struct guest_ram *ram, const struct guest_ram_pins *pins);
bool guest_ram_is_pinned(const struct guest_ram *ram, const void *hva);

#endif
