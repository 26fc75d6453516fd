/* Kernels and initrds that the tests make up, sound and absurd: what is loaded where, and that nothing else of RAM is touched. */
#include <asm/bootparam.h>
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/layout.h"
#include "vmm/loader.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static struct error err;
static struct guest_ram *ram;
static char kernel_path[64], initrd_path[64];

/* --- files --- */

static void make_file(char path[64], const void *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
}

static void make_ram(uint64_t size)
{
	struct guest_ram_region region = {.size = size};
	guest_ram_destroy(ram);
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
}

static void set_up(void)
{
	memset(&err, 0, sizeof(err));
	ram = NULL;
	make_ram(32 * MIB);
}

static void tear_down(void)
{
	guest_ram_destroy(ram);
}

/* --- a bzImage: one boot sector, one sector of setup code, then code bytes of 0x5a --- */

#define SETUP_SECTS 1u
#define CODE_AT ((SETUP_SECTS + 1) * 512)
#define CODE_LEN 6000u
#define BZIMAGE_LEN (CODE_AT + CODE_LEN)
#define PREFERRED (16 * MIB)

static uint8_t bzimage[BZIMAGE_LEN];

static struct setup_header *header(void)
{
	return (struct setup_header *)(void *)(bzimage + 0x1f1);
}

static void make_bzimage(void)
{
	memset(bzimage, 0, sizeof(bzimage));
	memset(bzimage + CODE_AT, 0x5a, CODE_LEN);
	struct setup_header h = {
		.setup_sects = SETUP_SECTS,
		.syssize = CODE_LEN / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = PREFERRED,
		.init_size = 3 * MIB,
	};
	memcpy(bzimage + 0x1f1, &h, sizeof(h));
}

static int load_files(const char *command_line, bool has_initrd, struct hv_start *start)
{
	struct loader l;
	memset(&err, 0, sizeof(err));
	int ret = loader_init(&l, ram, kernel_path, has_initrd ? initrd_path : NULL, command_line, &err);
	if (ret)
		return ret;
	ret = loader_load(&l, start, &err);
	/* At a reset the same is loaded again, to the same place. */
	struct hv_start again;
	struct error again_err;
	ck_assert_int_eq(loader_load(&l, &again, &again_err), ret);
	if (ret == 0)
		ck_assert_int_eq(memcmp(&again, start, sizeof(again)), 0);
	loader_fini(&l);
	if (ret)
		ck_assert_int_eq(err.code, -ret);
	return ret;
}

static int load_bzimage(size_t len, struct hv_start *start)
{
	make_file(kernel_path, bzimage, len);
	int ret = load_files(NULL, false, start);
	close(atoi(kernel_path + strlen("/proc/self/fd/")));
	return ret;
}

static void fails(int ret, int code, const char *said)
{
	ck_assert_msg(ret == -code, "%d, not %d: %s", ret, -code, err.text);
	ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
	ck_assert_ptr_null(strchr(err.text, '\n'));
}

/* --- what of RAM was written --- */

struct span {
	uint64_t gpa, size;
};

static bool is_zero(uint64_t gpa, uint64_t size)
{
	static const uint8_t zeroes[4096];
	while (size) {
		uint64_t run = size < sizeof(zeroes) ? size : sizeof(zeroes);
		const void *at = guest_ram_at(ram, gpa, run);
		if (at && memcmp(at, zeroes, run) != 0)
			return false;
		gpa += run;
		size -= run;
	}
	return true;
}

/* All of RAM but the spans, which are sorted, must be as it was. */
static void untouched_but(const struct span *spans, size_t nr)
{
	uint64_t at = 0, end = guest_ram_size(ram);
	for (size_t i = 0; i < nr; i++) {
		ck_assert_uint_le(at, spans[i].gpa);
		ck_assert_msg(is_zero(at, spans[i].gpa - at), "below %#llx", (unsigned long long)spans[i].gpa);
		at = spans[i].gpa + spans[i].size;
	}
	ck_assert_msg(is_zero(at, end - at), "from %#llx", (unsigned long long)at);
}

static const struct boot_params *boot_params(void)
{
	return guest_ram_at(ram, LAYOUT_BOOT_PARAMS, sizeof(struct boot_params));
}

static const uint64_t *words(uint64_t gpa)
{
	return guest_ram_at(ram, gpa, 8);
}

