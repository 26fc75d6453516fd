/*
 * Fuzzes the kernel loaders: the input is the kernel's file, with the marks of one of the two formats put into it so that they are
 * reached, and its last bytes are the initrd. RAM is 64 MiB with a hole, between pages that trap, and is used again from run to run.
 */
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

/* Puts what both formats need first where it belongs, as the input's first byte says. */
static void mark(uint8_t *kernel, size_t len, uint8_t what)
{
	static const uint8_t elf64[] = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
			     elf32[] = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB};
	switch (what % 4) {
	case 0:
		if (len > 0x212) {
			memcpy(kernel + 0x202, "HdrS", 4);
			kernel[0x1f1] %= 4;
			kernel[0x201] |= 0x60;
			kernel[0x207] = 2;
			kernel[0x211] |= 1;
			kernel[0] = 0;
		}
		break;
	case 1:
	case 2:
		if (len > 64) {
			bool is64 = what % 4 == 1;
			memcpy(kernel, is64 ? elf64 : elf32, sizeof(elf64));
			kernel[18] = is64 ? EM_X86_64 : EM_386;
			kernel[19] = 0;
			kernel[is64 ? 54 : 42] = is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
			kernel[is64 ? 55 : 43] = 0;
			kernel[is64 ? 56 : 44] %= 8;
			kernel[is64 ? 57 : 45] = 0;
			memset(kernel + (is64 ? 33 : 29), 0, is64 ? 7 : 3);
		}
		break;
	default:
		break;
	}
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
	if (initrd_len > in.left)
		initrd_len = in.left;
	size_t len = in.left - initrd_len;
	uint8_t *kernel = malloc(len ? len : 1);
	memcpy(kernel, in.at, len);
	mark(kernel, len, what);
	fill(kernel_fd, kernel, len);
	fill(initrd_fd, in.at + len, initrd_len);
	free(kernel);
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
