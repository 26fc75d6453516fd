/*
 * Linux's bzImage (kernel's Documentation/arch/x86/boot.rst, boot protocol 2.06 and newer; all since 2007). The file is: one boot sector
 * and setup_sects more of real-mode code, which we skip, then the protected-mode kernel. 64-bit kernels are entered in long mode at
 * 0x200 behind its start, others in protected mode at its start.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define SECTOR 512u
#define PARAGRAPH 16u
#define HEADER_AT 0x1f1u
#define ENTRY_64 0x200u
#define LOADER_TYPE_UNKNOWN 0xff
#define PROTOCOL_MIN 0x0206
#define PROTOCOL_PREFERRED_ADDRESS 0x020a
#define PROTOCOL_XLOADFLAGS 0x020c

#define PAGE_PRESENT_WRITABLE 0x3ull
#define PAGE_HUGE 0x80ull

/* Reads and checks the setup header; what is past its end in older protocols reads as zero. */
static int read_header(const struct loader *l, struct setup_header *header, struct error *err)
{
	memset(header, 0, sizeof(*header));
	uint8_t jump;
	int ret = loader_read(&l->kernel, 0x201, &jump, 1, "the setup header", err);
	if (ret)
		return ret;
	/* The jump over the header tells where it ends. */
	size_t len = 0x202u + jump - HEADER_AT;
	if (len > sizeof(*header))
		len = sizeof(*header);
	ret = loader_read(&l->kernel, HEADER_AT, header, len, "the setup header", err);
	if (ret)
		return ret;
	if (header->version < PROTOCOL_MIN)
		return error_set(err, ENOEXEC,
				 "-kernel %s: boot protocol %u.%02u is too old, 2.06 (Linux 2.6.22) or newer is needed",
				 l->kernel.path, header->version >> 8, header->version & 0xff);
	if (!(header->loadflags & LOADED_HIGH))
		return error_set(err, ENOEXEC, "-kernel %s: a zImage; build a bzImage", l->kernel.path);
	return 0;
}

/* Identity-maps the first 4 GiB by 2 MiB pages. */
static int write_page_tables(const struct loader *l, struct error *err)
{
	uint64_t *table = guest_ram_at(l->ram, LAYOUT_PAGE_TABLES, 6ull * GUEST_PAGE_SIZE);
	if (!table)
		return error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory");
	memset(table, 0, 2 * GUEST_PAGE_SIZE);
	table[0] = (LAYOUT_PAGE_TABLES + GUEST_PAGE_SIZE) | PAGE_PRESENT_WRITABLE;
	for (uint64_t i = 0; i < 4; i++)
		table[512 + i] = (LAYOUT_PAGE_TABLES + (2 + i) * GUEST_PAGE_SIZE) | PAGE_PRESENT_WRITABLE;
	for (uint64_t i = 0; i < 2048; i++)
		table[1024 + i] = i << 21 | PAGE_PRESENT_WRITABLE | PAGE_HUGE;
	return 0;
}

static void fill_memory_map(const struct loader *l, struct boot_params *bp)
{
	struct memory_map_entry map[MEMORY_MAP_MAX];
	size_t nr = loader_memory_map(l->ram, map);
	for (size_t i = 0; i < nr && i < E820_MAX_ENTRIES_ZEROPAGE; i++) {
		bp->e820_table[i].addr = map[i].gpa;
		bp->e820_table[i].size = map[i].size;
		bp->e820_table[i].type = map[i].type;
		bp->e820_entries = (uint8_t)(i + 1);
	}
}