START_TEST(a_64_bit_kernel_is_entered_in_long_mode_where_it_wants_to_be)
{
	struct hv_start start;
	make_bzimage();
	make_file(kernel_path, bzimage, sizeof(bzimage));
	ck_assert_msg(load_files("quiet root=/dev/vda", false, &start) == 0, "%s", err.text);
	ck_assert_int_eq(start.mode, HV_START_LONG_MODE);
	ck_assert_uint_eq(start.entry, PREFERRED + 0x200);
	ck_assert_uint_eq(start.rsi, LAYOUT_BOOT_PARAMS);
	ck_assert_uint_eq(start.cr3, LAYOUT_PAGE_TABLES);
	ck_assert_uint_eq(start.gdt, LAYOUT_GDT);
	ck_assert_uint_eq(start.gdt_limit, 31);
	ck_assert_int_eq(memcmp(guest_ram_at(ram, PREFERRED, CODE_LEN), bzimage + CODE_AT, CODE_LEN), 0);
	ck_assert_str_eq((char *)guest_ram_at(ram, LAYOUT_COMMAND_LINE, 20), "quiet root=/dev/vda");
	const struct boot_params *bp = boot_params();
	ck_assert_uint_eq(bp->sentinel, 0);
	ck_assert_uint_eq(bp->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(bp->hdr.cmd_line_ptr, LAYOUT_COMMAND_LINE);
	ck_assert_uint_eq(bp->hdr.ramdisk_image, 0);
	ck_assert_uint_eq(bp->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(bp->hdr.code32_start, PREFERRED);
	ck_assert_uint_eq(bp->acpi_rsdp_addr, LAYOUT_ACPI);
	const struct span spans[] = {{LAYOUT_GDT, 32},
				     {LAYOUT_BOOT_PARAMS, 4096},
				     {LAYOUT_PAGE_TABLES, 6 * 4096},
				     {LAYOUT_COMMAND_LINE, 20},
				     {PREFERRED, CODE_LEN}};
	untouched_but(spans, 5);
}
END_TEST

START_TEST(page_tables_map_four_gib_to_themselves)
{
	struct hv_start start;
	make_bzimage();
	ck_assert_int_eq(load_bzimage(sizeof(bzimage), &start), 0);
	for (uint64_t gpa = 0; gpa < 4 * GIB; gpa += 2 * MIB) {
		uint64_t pml4e = words(start.cr3)[0];
		uint64_t pdpte = words(pml4e & ~0xfffull)[gpa >> 30];
		uint64_t pde = words(pdpte & ~0xfffull)[gpa >> 21 & 511];
		if ((pml4e & 3) != 3 || (pdpte & 3) != 3 || pde != (gpa | 0x83))
			ck_abort_msg("%#llx", (unsigned long long)gpa);
	}
	ck_assert_uint_eq(words(start.gdt)[2], 0x00af9b000000ffff);
	ck_assert_uint_eq(words(start.gdt)[3], 0x00cf93000000ffff);
}
END_TEST

START_TEST(a_32_bit_kernel_is_entered_in_protected_mode_at_1_mib)
{
	struct hv_start start;
	for (unsigned round = 0; round < 3; round++) {
		make_bzimage();
		if (round == 0)
			header()->xloadflags = 0;
		else
			header()->version = round == 1 ? 0x020b : 0x0206; /* before there was a 64-bit entry */
		ck_assert_msg(load_bzimage(sizeof(bzimage), &start) == 0, "%s", err.text);
		ck_assert_int_eq(start.mode, HV_START_PROTECTED_MODE);
		ck_assert_uint_eq(start.entry, MIB);
		ck_assert_uint_eq(start.rsi, LAYOUT_BOOT_PARAMS);
		ck_assert_uint_eq(words(start.gdt)[2], 0x00cf9b000000ffff);
		ck_assert_int_eq(memcmp(guest_ram_at(ram, MIB, CODE_LEN), bzimage + CODE_AT, CODE_LEN), 0);
	}
}
END_TEST

START_TEST(the_memory_map_leaves_out_what_is_ours)
{
	struct hv_start start;
	make_bzimage();
	ck_assert_int_eq(load_bzimage(sizeof(bzimage), &start), 0);
	const struct boot_params *bp = boot_params();
	const struct boot_e820_entry want[] = {
		{0, LAYOUT_EBDA, 1}, {LAYOUT_EBDA, 0xa0000 - LAYOUT_EBDA, 2}, {LAYOUT_ACPI, LAYOUT_ACPI_SIZE, 2},
		{MIB, 31 * MIB, 1},  {LAYOUT_ECAM, LAYOUT_ECAM_SIZE, 2},
	};
	ck_assert_uint_eq(bp->e820_entries, 5);
	ck_assert_int_eq(memcmp(bp->e820_table, want, sizeof(want)), 0);
}
END_TEST

START_TEST(nodes_are_joined_in_the_memory_map)
{
	const struct guest_ram_region regions[] = {
		{.gpa = 0, .size = 512 * KIB},
		{.gpa = 512 * KIB, .size = MIB, .node = 1},
		{.gpa = 512 * KIB + MIB, .size = 30 * MIB, .node = 2},
		{.gpa = LAYOUT_LOW_RAM_END - MIB, .size = MIB, .node = 2},
		{.gpa = LAYOUT_HIGH_RAM, .size = MIB, .node = 2},
		{.gpa = LAYOUT_HIGH_RAM + MIB, .size = MIB, .node = 3},
	};
	struct memory_map_entry map[MEMORY_MAP_MAX];
	guest_ram_destroy(ram);
	ck_assert_int_eq(guest_ram_create(regions, 6, &ram, &err), 0);
	ck_assert_uint_eq(loader_memory_map(ram, map), 7);
	ck_assert_uint_eq(map[3].gpa, MIB);
	ck_assert_uint_eq(map[3].size, 30 * MIB + 512 * KIB);
	ck_assert_uint_eq(map[4].gpa, LAYOUT_LOW_RAM_END - MIB);
	ck_assert_uint_eq(map[5].gpa, LAYOUT_ECAM);
	ck_assert_uint_eq(map[5].type, 2);
	ck_assert_uint_eq(map[6].gpa, LAYOUT_HIGH_RAM);
	ck_assert_uint_eq(map[6].size, 2 * MIB);
	for (unsigned i = 1; i < 7; i++)
		ck_assert_uint_le(map[i - 1].gpa + map[i - 1].size, map[i].gpa);
	/* As many regions as there can be. */
	static struct guest_ram_region many[GUEST_RAM_MAX_REGIONS];
	for (unsigned i = 0; i < GUEST_RAM_MAX_REGIONS; i++)
		many[i] = (struct guest_ram_region){.gpa = i * 4 * MIB, .size = 2 * MIB, .node = i};
	guest_ram_destroy(ram);
	ck_assert_int_eq(guest_ram_create(many, GUEST_RAM_MAX_REGIONS, &ram, &err), 0);
	ck_assert_uint_eq(loader_memory_map(ram, map), GUEST_RAM_MAX_REGIONS + 4);
}
END_TEST

/* --- initrds --- */

static void load_with_initrd(size_t len, uint64_t *gpa)
{
	struct hv_start start;
	uint8_t *initrd = malloc(len);
	memset(initrd, 0xa7, len);
	make_file(kernel_path, bzimage, sizeof(bzimage));
	make_file(initrd_path, initrd, len);
	ck_assert_msg(load_files(NULL, true, &start) == 0, "%s", err.text);
	*gpa = boot_params()->hdr.ramdisk_image;
	ck_assert_uint_eq(boot_params()->hdr.ramdisk_size, len);
	ck_assert_int_eq(memcmp(guest_ram_at(ram, *gpa, len), initrd, len), 0);
	free(initrd);
}

START_TEST(the_initrd_lies_as_high_as_it_may)
{
	uint64_t gpa;
	make_bzimage();
	load_with_initrd(5000, &gpa);
	ck_assert_uint_eq(gpa, 32 * MIB - 8192);
	header()->initrd_addr_max = 24 * MIB - 1;
	load_with_initrd(4096, &gpa);
	ck_assert_uint_eq(gpa, 24 * MIB - 4096);
	header()->initrd_addr_max = 24 * MIB;
	load_with_initrd(1, &gpa);
	ck_assert_uint_eq(gpa, 24 * MIB);
	/* All that is left above the kernel and its working memory. */
	header()->initrd_addr_max = 0;
	load_with_initrd(32 * MIB - PREFERRED - 3 * MIB, &gpa);
	ck_assert_uint_eq(gpa, PREFERRED + 3 * MIB);
}
END_TEST

START_TEST(an_initrd_keeps_clear_of_where_a_32_bit_kernel_will_move)
{
	uint64_t gpa;
	make_bzimage();
	header()->xloadflags = 0;
	header()->initrd_addr_max = 20 * MIB - 1;
	load_with_initrd(MIB, &gpa);
	ck_assert_uint_eq(gpa, 19 * MIB);
	struct hv_start start;
	uint8_t *initrd = calloc(1, MIB + 1);
	make_file(initrd_path, initrd, MIB + 1);
	fails(load_files(NULL, true, &start), ENOMEM, "do not fit");
	free(initrd);
}
END_TEST

START_TEST(initrds_that_do_not_fit_are_named)
{
	struct hv_start start;
	make_bzimage();
	make_file(kernel_path, bzimage, sizeof(bzimage));
	uint8_t *initrd = calloc(1, 14 * MIB);
	make_file(initrd_path, initrd, 14 * MIB);
	fails(load_files(NULL, true, &start), ENOMEM, "-initrd /proc/self/fd/");
	header()->initrd_addr_max = PREFERRED;
	make_file(kernel_path, bzimage, sizeof(bzimage));
	make_file(initrd_path, initrd, 4096);
	fails(load_files(NULL, true, &start), ENOMEM, "give the guest more memory");
	make_file(initrd_path, initrd, 0);
	fails(load_files(NULL, true, &start), EINVAL, "the file is empty");
	snprintf(initrd_path, sizeof(initrd_path), "/nonexistent/initrd");
	fails(load_files(NULL, true, &start), ENOENT, "-initrd /nonexistent/initrd: No such file");
	free(initrd);
}
END_TEST

START_TEST(an_initrd_goes_into_one_node)
{
	const struct guest_ram_region regions[] = {
		{.gpa = 0, .size = 20 * MIB},
		{.gpa = 20 * MIB, .size = 2 * MIB, .node = 1},
		{.gpa = LAYOUT_HIGH_RAM, .size = 8 * MIB, .node = 1},
	};
	uint64_t gpa;
	guest_ram_destroy(ram);
	ck_assert_int_eq(guest_ram_create(regions, 3, &ram, &err), 0);
	make_bzimage();
	load_with_initrd(2 * MIB, &gpa);
	ck_assert_uint_eq(gpa, 20 * MIB);
	header()->pref_address = 2 * MIB;
	load_with_initrd(3 * MIB, &gpa);
	ck_assert_uint_eq(gpa, 17 * MIB);
}
END_TEST

/* --- command lines --- */

START_TEST(command_lines_have_a_limit)
{
	static char line[70000];
	struct hv_start start;
	make_bzimage();
	memset(line, 'x', sizeof(line) - 1);
	line[2047] = '\0';
	make_file(kernel_path, bzimage, sizeof(bzimage));
	ck_assert_int_eq(load_files(line, false, &start), 0);
	ck_assert_uint_eq(strlen(guest_ram_at(ram, LAYOUT_COMMAND_LINE, 2048)), 2047);
	line[2047] = 'x';
	line[2048] = '\0';
	fails(load_files(line, false, &start), E2BIG, "has 2048 bytes, the kernel takes 2047");
	/* One that says that it takes anything meets the room that we have. */
	line[2048] = 'x';
	header()->cmdline_size = UINT32_MAX;
	make_file(kernel_path, bzimage, sizeof(bzimage));
	fails(load_files(line, false, &start), E2BIG, "takes 65535");
	line[65535] = '\0';
	ck_assert_int_eq(load_files(line, false, &start), 0);
	header()->cmdline_size = 0;
	make_file(kernel_path, bzimage, sizeof(bzimage));
	line[256] = '\0';
	fails(load_files(line, false, &start), E2BIG, "takes 255");
}
END_TEST

/* --- absurd bzImages --- */

START_TEST(files_that_are_no_kernel_are_refused)
{
	struct hv_start start;
	char path[] = "/tmp/pagoda-loader-XXXXXX";
	fails((snprintf(kernel_path, 64, "/nonexistent/vmlinuz"), load_files(NULL, false, &start)), ENOENT,
	      "-kernel /nonexistent/vmlinuz");
	fails((snprintf(kernel_path, 64, "/tmp"), load_files(NULL, false, &start)), EINVAL, "not a regular file");
	fails((snprintf(kernel_path, 64, "/dev/zero"), load_files(NULL, false, &start)), EINVAL, "not a regular file");
	/* A pipe that nobody writes to must not hang us. */
	ck_assert_ptr_nonnull(mkdtemp(path));
	snprintf(kernel_path, sizeof(kernel_path), "%s/pipe", path);
	ck_assert_int_eq(mkfifo(kernel_path, 0600), 0);
	fails(load_files(NULL, false, &start), EINVAL, "not a regular file");
	unlink(kernel_path);
	rmdir(path);
	for (size_t len = 0; len < 1100; len += 50) {
		uint8_t junk[1100];
		memset(junk, 'j', sizeof(junk));
		make_file(kernel_path, junk, len);
		fails(load_files(NULL, false, &start), len ? ENOEXEC : EINVAL,
		      len ? "neither a Linux bzImage nor an ELF" : "empty");
	}
	untouched_but(NULL, 0);
}
END_TEST

START_TEST(every_truncation_of_a_bzimage_is_refused)
{
	struct hv_start start;
	make_bzimage();
	for (size_t len = 1; len < sizeof(bzimage); len += len < 1040 ? 1 : 37) {
		int ret = load_bzimage(len, &start);
		ck_assert_msg(ret < 0, "%zu bytes", len);
		ck_assert_ptr_nonnull(strstr(err.text, kernel_path));
	}
	untouched_but(NULL, 0);
	/* What follows the kernel (a signature) is no harm. */
	header()->syssize -= 10;
	ck_assert_int_eq(load_bzimage(sizeof(bzimage), &start), 0);
}
END_TEST

START_TEST(absurd_headers_are_refused_with_the_reason)
{
	struct hv_start start;
	struct setup_header *h = header();
	make_bzimage();
	h->version = 0x0205;
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "boot protocol 2.05 is too old");
	make_bzimage();
	h->loadflags = 0;
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "zImage");
	make_bzimage();
	h->jump = 0x00eb; /* the header ends before its version */
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "too old");
	make_bzimage();
	h->setup_sects = 255;
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "nothing behind it");
	make_bzimage();
	h->setup_sects = 0; /* means 4 */
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "truncated");
	make_bzimage();
	h->syssize = UINT32_MAX;
	fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "truncated");
	static const uint64_t nowhere[] = {0,           0x1000,          LAYOUT_ACPI, MIB - 1,    LAYOUT_LOW_RAM_END,
					   LAYOUT_ECAM, LAYOUT_HIGH_RAM, 1ull << 63,  UINT64_MAX, UINT64_MAX - 4095};
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		make_bzimage();
		h->pref_address = nowhere[i];
		fails(load_bzimage(sizeof(bzimage), &start), ENOEXEC, "damaged: it wants to lie at");
	}
	make_bzimage();
	h->pref_address = LAYOUT_LOW_RAM_END - 1;
	fails(load_bzimage(sizeof(bzimage), &start), EINVAL, "give the guest more with -m");
	make_bzimage();
	h->init_size = UINT32_MAX;
	fails(load_bzimage(sizeof(bzimage), &start), EINVAL, "it needs 4096 MiB of RAM from 0x1000000 on");
	make_bzimage();
	h->init_size = 16 * MIB + 1;
	fails(load_bzimage(sizeof(bzimage), &start), EINVAL, "it needs 17 MiB");
	untouched_but(NULL, 0);
	make_bzimage();
	h->init_size = 16 * MIB;
	ck_assert_int_eq(load_bzimage(sizeof(bzimage), &start), 0);
}
END_TEST

