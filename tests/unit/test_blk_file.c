/* virtio-blk on real files, buffered and direct, and what opening them refuses. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/test_blk_model.h"

#define IMAGE_SIZE (4u << 20)

static char dir[64], path[96];

static void make_image(void)
{
	snprintf(dir, sizeof(dir), "%s/pagoda-blk-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/disk.img", dir);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, IMAGE_SIZE), 0);
	close(fd);
}

static void remove_image(void)
{
	unlink(path);
	rmdir(dir);
}

static int try_open(struct disk_params params, struct disk **disk, struct error *err)
{
	if (!params.filename)
		params.filename = path;
	*err = (struct error){0};
	return disk_open(&params, disk, err);
}

static struct disk *open_image(struct disk_params params)
{
	struct disk *disk = NULL;
	struct error err;
	params.fd = params.fd ? params.fd : -1;
	ck_assert_msg(try_open(params, &disk, &err) == 0, "%s", err.text);
	return disk;
}

/* Whether the test's file system has direct I/O. */
static bool has_direct(void)
{
	int fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0)
		return false;
	void *buf = aligned_alloc(4096, 4096);
	bool works = pread(fd, buf, 4096, 0) == 4096;
	free(buf);
	close(fd);
	if (!works)
		fprintf(stderr, "skipped: no direct I/O on %s\n", dir);
	return works;
}

/* --- random requests against a model --- */

struct variant {
	const char *name;
	bool direct, discard, event_idx, write_through;
	unsigned nr_queues, nr_threads, misalign;
};

static const struct variant variants[] = {
	{"buffered", .discard = true, .event_idx = true, .nr_queues = 1, .misalign = 511},
	{"buffered, no discard, no event index", .nr_queues = 1},
	{"buffered, write-through", .write_through = true, .event_idx = true, .nr_queues = 1},
	{"direct", .direct = true, .discard = true, .event_idx = true, .nr_queues = 1},
	{"direct, odd buffers", .direct = true, .discard = true, .event_idx = true, .nr_queues = 1, .misalign = 600},
	{"direct, 4 queues on 2 threads", .direct = true, .discard = true, .event_idx = true, .nr_queues = 4, .nr_threads = 2},
	{"buffered, 3 queues on 1 thread", .event_idx = true, .nr_queues = 3, .misalign = 3},
};
#define NR_VARIANTS (sizeof(variants) / sizeof(variants[0]))

START_TEST(random_requests_agree_with_a_model)
{
	const struct variant *v = &variants[_i];
	if (v->direct && !has_direct())
		return;
	struct disk *disk = open_image((struct disk_params){.direct = v->direct, .discard = v->discard});
	static struct guest guest;
	guest_open_with(&guest,
			(struct virtio_blk_params){
				.disk = disk,
				.nr_queues = v->nr_queues,
				.nr_threads = v->nr_threads,
				.write_through = v->write_through,
			},
			v->event_idx, true);
	static struct model model;
	model = (struct model){
		.guest = &guest,
		.bytes = calloc(1, IMAGE_SIZE),
		.size = IMAGE_SIZE,
		.block = disk->block_size,
		.misalign = v->misalign,
		.zeroes = true,
		.discard = v->discard,
		.seed = model_seed() + (unsigned)_i,
	};
	fprintf(stderr, "%s: PAGODA_SEED=%u\n", v->name, model.seed - (unsigned)_i);
	model_run(&model, v->write_through ? 300 : 3000);
	guest_close(&guest);

	FILE *file = fopen(path, "rb");
	uint8_t *found = malloc(IMAGE_SIZE);
	ck_assert_uint_eq(fread(found, 1, IMAGE_SIZE, file), IMAGE_SIZE);
	ck_assert_msg(memcmp(found, model.bytes, IMAGE_SIZE) == 0, "the file differs from the model");
	fclose(file);
	free(found);
	free(model.bytes);
}
END_TEST

/* --- errors while running --- */

START_TEST(reading_past_the_end_of_a_file_that_shrank_fails)
{
	static struct guest guest;
	guest_open(&guest, open_image((struct disk_params){0}));
	ck_assert_int_eq(truncate(path, 8192), 0);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 8192), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 1024, 4096), VIRTIO_BLK_S_IOERR);
	guest_close(&guest);
}
END_TEST

START_TEST(a_write_that_finds_no_room_fails_and_the_device_goes_on)
{
	/* A file size limit stands for a full disk: the same path, without a file system to fill. */
	static struct guest guest;
	guest_open(&guest, open_image((struct disk_params){0}));
	ck_assert_int_eq(truncate(path, 0), 0);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){65536, 65536}), 0);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 1024, 4096), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(a_write_to_a_read_only_file_fails)
{
	struct disk *disk = open_image((struct disk_params){.read_only = true});
	ck_assert(disk->read_only && !disk->can_write_zeroes && !disk->can_discard);
	static struct guest guest;
	guest_open(&guest, disk);
	ck_assert(virtio_blk_read_only(guest.dev));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(discard_gives_space_back_and_zeroes_read_as_zero)
{
	static struct guest guest;
	guest_open(&guest, open_image((struct disk_params){.discard = true}));
	memset(guest.bytes + GUEST_DATA_GPA, 0xaa, 1 << 20);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 1 << 20), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	struct stat before, after;
	stat(path, &before);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, 0, 1024, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 8, 0), VIRTIO_BLK_S_OK);
	stat(path, &after);
	ck_assert_int_lt(after.st_blocks, before.st_blocks);
	ck_assert_int_eq(after.st_size, IMAGE_SIZE);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 1024, 8192), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest.bytes[GUEST_DATA_GPA], 0);
	ck_assert_int_eq(guest.bytes[GUEST_DATA_GPA + 4095], 0);
	ck_assert_int_eq(guest.bytes[GUEST_DATA_GPA + 4096], 0xaa);
	guest_close(&guest);
}
END_TEST