int linux_load(const struct loader *l, struct hv_start *start, struct error *err)
{
	struct boot_params bp;
	memset(&bp, 0, sizeof(bp));
	int ret = read_header(l, &bp.hdr, err);
	if (ret)
		return ret;
	bool long_mode = bp.hdr.version >= PROTOCOL_XLOADFLAGS && (bp.hdr.xloadflags & XLF_KERNEL_64);
	uint64_t setup = (uint64_t)((bp.hdr.setup_sects ? bp.hdr.setup_sects : 4) + 1) * SECTOR;
	if (setup >= l->kernel.size)
		return error_set(err, ENOEXEC, "-kernel %s: truncated: setup code of %llu bytes and nothing behind it",
				 l->kernel.path, (unsigned long long)setup);
	uint64_t len = l->kernel.size - setup, whole = (uint64_t)bp.hdr.syssize * PARAGRAPH;
	/* Signatures may follow the kernel, so it may be shorter than the file; up to a paragraph less is rounding. */
	if (len + PARAGRAPH <= whole)
		return error_set(err, ENOEXEC, "-kernel %s: truncated: it has %llu of %llu bytes of kernel code", l->kernel.path,
				 (unsigned long long)len, (unsigned long long)whole);
	/*
	 * A kernel that can be anywhere is put where it wants to end up, which spares it one copy of itself. init_size is what it
	 * needs from there on before it has found out about memory.
	 */
	uint64_t load = LAYOUT_HIGH_LOAD, room = len;
	if (bp.hdr.version >= PROTOCOL_PREFERRED_ADDRESS) {
		if (long_mode)
			load = bp.hdr.pref_address;
		if (bp.hdr.init_size > room)
			room = bp.hdr.init_size;
	}
	if (load < LAYOUT_HIGH_LOAD || load >= LAYOUT_LOW_RAM_END)
		return error_set(err, ENOEXEC, "-kernel %s: damaged: it wants to lie at %#llx, must be 1 MiB to 3 GiB",
				 l->kernel.path, (unsigned long long)load);
	if (room > LAYOUT_LOW_RAM_END - load || !guest_ram_at(l->ram, load, room))
		return error_set(err, EINVAL, "-kernel %s: it needs %llu MiB of RAM from %#llx on; give the guest more with -m",
				 l->kernel.path, (unsigned long long)(room + (1 << 20) - 1) >> 20, (unsigned long long)load);
	ret = loader_read_to_guest(l, &l->kernel, setup, len, load, "the kernel", err);
	if (ret)
		return ret;

	uint64_t initrd, highest = bp.hdr.initrd_addr_max ? bp.hdr.initrd_addr_max : 0x37ffffff;
	if (highest >= LAYOUT_LOW_RAM_END)
		highest = LAYOUT_LOW_RAM_END - 1;
	/* A 32-bit kernel starts low and decompresses to its preferred address: keep clear of both. */
	uint64_t lowest = load + room;
	if (!long_mode && bp.hdr.version >= PROTOCOL_PREFERRED_ADDRESS && bp.hdr.pref_address < LAYOUT_LOW_RAM_END &&
	    bp.hdr.pref_address + bp.hdr.init_size > lowest)
		lowest = bp.hdr.pref_address + bp.hdr.init_size;
	ret = loader_place_initrd(l, lowest, highest, &initrd, err);
	if (ret == 0)
		ret = loader_write_command_line(l, bp.hdr.cmdline_size ? bp.hdr.cmdline_size : 255, err);
	if (ret == 0)
		ret = loader_write_gdt(l, long_mode, start, err);
	if (ret == 0 && long_mode)
		ret = write_page_tables(l, err);
	if (ret)
		return ret;

	bp.hdr.type_of_loader = LOADER_TYPE_UNKNOWN;
	bp.hdr.ramdisk_image = (uint32_t)initrd;
	bp.hdr.ramdisk_size = initrd ? (uint32_t)l->initrd.size : 0;
	bp.hdr.cmd_line_ptr = (uint32_t)LAYOUT_COMMAND_LINE;
	bp.hdr.code32_start = (uint32_t)load;
	bp.acpi_rsdp_addr = LAYOUT_ACPI;
	fill_memory_map(l, &bp);
	if (guest_ram_write(l->ram, LAYOUT_BOOT_PARAMS, &bp, sizeof(bp)))
		return error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory");

	start->mode = long_mode ? HV_START_LONG_MODE : HV_START_PROTECTED_MODE;
	start->entry = long_mode ? load + ENTRY_64 : load;
	start->stack = LAYOUT_BOOT_STACK;
	start->rsi = LAYOUT_BOOT_PARAMS;
	start->cr3 = LAYOUT_PAGE_TABLES;
	return 0;
}