START_TEST(random_headers_never_write_outside_ram)
{
	random_start();
	for (unsigned round = 0; round < 1500; round++) {
		struct hv_start start;
		make_bzimage();
		for (unsigned i = (unsigned)random_below(4); i < 5; i++)
			bzimage[0x1f1 + random_below(sizeof(struct setup_header))] = (uint8_t)random_bits();
		header()->header = 0x53726448;
		int ret = load_bzimage(sizeof(bzimage), &start);
		if (ret) {
			ck_assert_ptr_nonnull(strstr(err.text, kernel_path));
			continue;
		}
		ck_assert_ptr_nonnull(guest_ram_at(ram, start.entry, 1));
		ck_assert_uint_ge(start.entry, MIB);
	}
}
END_TEST

START_TEST(too_little_memory_is_said)
{
	static const uint64_t sizes[] = {4 * KIB, 64 * KIB, 512 * KIB, MIB, 4 * MIB, 16 * MIB};
	struct hv_start start;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make_ram(sizes[i]);
		make_bzimage();
		fails(load_bzimage(sizeof(bzimage), &start), EINVAL, "-m");
	}
	/* 4 MiB are enough for a small old kernel. */
	make_ram(4 * MIB);
	make_bzimage();
	header()->version = 0x0206;
	ck_assert_msg(load_bzimage(sizeof(bzimage), &start) == 0, "%s", err.text);
	make_ram(MIB + 4096);
	fails(load_bzimage(sizeof(bzimage), &start), EINVAL, "it needs 1 MiB of RAM from 0x100000");
}
END_TEST

