/* See loader.h: what both formats share. */
#include "vmm/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/layout.h"

#define IMAGE_MAX (4ull << 30)

static int open_image(struct loader_file *file, const char *option, const char *path, struct error *err)
{
	file->path = path;
	/* O_NONBLOCK: the name of a pipe must not hang us. */
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0)
		return error_set(err, errno, "%s %s: %s", option, path, strerror(errno));
	struct stat st;
	if (fstat(file->fd, &st) < 0)
		return error_set(err, errno, "%s %s: %s", option, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s %s: not a regular file", option, path);
	if (st.st_size == 0 || (uint64_t)st.st_size > IMAGE_MAX)
		return error_set(err, EINVAL, "%s %s: %s", option, path, st.st_size ? "larger than 4 GiB" : "the file is empty");
	file->size = (uint64_t)st.st_size;
	return 0;
}

int loader_init(struct loader *l, struct guest_ram *ram, const char *kernel_path, const char *initrd_path, const char *command_line,
		struct error *err)
{
	memset(l, 0, sizeof(*l));
	l->ram = ram;
	l->kernel.fd = l->initrd.fd = -1;
	l->command_line = command_line ? command_line : "";
	int ret = open_image(&l->kernel, "-kernel", kernel_path, err);
	if (ret == 0 && initrd_path)
		ret = open_image(&l->initrd, "-initrd", initrd_path, err);
	if (ret)
		loader_fini(l);
	return ret;
}

void loader_fini(struct loader *l)
{
	if (l->kernel.fd >= 0)
		close(l->kernel.fd);
	if (l->initrd.fd >= 0)
		close(l->initrd.fd);
	l->kernel.fd = l->initrd.fd = -1;
}

int loader_read(const struct loader_file *file, uint64_t offset, void *buf, size_t len, const char *what, struct error *err)
{
	size_t done = 0;
	while (done < len) {
		ssize_t got = pread(file->fd, (uint8_t *)buf + done, len - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set(err, errno, "%s: cannot read %s: %s", file->path, what, strerror(errno));
		if (got == 0)
			return error_set(err, EINVAL, "%s: %s reaches past the end of the file: truncated?", file->path, what);
		done += (size_t)got;
	}
	return 0;
}

int loader_read_to_guest(const struct loader *l, const struct loader_file *file, uint64_t offset, uint64_t len, uint64_t gpa,
			 const char *what, struct error *err)
{
	if (len == 0)
		return 0;
	if (offset > file->size || len > file->size - offset)
		return error_set(err, EINVAL, "%s: %s reaches past the end of the file: truncated?", file->path, what);
	void *to = guest_ram_at(l->ram, gpa, len);
	if (!to)
		return error_set(err, EINVAL,
				 "%s: %s wants %llu KiB at %#llx, where the guest has no RAM (or not in one NUMA node); "
				 "give it more with -m",
				 file->path, what, (unsigned long long)(len + 1023) >> 10, (unsigned long long)gpa);
	return loader_read(file, offset, to, len, what, err);
}

int loader_place_initrd(const struct loader *l, uint64_t lowest, uint64_t highest, uint64_t *gpa, struct error *err)
{
	*gpa = 0;
	if (l->initrd.fd < 0)
		return 0;
	if (lowest < LAYOUT_HIGH_LOAD)
		lowest = LAYOUT_HIGH_LOAD; /* below lie our own tables */
	size_t nr;
	const struct guest_ram_region *regions = guest_ram_regions(l->ram, &nr);
	for (size_t i = nr; i-- > 0;) {
		uint64_t from = regions[i].gpa > lowest ? regions[i].gpa : lowest;
		uint64_t to = regions[i].gpa + regions[i].size;
		if (to - 1 > highest)
			to = highest + 1;
		if (to <= from || to - from < l->initrd.size)
			continue;
		uint64_t at = (to - l->initrd.size) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
		if (at < from)
			continue;
		*gpa = at;
		return loader_read_to_guest(l, &l->initrd, 0, l->initrd.size, at, "the initrd", err);
	}
	return error_set(err, ENOMEM, "-initrd %s: %llu MiB do not fit beside the kernel; give the guest more memory with -m",
			 l->initrd.path, (unsigned long long)(l->initrd.size + (1 << 20) - 1) >> 20);
}

int loader_write_command_line(const struct loader *l, uint64_t max, struct error *err)
{
	size_t len = strlen(l->command_line);
	if (max >= LAYOUT_COMMAND_LINE_MAX)
		max = LAYOUT_COMMAND_LINE_MAX - 1;
	if (len > max)
		return error_set(err, E2BIG, "-append: the command line has %zu bytes, the kernel takes %llu", len,
				 (unsigned long long)max);
	if (guest_ram_write(l->ram, LAYOUT_COMMAND_LINE, l->command_line, len + 1))
		return error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory");
	return 0;
}

int loader_write_gdt(const struct loader *l, int long_mode, struct hv_start *start, struct error *err)
{
	const uint64_t gdt[4] = {0, 0, long_mode ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull, 0x00cf93000000ffffull};
	start->gdt = LAYOUT_GDT;
	start->gdt_limit = sizeof(gdt) - 1;
	if (guest_ram_write(l->ram, LAYOUT_GDT, gdt, sizeof(gdt)))
		return error_set(err, EINVAL, "-m: the guest needs at least 1 MiB of memory");
	return 0;
}

size_t loader_memory_map(const struct guest_ram *ram, struct memory_map_entry map[MEMORY_MAP_MAX])
{
	size_t nr_regions, nr = 0;
	const struct guest_ram_region *regions = guest_ram_regions(ram, &nr_regions);
	map[nr++] = (struct memory_map_entry){0, LAYOUT_EBDA, 1};
	map[nr++] = (struct memory_map_entry){LAYOUT_EBDA, 0xa0000 - LAYOUT_EBDA, 2};
	map[nr++] = (struct memory_map_entry){LAYOUT_ACPI, LAYOUT_ACPI_SIZE, 2};
	for (size_t i = 0; i < nr_regions; i++) {
		uint64_t from = regions[i].gpa, to = from + regions[i].size;
		if (from < LAYOUT_HIGH_LOAD)
			from = LAYOUT_HIGH_LOAD;
		/* Nodes that touch are one range: the kernel learns of nodes from the SRAT. */
		if (nr > 3 && map[nr - 1].gpa + map[nr - 1].size == from)
			map[nr - 1].size += to - from;
		else if (to > from)
			map[nr++] = (struct memory_map_entry){from, to - from, 1};
		if (to <= LAYOUT_LOW_RAM_END && (i + 1 == nr_regions || regions[i + 1].gpa >= LAYOUT_HIGH_RAM))
			map[nr++] = (struct memory_map_entry){LAYOUT_ECAM, LAYOUT_ECAM_SIZE, 2};
	}
	return nr;
}

int loader_load(const struct loader *l, struct hv_start *start, struct error *err)
{
	uint8_t head[0x206] = {0};
	size_t len = l->kernel.size < sizeof(head) ? l->kernel.size : sizeof(head);
	memset(start, 0, sizeof(*start));
	int ret = loader_read(&l->kernel, 0, head, len, "the first sector", err);
	if (ret)
		return ret;
	if (memcmp(head, "\177ELF", 4) == 0)
		return pvh_load(l, start, err);
	if (memcmp(head + 0x202, "HdrS", 4) == 0)
		return linux_load(l, start, err);
	return error_set(err, ENOEXEC, "-kernel %s: neither a Linux bzImage nor an ELF kernel with a PVH entry", l->kernel.path);
}
