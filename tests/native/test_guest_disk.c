/* Guests that verify every sector of virtio disks, on files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/native/vm_process.h"

enum { TIMEOUT_MS = 50000, SECTOR = 512 };
#define DISK_BYTES (24ull << 20)

/* drive and device are the words behind -drive file=path, and behind -device, which may be NULL for if=virtio. */
static struct vm_process *run_disk(const char *path, const char *options, const char *drive, const char *device)
{
	struct vm_process *vm;
	char append[200];

	snprintf(append, sizeof(append), "seed=%llu %s", (unsigned long long)vm_process_seed(), options);
	if (device)
		vm = vm_process_start("blk", append,
				      "-m 128 -drive file=%s,if=none,id=d,format=raw%s -device virtio-blk-pci,drive=d%s", path,
				      drive, device);
	else
		vm = vm_process_start("blk", append, "-m 128 -drive file=%s,if=virtio,format=raw%s", path, drive);
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "blk: 0 wrong sectors\n"));
	return vm;
}

/* Guest seal leaves its number and generation 1 at the start of each sector that it owns. */
static void check_sealed_file(const char *path, uint64_t sectors)
{
	uint64_t head[2], sector;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	for (sector = 0; sector < sectors; sector++) {
		ck_assert_int_eq(pread(fd, head, sizeof(head), (off_t)(sector * SECTOR)), sizeof(head));
		ck_assert_uint_eq(head[0], sector);
		ck_assert_uint_eq(head[1], 1);
	}
	close(fd);
}

START_TEST(a_disk_holds_what_was_written)
{
	vm_process_end(run_disk(vm_process_file("disk.img", DISK_BYTES), "fresh ops=1500", "", NULL));
}
END_TEST

START_TEST(a_disk_keeps_its_content_from_one_guest_to_the_next)
{
	const char *path = vm_process_file("disk.img", DISK_BYTES);

	/* One queue of eight requests: a power of two of equal lanes, which leave no sector out. */
	vm_process_end(run_disk(path, "fresh ops=200 queues=1 seal", "", NULL));
	check_sealed_file(path, DISK_BYTES / SECTOR);
	vm_process_end(run_disk(path, "check queues=1", "", NULL));
}
END_TEST

START_TEST(several_queues_work_at_once)
{
	vm_process_end(run_disk(vm_process_file("disk.img", DISK_BYTES), "fresh ops=1500 depth=4", "", ",num-queues=4"));
}
END_TEST

START_TEST(discards_and_zeroes_reach_the_file)
{
	const char *path = vm_process_file("disk.img", DISK_BYTES);
	struct vm_process *vm;

	vm = run_disk(path, "fresh ops=1500", ",discard=unmap", "");
	ck_assert_uint_gt(vm_process_number(vm, "flushes, "), 0);
	ck_assert_uint_gt(vm_process_number(vm, "discards, "), 0);
	vm_process_end(vm);
}
END_TEST

START_TEST(a_disk_without_page_cache_works)
{
	const char *path = vm_process_file("disk.img", DISK_BYTES);
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0) {
		printf("skipped: O_DIRECT is not possible under /tmp: %s\n", strerror(errno));
		return;
	}
	close(fd);
	vm_process_end(run_disk(path, "fresh ops=1000", ",cache=none", NULL));
}
END_TEST

START_TEST(a_disk_of_4_kib_blocks_works)
{
	vm_process_end(run_disk(vm_process_file("disk.img", DISK_BYTES), "fresh ops=800", "",
				",logical_block_size=4096,physical_block_size=4096"));
}
END_TEST

START_TEST(a_read_only_disk_refuses_writes_and_stays_as_it_was)
{
	const char *path = vm_process_file("disk.img", DISK_BYTES);
	struct stat before, after;

	ck_assert_int_eq(stat(path, &before), 0);
	vm_process_end(run_disk(path, "fresh ops=300", ",readonly=on", NULL));
	ck_assert_int_eq(stat(path, &after), 0);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	ck_assert_int_eq(after.st_blocks, 0);
}
END_TEST

START_TEST(a_disk_tells_its_serial_number)
{
	struct vm_process *vm;

	vm = run_disk(vm_process_file("disk.img", DISK_BYTES), "ops=1 mib=1", "", ",serial=PAGODA-0123456789-20");
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "blk: serial \"PAGODA-0123456789-20\"\n"));
	vm_process_end(vm);
}
END_TEST

START_TEST(the_entropy_source_gives_random_bytes)
{
	vm_process_run("rng", "", TIMEOUT_MS, "-m 64 -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest disks");
	TCase *tests = tcase_create("disk");

	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, a_disk_holds_what_was_written);
	tcase_add_test(tests, a_disk_keeps_its_content_from_one_guest_to_the_next);
	tcase_add_test(tests, several_queues_work_at_once);
	tcase_add_test(tests, discards_and_zeroes_reach_the_file);
	tcase_add_test(tests, a_disk_without_page_cache_works);
	tcase_add_test(tests, a_disk_of_4_kib_blocks_works);
	tcase_add_test(tests, a_read_only_disk_refuses_writes_and_stays_as_it_was);
	tcase_add_test(tests, a_disk_tells_its_serial_number);
	tcase_add_test(tests, the_entropy_source_gives_random_bytes);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