/* --- PVH: an ELF file of up to two notes' segments and two segments to load --- */

#define ENTRY 0x100040u
#define SEGMENT_AT 0x1000u
#define SEGMENT_LEN 0x800u
#define NOTES_AT 0x400u

static uint8_t elf[SEGMENT_AT + SEGMENT_LEN];
static size_t notes_len;

static Elf64_Ehdr *elf_header(void)
{
	return (Elf64_Ehdr *)(void *)elf;
}

static Elf64_Phdr *segment(unsigned i)
{
	return (Elf64_Phdr *)(void *)(elf + sizeof(Elf64_Ehdr)) + i;
}

static void add_note(const char *name, uint32_t type, const void *value, uint32_t value_len, size_t align)
{
	Elf64_Nhdr note = {.n_namesz = (Elf64_Word)strlen(name) + 1, .n_descsz = value_len, .n_type = type};
	uint8_t *at = elf + NOTES_AT + notes_len;
	size_t value_at = (sizeof(note) + note.n_namesz + align - 1) & ~(align - 1);
	memcpy(at, &note, sizeof(note));
	memcpy(at + sizeof(note), name, note.n_namesz);
	memcpy(at + value_at, value, value_len);
	notes_len += (value_at + value_len + align - 1) & ~(align - 1);
	segment(1)->p_filesz = notes_len;
	segment(1)->p_align = align;
}

