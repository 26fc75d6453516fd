/*
 * ELF kernels with a PVH entry: vmlinux, other systems, micro-guests. The note XEN_ELFNOTE_PHYS32_ENTRY names a 32-bit physical address
 * at which the boot CPU starts in protected mode without paging, with EBX pointing at struct hvm_start_info (Xen's public header
 * arch-x86/hvm/start_info.h).
 */
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/loader.h"

#define NOTE_PHYS32_ENTRY 18u
#define NOTES_MAX 65536u
#define SEGMENTS_MAX 128u
#define START_MAGIC 0x336ec578u
#define START_MODULES_AT 0x100u
#define START_MAP_AT 0x200u

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, command_line, rsdp;
	uint64_t memory_map;
	uint32_t nr_memory_map, reserved;
};
struct start_module {
	uint64_t gpa, size, command_line, reserved;
};
struct start_map_entry {
	uint64_t gpa, size;
	uint32_t type, reserved;
};

/* What we need of a program header, of either ELF class. */
struct segment {
	uint32_t type;
	uint64_t offset, paddr, file_size, memory_size, align;
};

static int bad(const struct loader *l, const char *why, struct error *err)
{
	return error_set(err, ENOEXEC, "-kernel %s: %s", l->kernel.path, why);
}

/* Reads all program headers to segments, which has room for SEGMENTS_MAX. */
static int read_segments(const struct loader *l, struct segment *segments, unsigned *nr, struct error *err)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
	} head;
	memset(&head, 0, sizeof(head));
	size_t len = l->kernel.size < sizeof(head) ? l->kernel.size : sizeof(head);
	int ret = loader_read(&l->kernel, 0, &head, len, "the ELF header", err);
	if (ret)
		return ret;
	bool is64 = head.ident[EI_CLASS] == ELFCLASS64;
	if ((!is64 && head.ident[EI_CLASS] != ELFCLASS32) || head.ident[EI_DATA] != ELFDATA2LSB)
		return bad(l, "an ELF file, but not for x86", err);
	if (is64 ? head.e64.e_machine != EM_X86_64 : head.e32.e_machine != EM_386)
		return bad(l, "an ELF file, but not for x86", err);
	uint64_t at = is64 ? head.e64.e_phoff : head.e32.e_phoff;
	unsigned size = is64 ? head.e64.e_phentsize : head.e32.e_phentsize;
	*nr = is64 ? head.e64.e_phnum : head.e32.e_phnum;
	if (*nr == 0 || *nr > SEGMENTS_MAX || size != (is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || at > l->kernel.size)
		return bad(l, "its ELF program headers are missing or damaged", err);
	for (unsigned i = 0; i < *nr; i++) {
		struct segment *s = &segments[i];
		if (is64) {
			Elf64_Phdr p;
			ret = loader_read(&l->kernel, at + (uint64_t)i * size, &p, sizeof(p), "an ELF program header", err);
			*s = (struct segment){p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
		} else {
			Elf32_Phdr p;
			ret = loader_read(&l->kernel, at + (uint64_t)i * size, &p, sizeof(p), "an ELF program header", err);
			*s = (struct segment){p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz, p.p_align};
		}
		if (ret)
			return ret;
	}
	return 0;
}

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) & ~(to - 1);
}

/* Looks for the PVH entry among notes whose values and ends are aligned to 4 or 8 bytes. Returns whether it is there. */
static bool find_entry(const uint8_t *notes, size_t len, size_t align, uint64_t *entry)
{
	for (size_t at = 0; at < len && len - at >= sizeof(Elf64_Nhdr);) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		size_t name_at = at + sizeof(note);
		size_t value_at = round_up(name_at + note.n_namesz, align);
		if (value_at > len || note.n_descsz > len - value_at)
			return false;
		if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 && memcmp(notes + name_at, "Xen", 4) == 0 &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, notes + value_at, note.n_descsz);
			return true;
		}
		at = round_up(value_at + note.n_descsz, align);
	}
	return false;
}

