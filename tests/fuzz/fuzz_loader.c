/*
 * Fuzzes the kernel loaders: the input either is the kernel's file, or is a list of bytes to change in a sound kernel of one of the
 * formats; its end may be the initrd. RAM is 64 MiB with a hole, between pages that trap, and is used again from run to run.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz_input.h"
#include "vmm/layout.h"
#include "vmm/loader.h"

#define RAM_SIZE (64ull << 20)

static struct guest_ram *ram;
static int kernel_fd, initrd_fd;
static char kernel_path[64], initrd_path[64];

/* The sanitizer knows nothing of mappings: beside RAM there must not be anything else by chance. */
static void fence(uint8_t *at)
{
	(void)!mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void set_up(void)
{
	/* Two nodes, and nothing between 40 and 41 MiB. */
	struct guest_ram_region regions[] = {{.gpa = 0, .size = 40ull << 20},
					     {.gpa = 41ull << 20, .size = RAM_SIZE - (41ull << 20)}};
	fuzz_need(guest_ram_create(regions, 2, &ram, NULL) == 0);
	size_t nr;
	const struct guest_ram_region *made = guest_ram_regions(ram, &nr);
	for (size_t i = 0; i < nr; i++) {
		fence(made[i].hva - 4096);
		fence(made[i].hva + made[i].size);
	}
	kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
	initrd_fd = memfd_create("initrd", MFD_CLOEXEC);
	fuzz_need(kernel_fd >= 0 && initrd_fd >= 0);
	snprintf(kernel_path, sizeof(kernel_path), "/proc/self/fd/%d", kernel_fd);
	snprintf(initrd_path, sizeof(initrd_path), "/proc/self/fd/%d", initrd_fd);
}

static void fill(int fd, const uint8_t *data, size_t len)
{
	fuzz_need(ftruncate(fd, 0) == 0);
	fuzz_need(pwrite(fd, data, len, 0) == (ssize_t)len);
}

#define SOUND_LEN 0x1400u

static void make_bzimage(uint8_t *kernel)
{
	struct setup_header header = {
		.setup_sects = 1,
		.syssize = (SOUND_LEN - 0x400) / 16,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 255,
		.pref_address = 16 << 20,
		.init_size = 1 << 20,
	};
	memcpy(kernel + 0x1f1, &header, sizeof(header));
}

static const uint32_t note[] = {4, 4, 18, 0x006e6558, 0x100010};

static void make_elf64(uint8_t *kernel)
{
	const Elf64_Ehdr head = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_machine = EM_X86_64,
		.e_phoff = sizeof(head),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	const Elf64_Phdr segments[2] = {
		{.p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = 1 << 20, .p_filesz = 0x400, .p_memsz = 0x2000},
		{.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = sizeof(note), .p_align = 4},
	};
	memcpy(kernel, &head, sizeof(head));
	memcpy(kernel + sizeof(head), segments, sizeof(segments));
	memcpy(kernel + 0x200, note, sizeof(note));
}

static void make_elf32(uint8_t *kernel)
{
	const Elf32_Ehdr head = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		.e_machine = EM_386,
		.e_phoff = sizeof(head),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
	};
	const Elf32_Phdr segments[2] = {
		{.p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = 1 << 20, .p_filesz = 0x400, .p_memsz = 0x2000},
		{.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = sizeof(note), .p_align = 8},
	};
	memcpy(kernel, &head, sizeof(head));
	memcpy(kernel + sizeof(head), segments, sizeof(segments));
	memcpy(kernel + 0x200, note, sizeof(note));
}

/* A sound kernel, changed as the input says. Where bytes matter, one of the input reaches. */
static void make_changed(struct fuzz_input *in, unsigned kind, size_t nr_changes)
{
	static void (*const makers[])(uint8_t *) = {make_bzimage, make_elf64, make_elf32};
	uint8_t kernel[SOUND_LEN];
	memset(kernel, 0x5a, sizeof(kernel));
	memset(kernel, 0, 0x400);
	makers[kind](kernel);
	for (; nr_changes && in->left; nr_changes--) {
		size_t base = kind == 0 ? 0x1f1 : fuzz_take(in, 1) & 1 ? 0x200 : 0;
		kernel[base + fuzz_take(in, 1)] = (uint8_t)fuzz_take(in, 1);
	}
	fill(kernel_fd, kernel, sizeof(kernel));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct loader l;
	struct hv_start start;
	struct error err = {0};
	if (!ram)
		set_up();
	uint8_t what = (uint8_t)fuzz_take(&in, 1);
	size_t initrd_len = fuzz_take(&in, 1) * 20;
	if (what % 4 < 3) {
		make_changed(&in, what % 4, what >> 2 & 15);
		initrd_len *= 0x1000; /* which is a hole in its file */
		fill(initrd_fd, in.at, in.left);
		fuzz_need(ftruncate(initrd_fd, (off_t)initrd_len) == 0);
	} else {
		if (initrd_len > in.left)
			initrd_len = in.left;
		fill(kernel_fd, in.at, in.left - initrd_len);
		fill(initrd_fd, in.at + (in.left - initrd_len), initrd_len);
	}
	int ret = loader_init(&l, ram, kernel_path, initrd_len ? initrd_path : NULL, what & 0x80 ? "console=ttyS0" : NULL, &err);
	if (ret == 0) {
		ret = loader_load(&l, &start, &err);
		loader_fini(&l);
	}
	if (ret) {
		fuzz_need(ret == -err.code &&
			  (strstr(err.text, "/proc/self/fd/") || strstr(err.text, "-m") || strstr(err.text, "-append")));
		return 0;
	}
	fuzz_need(guest_ram_at(ram, start.entry, 1) != NULL && start.entry >= LAYOUT_HIGH_LOAD);
	fuzz_need(start.gdt == LAYOUT_GDT);
	return 0;
}