static void add_entry_note(size_t align)
{
	uint32_t entry = ENTRY;
	add_note("Xen", 18, &entry, 4, align);
}

static void make_elf(void)
{
	memset(elf, 0, sizeof(elf));
	memset(elf + SEGMENT_AT, 0x6b, SEGMENT_LEN);
	notes_len = 0;
	*elf_header() = (Elf64_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	*segment(0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = SEGMENT_AT,
		.p_paddr = MIB,
		.p_filesz = SEGMENT_LEN,
		.p_memsz = SEGMENT_LEN + 0x3000,
	};
	*segment(1) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTES_AT, .p_align = 4};
	*segment(2) = (Elf64_Phdr){.p_type = PT_LOAD, .p_paddr = 2 * MIB, .p_memsz = 0x1000}; /* zeroes alone */
}

static int load_elf(size_t len, struct hv_start *start)
{
	make_file(kernel_path, elf, len);
	int ret = load_files("console=hvc0", false, start);
	close(atoi(kernel_path + strlen("/proc/self/fd/")));
	return ret;
}

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modules, command_line, rsdp, map;
	uint32_t nr_map, reserved;
};

START_TEST(an_elf_kernel_is_entered_by_its_note)
{
	struct hv_start start;
	make_elf();
	add_entry_note(4);
	memset(guest_ram_at(ram, MIB, 0x4000), 0xff, 0x4000); /* what the last boot left */
	memset(guest_ram_at(ram, 2 * MIB, 0x1000), 0xff, 0x1000);
	ck_assert_msg(load_elf(sizeof(elf), &start) == 0, "%s", err.text);
	ck_assert_int_eq(start.mode, HV_START_PROTECTED_MODE);
	ck_assert_uint_eq(start.entry, ENTRY);
	ck_assert_uint_eq(start.rbx, LAYOUT_START_INFO);
	ck_assert_int_eq(memcmp(guest_ram_at(ram, MIB, SEGMENT_LEN), elf + SEGMENT_AT, SEGMENT_LEN), 0);
	ck_assert(is_zero(MIB + SEGMENT_LEN, 0x3000));
	ck_assert(is_zero(2 * MIB, 0x1000));
	const struct start_info *info = guest_ram_at(ram, LAYOUT_START_INFO, sizeof(*info));
	ck_assert_uint_eq(info->magic, 0x336ec578);
	ck_assert_uint_eq(info->version, 1);
	ck_assert_uint_eq(info->nr_modules, 0);
	ck_assert_uint_eq(info->rsdp, LAYOUT_ACPI);
	ck_assert_str_eq((char *)guest_ram_at(ram, info->command_line, 13), "console=hvc0");
	ck_assert_uint_eq(info->nr_map, 5);
	const uint64_t *entry = words(info->map + 3 * 24);
	ck_assert_uint_eq(entry[0], MIB);
	ck_assert_uint_eq(entry[1], 31 * MIB);
	ck_assert_uint_eq(entry[2], 1);
	memset(guest_ram_at(ram, MIB + SEGMENT_LEN + 0x3000, 0x800), 0, 0x800);
	const struct span spans[] = {{LAYOUT_GDT, 32}, {LAYOUT_START_INFO, 0x1000}, {LAYOUT_COMMAND_LINE, 13}, {MIB, SEGMENT_LEN}};
	untouched_but(spans, 4);
}
END_TEST