static int load_segments(const struct loader *l, const struct segment *segments, unsigned nr, uint64_t *entry, uint64_t *top,
			 struct error *err)
{
	bool found = false;
	*top = 0;
	for (unsigned i = 0; i < nr; i++) {
		const struct segment *s = &segments[i];
		if (s->type == PT_NOTE && s->file_size <= NOTES_MAX && !found) {
			uint8_t notes[NOTES_MAX];
			int ret = loader_read(&l->kernel, s->offset, notes, s->file_size, "an ELF note", err);
			if (ret)
				return ret;
			/* Assemblers align Xen's notes to 4, whatever the segment that a linker script puts them into says. */
			found = (s->align == 8 && find_entry(notes, s->file_size, 8, entry)) ||
				find_entry(notes, s->file_size, 4, entry);
		}
		if (s->type != PT_LOAD || s->memory_size == 0)
			continue;
		void *to = guest_ram_at(l->ram, s->paddr, s->memory_size);
		if (s->file_size > s->memory_size)
			return bad(l, "an ELF segment is larger in the file than in memory", err);
		if (s->paddr < LAYOUT_HIGH_LOAD)
			return bad(l, "an ELF segment lies below 1 MiB, where the machine puts its tables", err);
		if (!to)
			return error_set(err, EINVAL, "-kernel %s: it needs RAM up to %#llx; give the guest more with -m",
					 l->kernel.path, (unsigned long long)s->paddr + s->memory_size);
		int ret = loader_read_to_guest(l, &l->kernel, s->offset, s->file_size, s->paddr, "an ELF segment", err);
		if (ret)
			return ret;
		memset((uint8_t *)to + s->file_size, 0, s->memory_size - s->file_size);
		if (s->paddr + s->memory_size > *top)
			*top = s->paddr + s->memory_size;
	}
	if (!found)
		return bad(l, "an ELF kernel without a PVH entry (build Linux with CONFIG_PVH, or use its bzImage)", err);
	for (unsigned i = 0; i < nr && *entry <= UINT32_MAX; i++) {
		const struct segment *s = &segments[i];
		if (s->type == PT_LOAD && *entry >= s->paddr && *entry - s->paddr < s->memory_size)
			return 0;
	}
	return bad(l, "its PVH entry is outside what it loads", err);
}

static int write_start_info(const struct loader *l, uint64_t initrd, struct error *err)
{
	struct memory_map_entry map[MEMORY_MAP_MAX];
	size_t nr = loader_memory_map(l->ram, map);
	struct start_info info = {
		.magic = START_MAGIC,
		.version = 1,
		.nr_modules = initrd ? 1 : 0,
		.modules = initrd ? LAYOUT_START_INFO + START_MODULES_AT : 0,
		.command_line = LAYOUT_COMMAND_LINE,
		.rsdp = LAYOUT_ACPI,
		.memory_map = LAYOUT_START_INFO + START_MAP_AT,
		.nr_memory_map = (uint32_t)nr,
	};
	struct start_module module = {.gpa = initrd, .size = l->initrd.size};
	int ret = guest_ram_write(l->ram, LAYOUT_START_INFO, &info, sizeof(info));
	if (ret == 0)
		ret = guest_ram_write(l->ram, LAYOUT_START_INFO + START_MODULES_AT, &module, sizeof(module));
	for (size_t i = 0; ret == 0 && i < nr; i++) {
		struct start_map_entry e = {.gpa = map[i].gpa, .size = map[i].size, .type = map[i].type};
		ret = guest_ram_write(l->ram, LAYOUT_START_INFO + START_MAP_AT + i * sizeof(e), &e, sizeof(e));
	}
	return ret ? error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory") : 0;
}

int pvh_load(const struct loader *l, struct hv_start *start, struct error *err)
{
	struct segment segments[SEGMENTS_MAX] = {0};
	unsigned nr = 0;
	uint64_t entry = 0, top, initrd;
	int ret = read_segments(l, segments, &nr, err);
	if (ret == 0)
		ret = load_segments(l, segments, nr, &entry, &top, err);
	if (ret == 0)
		ret = loader_place_initrd(l, top, LAYOUT_LOW_RAM_END - 1, &initrd, err);
	if (ret == 0)
		ret = loader_write_command_line(l, LAYOUT_COMMAND_LINE_MAX - 1, err);
	if (ret == 0)
		ret = loader_write_gdt(l, false, start, err);
	if (ret == 0)
		ret = write_start_info(l, initrd, err);
	if (ret)
		return ret;
	start->mode = HV_START_PROTECTED_MODE;
	start->entry = entry;
	start->stack = LAYOUT_BOOT_STACK;
	start->rbx = LAYOUT_START_INFO;
	return 0;
}
