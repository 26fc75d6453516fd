/*
 * Puts a kernel, its initrd, its command line and the tables that describe the machine into guest RAM, and says where the boot CPU
 * starts: what firmware and a boot loader do elsewhere. Images are hostile input: every offset, size and address in them is checked.
 *
 *   loader_load --- "HdrS" at 0x202 ----> linux_load   bzImage, 64-bit or 32-bit entry (kernel's Documentation/arch/x86/boot.rst)
 *               --- ELF with a PVH note --> pvh_load    (Xen's docs/misc/pvh.pandoc; also micro-guests)
 */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "hv/vcpu.h"
#include "memmgr/guest_ram.h"

/* An image in a file that stays open, so that a reset can load it again. */
struct loader_file {
	const char *path; /* for messages */
	int fd;           /* -1: none */
	uint64_t size;
};

struct loader {
	struct guest_ram *ram;
	struct loader_file kernel, initrd;
	const char *command_line; /* "" for none */
};

/* Opens the images (initrd_path and command_line may be NULL; the strings must outlive the loader). */
int loader_init(struct loader *l, struct guest_ram *ram, const char *kernel_path, const char *initrd_path, const char *command_line,
		struct error *err);
void loader_fini(struct loader *l);

/* Fills guest RAM and *start. The ACPI tables are written by the machine. Called again at each reset. */
int loader_load(const struct loader *l, struct hv_start *start, struct error *err);

/* --- for the formats --- */

int linux_load(const struct loader *l, struct hv_start *start, struct error *err);
int pvh_load(const struct loader *l, struct hv_start *start, struct error *err);

/* Reads exactly len bytes at offset of the file to gpa, all of it RAM of one region. what names the part in messages. */
int loader_read_to_guest(const struct loader *l, const struct loader_file *file, uint64_t offset, uint64_t len, uint64_t gpa,
			 const char *what, struct error *err);
/* The same into our memory. */
int loader_read(const struct loader_file *file, uint64_t offset, void *buf, size_t len, const char *what, struct error *err);
/* Places the initrd page-aligned, as high as possible, all of it at or above lowest and 1 MiB, not past highest. *gpa is 0 without one. */
int loader_place_initrd(const struct loader *l, uint64_t lowest, uint64_t highest, uint64_t *gpa, struct error *err);
/* Writes the command line; -E2BIG if it is longer than max bytes (without its end), or than the room that we keep for it. */
int loader_write_command_line(const struct loader *l, uint64_t max, struct error *err);
/* Writes the boot CPU's descriptor table: code at 0x10 (64 bit or 32 bit), data at 0x18; and says so in *start. */
int loader_write_gdt(const struct loader *l, int long_mode, struct hv_start *start, struct error *err);

/* The memory map, in the numbers of ACPI's address range types: usable 1, reserved 2. */
struct memory_map_entry {
	uint64_t gpa, size;
	uint32_t type;
};
#define MEMORY_MAP_MAX (GUEST_RAM_MAX_REGIONS + 8)
size_t loader_memory_map(const struct guest_ram *ram, struct memory_map_entry map[MEMORY_MAP_MAX]);

#endif