START_TEST(notes_may_be_aligned_to_4_or_8_and_be_many)
{
	static const size_t aligns[] = {4, 8};
	struct hv_start start;
	uint64_t wide = ENTRY;
	for (unsigned i = 0; i < 2; i++) {
		make_elf();
		add_note("GNU", 3, "12345678901234567890", 20, aligns[i]);
		add_note("Linux", 257, "", 0, aligns[i]);
		add_note("X", 18, "abcd", 4, aligns[i]);
		add_note("Xen", 5, "linux", 5, aligns[i]);
		add_entry_note(aligns[i]);
		add_note("Xen", 18, "wxyz", 4, aligns[i]); /* the first one counts */
		ck_assert_msg(load_elf(sizeof(elf), &start) == 0, "%s", err.text);
		ck_assert_uint_eq(start.entry, ENTRY);
		make_elf();
		add_note("Xen", 18, &wide, 8, aligns[i]);
		ck_assert_msg(load_elf(sizeof(elf), &start) == 0, "%s", err.text);
		ck_assert_uint_eq(start.entry, ENTRY);
	}
	/* Notes laid out by 4 in a segment that says 8. */
	make_elf();
	add_note("Linux", 257, "abcd", 4, 4);
	add_entry_note(4);
	segment(1)->p_align = 8;
	ck_assert_msg(load_elf(sizeof(elf), &start) == 0, "%s", err.text);
	ck_assert_uint_eq(start.entry, ENTRY);
}
END_TEST

START_TEST(damaged_notes_hold_no_entry)
{
	struct hv_start start;
	make_elf();
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "without a PVH entry");
	make_elf();
	add_note("Xen", 18, "abcdefghijkl", 12, 4);
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "without a PVH entry");
	make_elf();
	add_note("Ven", 18, "abcd", 4, 4);
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "without a PVH entry");
	/* Every length, cut at every place. */
	static const uint32_t lengths[] = {0, 1, 3, 5, 8, 100, 0x7fffffff, UINT32_MAX - 8, UINT32_MAX - 3, UINT32_MAX};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (unsigned field = 0; field < 2; field++) {
			make_elf();
			add_note("ABC", 1, "value", 5, i % 2 ? 8 : 4);
			add_entry_note(i % 2 ? 8 : 4);
			memcpy(elf + NOTES_AT + field * 4, &lengths[i], 4);
			int ret = load_elf(sizeof(elf), &start);
			ck_assert(ret == 0 || ret == -ENOEXEC);
		}
	}
	for (size_t len = 0; len < 20; len++) {
		make_elf();
		add_entry_note(4);
		segment(1)->p_filesz = len;
		fails(load_elf(sizeof(elf), &start), ENOEXEC, "without a PVH entry");
	}
	make_elf();
	add_note("Xen", 18, "\0\0\0\xff", 4, 4);
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "outside what it loads");
	make_elf();
	add_note("Xen", 18, "\0\0\x10\0\1\0\0\0", 8, 4);
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "outside what it loads");
	make_elf();
	add_entry_note(4);
	segment(1)->p_filesz = 100000; /* notes of that size are not looked at */
	fails(load_elf(sizeof(elf), &start), ENOEXEC, "without a PVH entry");
	make_elf();
	add_entry_note(4);
	segment(1)->p_offset = UINT64_MAX - 3;
	fails(load_elf(sizeof(elf), &start), EINVAL, "an ELF note");
}
END_TEST

static int load_changed(void (*change)(void))
{
	struct hv_start start;
	make_elf();
	add_entry_note(4);
	change();
	return load_elf(sizeof(elf), &start);
}

#define CHANGE(name, what)     \
	static void name(void) \
	{                      \
		what;          \
	}
