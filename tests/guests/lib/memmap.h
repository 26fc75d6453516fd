/* Guest-physical memory as the loader describes it (hvm_start_info), and pages handed out from it. */
#ifndef GUEST_MEMMAP_H
#define GUEST_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE 4096ull

enum memmap_type { MEMMAP_RAM = 1, MEMMAP_RESERVED = 2, MEMMAP_ACPI = 3, MEMMAP_ACPI_NVS = 4 };

struct memmap_range {
	uint64_t gpa, size;
	uint32_t type;
};

/* Takes copies of start info, map and command line, before anyone overwrites them. */
void memmap_open(void);

/* Ranges as the loader gave them; false past the last. */
bool memmap_range(size_t index, struct memmap_range *range);
uint64_t memmap_ram_bytes(void);
uint64_t memmap_rsdp(void);
const char *memmap_cmdline(void);

/*
 * RAM that nobody uses: whole pages from 1 MiB on, behind the image and what the loader left there. Ranges are given in ascending
 * order; what memmap_take() took from them is gone from them.
 */
bool memmap_free_range(size_t index, struct memmap_range *range);
uint64_t memmap_free_pages(void);
/* Takes whole pages, zeroed, from the first free range below 4 GiB that has them; align in pages, a power of two. Fails the guest when there are none. */
void *memmap_take(size_t nr_pages, size_t align);
/* Gives back all that was taken between the two calls. One level. */
void memmap_mark(void);
void memmap_release(void);
/* The gpa of the index-th free page, as if the ranges followed each other. index < memmap_free_pages(). */
uint64_t memmap_free_gpa(uint64_t index);
/* A page of RAM under 1 MiB that holds nothing of the loader's, for the trampoline of other vCPUs. */
uint64_t memmap_low_page(void);

#endif
