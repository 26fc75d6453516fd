/* Images of other formats are told from raw ones. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "vmm/image_format.h"

static const struct {
	const char *format;
	size_t offset, len;
	const char *bytes;
} samples[] = {
	{"qcow2", 0, 8, "QFI\xfb\0\0\0\3"},
	{"qcow2", 0, 8, "QFI\xfb\0\0\0\2"},
	{"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
	{"vmdk", 0, 8, "KDMV\1\0\0\0"},
	{"vmdk", 0, 22, "# Disk DescriptorFile\n"},
	{"vdi", 64, 4, "\x7f\x10\xda\xbe"},
	{"vhdx", 0, 8, "vhdxfile"},
	{"vpc", 0, 8, "conectix"},
	{"qed", 0, 4, "QED\0"},
	{"parallels", 0, 16, "WithoutFreeSpace"},
};

START_TEST(known_formats_are_recognised)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		uint8_t data[IMAGE_FORMAT_PROBE] = {0};
		memcpy(data + samples[i].offset, samples[i].bytes, samples[i].len);
		const char *format = image_format_guess(data, sizeof(data));
		ck_assert_msg(format && !strcmp(format, samples[i].format), "%s: %s", samples[i].format, format ? format : "raw");
		/* Cut short before its mark ends, it is nothing; nor is it one byte further on. */
		ck_assert_ptr_null(image_format_guess(data, samples[i].offset + 3));
		memmove(data + 1, data, sizeof(data) - 1);
		ck_assert_ptr_null(image_format_guess(data, sizeof(data)));
	}
}
END_TEST

START_TEST(what_guests_write_to_raw_disks_is_raw)
{
	uint8_t data[IMAGE_FORMAT_PROBE] = {0};
	ck_assert_ptr_null(image_format_guess(data, sizeof(data)));
	ck_assert_ptr_null(image_format_guess(data, 0));
	data[510] = 0x55;
	data[511] = 0xaa;
	ck_assert_ptr_null(image_format_guess(data, sizeof(data)));
	memcpy(data, "LUKS\xba\xbe\0\2", 8);
	ck_assert_ptr_null(image_format_guess(data, sizeof(data)));
}
END_TEST

START_TEST(a_file_of_another_format_is_refused_with_the_command_that_serves_it)
{
	char path[] = "/tmp/pagoda-image-XXXXXX";
	struct error err = {.code = 0};
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(image_format_check_raw(path, &err), 0);
	ck_assert_int_eq(write(fd, "QFI\xfb\0\0\0\3", 8), 8);
	ck_assert_int_eq(image_format_check_raw(path, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	ck_assert_ptr_nonnull(strstr(err.text, "qemu-nbd --fork --persistent --format=qcow2"));
	close(fd);
	unlink(path);
	ck_assert_int_eq(image_format_check_raw(path, &err), 0);
	ck_assert_int_eq(image_format_check_raw("/dev/null", &err), 0);
	ck_assert_int_eq(image_format_check_raw("/tmp", &err), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("image format");
	TCase *tc = tcase_create("image format");
	tcase_add_test(tc, known_formats_are_recognised);
	tcase_add_test(tc, what_guests_write_to_raw_disks_is_raw);
	tcase_add_test(tc, a_file_of_another_format_is_refused_with_the_command_that_serves_it);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