CHANGE(class_is_unknown, elf[EI_CLASS] = 3)
CHANGE(is_big_endian, elf[EI_DATA] = ELFDATA2MSB)
CHANGE(is_for_arm, elf_header()->e_machine = EM_AARCH64)
CHANGE(is_64_bit_386, elf_header()->e_machine = EM_386)
CHANGE(has_no_segments, elf_header()->e_phnum = 0)
CHANGE(has_too_many_segments, elf_header()->e_phnum = 0xffff)
CHANGE(has_odd_segments, elf_header()->e_phentsize = 32)
CHANGE(has_segments_past_the_end, elf_header()->e_phoff = sizeof(elf) + 1)
CHANGE(has_segments_far_past_the_end, elf_header()->e_phoff = UINT64_MAX - 10)
CHANGE(has_segments_across_the_end, elf_header()->e_phoff = sizeof(elf) - 100)
CHANGE(is_larger_in_the_file, segment(0)->p_memsz = SEGMENT_LEN - 1)
CHANGE(lies_below_1_mib, segment(0)->p_paddr = 0x7000)
CHANGE(lies_outside_ram, segment(0)->p_paddr = 32 * MIB - 0x1000)
CHANGE(wraps, segment(0)->p_paddr = UINT64_MAX - 0x1000)
CHANGE(is_endless, segment(0)->p_memsz = UINT64_MAX)
CHANGE(is_past_the_end, segment(0)->p_offset = SEGMENT_AT + 1)
CHANGE(is_far_past_the_end, segment(0)->p_offset = UINT64_MAX - 100)

START_TEST(absurd_elf_files_are_refused_with_the_reason)
{
	fails(load_changed(class_is_unknown), ENOEXEC, "not for x86");
	fails(load_changed(is_big_endian), ENOEXEC, "not for x86");
	fails(load_changed(is_for_arm), ENOEXEC, "not for x86");
	fails(load_changed(is_64_bit_386), ENOEXEC, "not for x86");
	fails(load_changed(has_no_segments), ENOEXEC, "program headers");
	fails(load_changed(has_too_many_segments), ENOEXEC, "program headers");
	fails(load_changed(has_odd_segments), ENOEXEC, "program headers");
	fails(load_changed(has_segments_past_the_end), ENOEXEC, "program headers");
	fails(load_changed(has_segments_far_past_the_end), ENOEXEC, "program headers");
	fails(load_changed(has_segments_across_the_end), EINVAL, "truncated");
	fails(load_changed(is_larger_in_the_file), ENOEXEC, "larger in the file");
	fails(load_changed(lies_below_1_mib), ENOEXEC, "below 1 MiB");
	fails(load_changed(lies_outside_ram), EINVAL, "give the guest more with -m");
	fails(load_changed(wraps), EINVAL, "give the guest more with -m");
	fails(load_changed(is_endless), EINVAL, "give the guest more with -m");
	fails(load_changed(is_past_the_end), EINVAL, "truncated");
	fails(load_changed(is_far_past_the_end), EINVAL, "truncated");
	ck_assert(is_zero(0, MIB));
	ck_assert(is_zero(3 * MIB, 29 * MIB));
}
END_TEST

START_TEST(every_truncation_of_an_elf_kernel_is_refused)
{
	struct hv_start start;
	make_elf();
	add_entry_note(4);
	for (size_t len = 1; len < sizeof(elf); len += len < 1200 ? 1 : 37) {
		int ret = load_elf(len, &start);
		ck_assert_msg(ret < 0, "%zu bytes", len);
		ck_assert_ptr_nonnull(strstr(err.text, kernel_path));
	}
}
END_TEST

START_TEST(a_32_bit_elf_kernel_is_loaded)
{
	struct hv_start start;
	make_elf();
	add_entry_note(4);
	const Elf64_Phdr load = *segment(0), note = *segment(1);
	const Elf32_Ehdr head = {
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
		.e_machine = EM_386,
		.e_phoff = sizeof(head),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
	};
	const Elf32_Phdr segments[2] = {
		{PT_LOAD, (Elf32_Off)load.p_offset, 0xc0100000, (Elf32_Addr)load.p_paddr, SEGMENT_LEN, SEGMENT_LEN, 7, 4096},
		{PT_NOTE, (Elf32_Off)note.p_offset, 0, 0, (Elf32_Word)note.p_filesz, (Elf32_Word)note.p_filesz, 4, 4},
	};
	memset(elf, 0, NOTES_AT);
	memcpy(elf, &head, sizeof(head));
	memcpy(elf + sizeof(head), segments, sizeof(segments));
	ck_assert_msg(load_elf(sizeof(elf), &start) == 0, "%s", err.text);
	ck_assert_uint_eq(start.entry, ENTRY);
	ck_assert_int_eq(memcmp(guest_ram_at(ram, MIB, SEGMENT_LEN), elf + SEGMENT_AT, SEGMENT_LEN), 0);
}
END_TEST

