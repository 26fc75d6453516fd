/*
 * See image_format.h. A format is known by bytes at a fixed place. Formats that a guest itself may well put at the start of its raw disk
 * (LUKS, file systems, partition tables) are not looked for.
 */
#include "vmm/image_format.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *format;
	size_t offset, len;
	const char *bytes;
} marks[] = {
	{"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
	{"qcow2", 0, 4, "QFI\xfb"},
	{"vmdk", 0, 4, "KDMV"},
	{"vmdk", 0, 4, "COWD"},
	{"vmdk", 0, 21, "# Disk DescriptorFile"},
	{"vdi", 64, 4, "\x7f\x10\xda\xbe"},
	{"vhdx", 0, 8, "vhdxfile"},
	{"vpc", 0, 8, "conectix"},
	{"qed", 0, 4, "QED\0"},
	{"parallels", 0, 16, "WithoutFreeSpace"},
	{"parallels", 0, 16, "WithouFreSpacExt"},
};

const char *image_format_guess(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (marks[i].offset + marks[i].len <= len && !memcmp(data + marks[i].offset, marks[i].bytes, marks[i].len))
			return marks[i].format;
	return NULL;
}

int image_format_refuse(const char *format, const char *file, struct error *err)
{
	return error_set(err, EINVAL,
			 "format %.20s is not read directly; let qemu-nbd serve it: `qemu-nbd --fork --persistent --format=%.20s "
			 "--socket=/run/disk.sock %.80s`, and then use 'file=nbd+unix:///?socket=/run/disk.sock,format=raw'",
			 format, format, file ? file : "FILE");
}

int image_format_check_raw(const char *path, struct error *err)
{
	uint8_t data[IMAGE_FORMAT_PROBE];
	/* O_NONBLOCK: the name may be a pipe's. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return 0;
	ssize_t n = pread(fd, data, sizeof(data), 0);
	close(fd);
	const char *format = n > 0 ? image_format_guess(data, (size_t)n) : NULL;
	if (!format)
		return 0;
	image_format_refuse(format, path, err);
	return error_prefix(err, "%.80s has no format=", path);
}