/* --- opening --- */

static void expect_refusal(struct disk_params params, int code, const char *says)
{
	struct disk *disk = NULL;
	struct error err;
	int ret = try_open(params, &disk, &err);
	ck_assert_int_eq(ret, -code);
	ck_assert_ptr_null(disk);
	ck_assert_msg(strstr(err.text, says) != NULL, "\"%s\" does not say \"%s\"", err.text, says);
}

START_TEST(files_that_cannot_be_disks_are_refused)
{
	expect_refusal((struct disk_params){.filename = "/nonexistent/disk.img", .fd = -1}, ENOENT, "/nonexistent/disk.img");
	expect_refusal((struct disk_params){.filename = "/dev/zero", .fd = -1}, EINVAL,
		       "neither a regular file nor a block device");
	expect_refusal((struct disk_params){.filename = dir, .fd = -1, .read_only = true}, EINVAL, "neither");
	expect_refusal((struct disk_params){.filename = dir, .fd = -1}, EISDIR, dir);
	expect_refusal((struct disk_params){.filename = "fd", .fd = 999}, EBADF, "999");
	char fifo[128];
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	expect_refusal((struct disk_params){.filename = fifo, .fd = -1, .read_only = true}, EINVAL, "neither");
	unlink(fifo);
}
END_TEST

START_TEST(an_image_cannot_be_opened_twice_for_writing)
{
	struct disk *first = open_image((struct disk_params){0});
	expect_refusal((struct disk_params){.fd = -1}, EBUSY, "in use by another process");
	expect_refusal((struct disk_params){.fd = -1, .read_only = true}, EBUSY, "in use");
	disk_close(open_image((struct disk_params){.shared = true}));
	disk_close(first);
	disk_close(open_image((struct disk_params){0}));
}
END_TEST

START_TEST(readers_may_share_an_image)
{
	struct disk *first = open_image((struct disk_params){.read_only = true});
	struct disk *second = open_image((struct disk_params){.read_only = true});
	expect_refusal((struct disk_params){.fd = -1}, EBUSY, "in use");
	disk_close(first);
	disk_close(second);
}
END_TEST

START_TEST(an_inherited_descriptor_works_like_a_path)
{
	int fd = open(path, O_RDWR | O_APPEND | O_NONBLOCK);
	struct disk *disk = open_image((struct disk_params){.fd = fd, .filename = "fd 7"});
	ck_assert_str_eq(disk->name, "fd 7");
	static struct guest guest;
	guest_open(&guest, disk);
	guest.bytes[GUEST_DATA_GPA] = 0x77;
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 8, 512), VIRTIO_BLK_S_OK);
	guest_close(&guest);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	struct stat st;
	stat(path, &st);
	ck_assert_int_eq(st.st_size, IMAGE_SIZE);
	fd = open(path, O_RDONLY);
	uint8_t byte = 0;
	ck_assert_int_eq(pread(fd, &byte, 1, 4096), 1);
	ck_assert_int_eq(byte, 0x77);
	/* It must be open for what we want; a refused one stays the caller's. */
	expect_refusal((struct disk_params){.fd = fd, .filename = "fd 7"}, EACCES, "readonly=on");
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(a_size_that_is_no_multiple_of_512_is_rounded_down)
{
	ck_assert_int_eq(truncate(path, 10000), 0);
	struct disk *disk = open_image((struct disk_params){0});
	ck_assert_uint_eq(disk->size, 9728);
	disk_close(disk);
}
END_TEST

START_TEST(an_empty_file_is_a_disk_without_sectors)
{
	ck_assert_int_eq(truncate(path, 0), 0);
	static struct guest guest;
	guest_open(&guest, open_image((struct disk_params){0}));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	guest_close(&guest);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("disk files");
	TCase *tc = tcase_create("model");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, make_image, remove_image);
	tcase_add_loop_test(tc, random_requests_agree_with_a_model, 0, NR_VARIANTS);
	suite_add_tcase(suite, tc);

	tc = tcase_create("files");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, make_image, remove_image);
	tcase_add_test(tc, reading_past_the_end_of_a_file_that_shrank_fails);
	tcase_add_test(tc, a_write_that_finds_no_room_fails_and_the_device_goes_on);
	tcase_add_test(tc, a_write_to_a_read_only_file_fails);
	tcase_add_test(tc, discard_gives_space_back_and_zeroes_read_as_zero);
	tcase_add_test(tc, files_that_cannot_be_disks_are_refused);
	tcase_add_test(tc, an_image_cannot_be_opened_twice_for_writing);
	tcase_add_test(tc, readers_may_share_an_image);
	tcase_add_test(tc, an_inherited_descriptor_works_like_a_path);
	tcase_add_test(tc, a_size_that_is_no_multiple_of_512_is_rounded_down);
	tcase_add_test(tc, an_empty_file_is_a_disk_without_sectors);
	suite_add_tcase(suite, tc);

	return suite_run(suite);
}