START_TEST(an_initrd_beside_a_small_elf_kernel_stays_off_our_tables)
{
	struct hv_start start;
	static uint8_t initrd[64 * KIB];
	make_elf();
	add_entry_note(4);
	segment(2)->p_type = PT_NULL;
	make_file(kernel_path, elf, sizeof(elf));
	memset(initrd, 0xa7, sizeof(initrd));
	make_file(initrd_path, initrd, sizeof(initrd));
	ck_assert_msg(load_files(NULL, true, &start) == 0, "%s", err.text);
	const struct start_info *info = guest_ram_at(ram, LAYOUT_START_INFO, sizeof(*info));
	ck_assert_uint_eq(info->nr_modules, 1);
	ck_assert_uint_eq(words(info->modules)[0], 32 * MIB - sizeof(initrd));
	ck_assert_uint_eq(words(info->modules)[1], sizeof(initrd));
	ck_assert_int_eq(memcmp(guest_ram_at(ram, 32 * MIB - sizeof(initrd), sizeof(initrd)), initrd, sizeof(initrd)), 0);
	/* With memory for the kernel alone, low memory is no place for it. */
	make_ram(MIB + 0x8000);
	fails(load_files(NULL, true, &start), ENOMEM, "do not fit");
	struct loader l;
	uint64_t gpa = 1;
	make_ram(MIB);
	ck_assert_int_eq(loader_init(&l, ram, kernel_path, initrd_path, NULL, &err), 0);
	ck_assert_int_eq(loader_place_initrd(&l, 0, UINT32_MAX, &gpa, &err), -ENOMEM);
	ck_assert(is_zero(0, MIB));
	loader_fini(&l);
}
END_TEST

START_TEST(random_damage_to_an_elf_kernel_is_survived)
{
	random_start();
	for (unsigned round = 0; round < 1500; round++) {
		struct hv_start start;
		make_elf();
		add_note("GNU", 3, "1234", 4, 8);
		add_entry_note(8);
		for (unsigned i = (unsigned)random_below(4); i < 5; i++) {
			size_t at = random_below(2) ? random_below(sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr))
						    : NOTES_AT + random_below(notes_len);
			elf[at] = random_below(2) ? (uint8_t)random_bits() : (uint8_t)(elf[at] + random_below(3) - 1);
		}
		memcpy(elf, ELFMAG, 4);
		if (load_elf(sizeof(elf), &start) == 0)
			ck_assert_ptr_nonnull(guest_ram_at(ram, start.entry, 1));
	}
	/* Nothing was written to low memory but our own structures. */
	const struct span spans[] = {{LAYOUT_GDT, 32}, {LAYOUT_START_INFO, 0x1000}, {LAYOUT_COMMAND_LINE, 13}};
	uint64_t at = 0;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(is_zero(at, spans[i].gpa - at));
		at = spans[i].gpa + spans[i].size;
	}
	ck_assert(is_zero(at, MIB - at));
}
END_TEST

START_TEST(a_file_that_shrinks_later_is_refused)
{
	struct loader l;
	struct hv_start start;
	make_bzimage();
	make_file(kernel_path, bzimage, sizeof(bzimage));
	ck_assert_int_eq(loader_init(&l, ram, kernel_path, NULL, NULL, &err), 0);
	ck_assert_int_eq(truncate(kernel_path, CODE_AT + 100), 0);
	fails(loader_load(&l, &start, &err), EINVAL, "truncated");
	ck_assert_int_eq(truncate(kernel_path, 0), 0);
	fails(loader_load(&l, &start, &err), EINVAL, "truncated");
	loader_fini(&l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loader");
	TCase *tests = tcase_create("loader");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_64_bit_kernel_is_entered_in_long_mode_where_it_wants_to_be);
	tcase_add_test(tests, page_tables_map_four_gib_to_themselves);
	tcase_add_test(tests, a_32_bit_kernel_is_entered_in_protected_mode_at_1_mib);
	tcase_add_test(tests, the_memory_map_leaves_out_what_is_ours);
	tcase_add_test(tests, nodes_are_joined_in_the_memory_map);
	tcase_add_test(tests, the_initrd_lies_as_high_as_it_may);
	tcase_add_test(tests, an_initrd_keeps_clear_of_where_a_32_bit_kernel_will_move);
	tcase_add_test(tests, initrds_that_do_not_fit_are_named);
	tcase_add_test(tests, an_initrd_goes_into_one_node);
	tcase_add_test(tests, command_lines_have_a_limit);
	tcase_add_test(tests, files_that_are_no_kernel_are_refused);
	tcase_add_test(tests, every_truncation_of_a_bzimage_is_refused);
	tcase_add_test(tests, absurd_headers_are_refused_with_the_reason);
	tcase_add_test(tests, random_headers_never_write_outside_ram);
	tcase_add_test(tests, too_little_memory_is_said);
	tcase_add_test(tests, an_elf_kernel_is_entered_by_its_note);
	tcase_add_test(tests, notes_may_be_aligned_to_4_or_8_and_be_many);
	tcase_add_test(tests, damaged_notes_hold_no_entry);
	tcase_add_test(tests, absurd_elf_files_are_refused_with_the_reason);
	tcase_add_test(tests, every_truncation_of_an_elf_kernel_is_refused);
	tcase_add_test(tests, a_32_bit_elf_kernel_is_loaded);
	tcase_add_test(tests, an_initrd_beside_a_small_elf_kernel_stays_off_our_tables);
	tcase_add_test(tests, random_damage_to_an_elf_kernel_is_survived);
	tcase_add_test(tests, a_file_that_shrinks_later_is_refused);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
