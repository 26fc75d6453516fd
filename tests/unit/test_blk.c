/* virtio-blk against a disk in memory: what a guest may ask, what it may not, and the device's life cycle. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/test_blk_disk.h"
#include "tests/unit/test_blk_driver.h"

#define DISK_SIZE (1u << 20)
#define DATA(g) ((g)->bytes + GUEST_DATA_GPA)

static struct guest guest;
static struct fake_disk *fake;

static void open_fake(void)
{
	fake = fake_disk_new(DISK_SIZE);
	guest_open(&guest, &fake->disk);
}

static void open_deferred(void)
{
	fake = fake_disk_new(DISK_SIZE);
	fake->deferred = true;
	guest_open(&guest, &fake->disk);
}

static void close_guest(void)
{
	guest_close(&guest);
}

static struct virtio_blk_config config_of(struct virtio_device *dev)
{
	struct virtio_blk_config config = {0};
	virtio_device_config_read(dev, 0, &config, sizeof(config));
	return config;
}

/* --- good requests --- */

START_TEST(what_is_written_is_read_back)
{
	memset(DATA(&guest), 0x5a, 4096);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->bytes[8 * 512], 0x5a);
	ck_assert_int_eq(fake->bytes[16 * 512], 0);
	memset(DATA(&guest), 0, 4096);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 4096; i++)
		ck_assert_int_eq(DATA(&guest)[i], 0x5a);
}
END_TEST

START_TEST(a_read_returns_the_length_of_data_and_status)
{
	unsigned slot = guest_add(&guest, 0, VIRTIO_BLK_T_IN, 0, &(struct guest_buf){GUEST_DATA_GPA, 1024}, 1);
	guest_kick(&guest, 0);
	uint32_t len;
	ck_assert_uint_eq(guest_wait(&guest, 0, &len), slot);
	ck_assert_uint_eq(len, 1025);
}
END_TEST

START_TEST(a_request_may_be_scattered_over_many_odd_buffers)
{
	struct guest_buf bufs[60];
	uint32_t left = 16384;
	uint64_t gpa = GUEST_DATA_GPA;
	for (unsigned i = 0; i < 60; i++) {
		uint32_t len = i == 59 ? left : 1 + i * 7;
		bufs[i] = (struct guest_buf){gpa, len};
		for (uint32_t j = 0; j < len; j++)
			guest.bytes[gpa + j] = (uint8_t)(i + j);
		gpa += len + 13;
		left -= len;
	}
	ck_assert_int_eq(guest_do(&guest, VIRTIO_BLK_T_OUT, 3, bufs, 60), VIRTIO_BLK_S_OK);
	const uint8_t *at = fake->bytes + 3 * 512;
	for (unsigned i = 0; i < 60; i++)
		for (uint32_t j = 0; j < bufs[i].len; j++)
			ck_assert_int_eq(*at++, (uint8_t)(i + j));
	memset(DATA(&guest), 0, 1 << 20);
	ck_assert_int_eq(guest_do(&guest, VIRTIO_BLK_T_IN, 3, bufs, 60), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 60; i++)
		for (uint32_t j = 0; j < bufs[i].len; j++)
			ck_assert_int_eq(guest.bytes[bufs[i].gpa + j], (uint8_t)(i + j));
}
END_TEST

START_TEST(header_and_status_may_share_buffers_with_data)
{
	/* One buffer of header and data, one of the tail of the data; status at the end of a buffer that was data. */
	struct vring_desc *desc = guest.queues[0].desc;
	uint64_t gpa = GUEST_DATA_GPA;
	struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT, .sector = 1};
	memcpy(guest.bytes + gpa, &header, 16);
	memset(guest.bytes + gpa + 16, 7, 512);
	guest.bytes[gpa + 600] = 0xff;
	desc[0] = (struct vring_desc){.addr = gpa, .len = 9, .flags = VRING_DESC_F_NEXT, .next = 1};
	desc[1] = (struct vring_desc){.addr = gpa + 9, .len = 107, .flags = VRING_DESC_F_NEXT, .next = 2};
	desc[2] = (struct vring_desc){.addr = gpa + 116, .len = 412, .flags = VRING_DESC_F_NEXT, .next = 3};
	desc[3] = (struct vring_desc){.addr = gpa + 600, .len = 1, .flags = VRING_DESC_F_WRITE};
	guest.queues[0].busy[0] = true;
	guest_announce(&guest, 0, 0);
	guest_kick(&guest, 0);
	guest_wait(&guest, 0, NULL);
	ck_assert_int_eq(guest.bytes[gpa + 600], VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->bytes[512], 7);
	ck_assert_int_eq(fake->bytes[1023], 7);

	header.type = VIRTIO_BLK_T_IN;
	memcpy(guest.bytes + gpa, &header, 16);
	memset(guest.bytes + gpa + 16, 0, 600);
	desc[0] = (struct vring_desc){.addr = gpa, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1};
	desc[1] = (struct vring_desc){.addr = gpa + 16, .len = 513, .flags = VRING_DESC_F_WRITE};
	guest.bytes[gpa + 16 + 512] = 0xff;
	guest.queues[0].busy[0] = true;
	guest_announce(&guest, 0, 0);
	guest_kick(&guest, 0);
	guest_wait(&guest, 0, NULL);
	ck_assert_int_eq(guest.bytes[gpa + 16], 7);
	ck_assert_int_eq(guest.bytes[gpa + 16 + 511], 7);
	ck_assert_int_eq(guest.bytes[gpa + 16 + 512], VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(a_request_without_data_does_nothing_and_succeeds)
{
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 5, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 5, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->nr[DISK_READ] + fake->nr[DISK_WRITE], 0);
}
END_TEST

START_TEST(flush_discard_and_write_zeroes_reach_the_disk)
{
	memset(fake->bytes, 1, DISK_SIZE);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_WRITE_ZEROES, 32, 1, 1), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->nr[DISK_FLUSH], 1);
	ck_assert_int_eq(fake->nr[DISK_DISCARD], 1);
	ck_assert_int_eq(fake->nr[DISK_WRITE_ZEROES], 1);
	ck_assert_int_eq(fake->bytes[8 * 512], 0);
	ck_assert_int_eq(fake->bytes[16 * 512], 1);
	ck_assert_int_eq(fake->bytes[32 * 512], 0);
	ck_assert_int_eq(fake->bytes[33 * 512], 1);
}
END_TEST

START_TEST(the_serial_number_is_told)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk, .serial = "pagoda-1"}, true, true);
	memset(DATA(&guest), 0xee, 32);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(DATA(&guest), "pagoda-1\0\0\0\0\0\0\0\0\0\0\0\0\xee", 21);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_GET_ID, 0, 4), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(what_was_done_is_counted)
{
	guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 4096);
	guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 1024);
	guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 1024);
	guest_do_one(&guest, 99, 0, 512);
	fake->fail_code = EIO;
	guest_do_one(&guest, VIRTIO_BLK_T_FLUSH, 0, 0);
	struct virtio_blk_stats stats;
	virtio_blk_get_stats(guest.dev, &stats);
	ck_assert_uint_eq(stats.ops[DISK_WRITE], 1);
	ck_assert_uint_eq(stats.bytes[DISK_WRITE], 4096);
	ck_assert_uint_eq(stats.ops[DISK_READ], 2);
	ck_assert_uint_eq(stats.bytes[DISK_READ], 2048);
	ck_assert_uint_eq(stats.invalid, 1);
	ck_assert_uint_eq(stats.ops[DISK_FLUSH], 0);
	ck_assert_uint_eq(stats.errors[DISK_FLUSH], 1);
}
END_TEST

/* --- config and features --- */

START_TEST(config_space_tells_size_and_limits)
{
	struct virtio_blk_config config = config_of(guest.dev);
	ck_assert_uint_eq(config.capacity, DISK_SIZE / 512);
	ck_assert_uint_eq(config.seg_max, GUEST_SLOTS - 2);
	ck_assert_uint_eq(config.blk_size, 512);
	ck_assert_uint_eq(config.physical_block_exp, 3);
	ck_assert_uint_eq(config.max_discard_seg, 1);
	ck_assert_uint_eq(config.wce, 1);
}
END_TEST

START_TEST(the_driver_can_choose_the_write_cache_and_nothing_else)
{
	struct virtio_blk_config before = config_of(guest.dev);
	uint8_t junk[VIRTIO_CONFIG_MAX];
	memset(junk, 0xfe, sizeof(junk));
	virtio_device_config_write(guest.dev, 0, junk, sizeof(junk));
	struct virtio_blk_config after = config_of(guest.dev);
	ck_assert_uint_eq(after.wce, 0);
	after.wce = before.wce;
	ck_assert_mem_eq(&before, &after, sizeof(before));
	ck_assert(!virtio_blk_write_cache(guest.dev));
	guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512);
	ck_assert_uint_eq(fake->nr_durable, 1);

	uint8_t on = 1;
	virtio_device_config_write(guest.dev, offsetof(struct virtio_blk_config, wce), &on, 1);
	guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512);
	ck_assert_uint_eq(fake->nr_durable, 1);
}
END_TEST

START_TEST(without_a_write_cache_writes_are_durable)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk, .write_through = true}, true, true);
	ck_assert(!(guest.dev->features_offered >> VIRTIO_BLK_F_FLUSH & 1));
	guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512);
	ck_assert_uint_eq(fake->nr_durable, 1);
}
END_TEST

static int create_error(struct virtio_blk_params params, struct error *err)
{
	struct guest_ram *ram = guest_make_ram();
	struct virtio_device *dev = NULL;
	params.name = "virtio-blk1";
	*err = (struct error){0};
	int ret = virtio_blk_create(&params, ram, &dev, err);
	ck_assert_ptr_null(dev);
	ck_assert(ret == -err->code && err->text[0]);
	guest_ram_destroy(ram);
	return ret;
}

START_TEST(wrong_options_are_refused_by_name)
{
	struct error err;
	struct fake_disk *disk = fake_disk_new(DISK_SIZE);
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .queue_size = 100}, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "queue-size=100"));
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .queue_size = 2}, &err), -EINVAL);
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .nr_queues = 1000}, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "num-queues=1000"));
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .serial = "123456789012345678901"}, &err),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "serial"));
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .logical_block_size = 1000}, &err), -EINVAL);
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk,
								 .logical_block_size = 4096,
								 .physical_block_size = 512},
				      &err),
			 -EINVAL);
	disk->disk.block_size = 4096;
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .logical_block_size = 512}, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "4096"));
	fake_close(&disk->disk);
}
END_TEST

/* Has the kernel refuse io_uring to this process, as a container's filter would. */
static void refuse_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(without_io_uring_the_error_says_what_to_do)
{
	struct error err;
	struct fake_disk *disk = fake_disk_new(DISK_SIZE);
	refuse_io_uring();
	ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk}, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.text, "kernel.io_uring_disabled"));
	fake_close(&disk->disk);
}
END_TEST

START_TEST(a_device_that_cannot_have_its_descriptors_is_not_made)
{
	/* Each number of free descriptors fails at another step, and leaves nothing behind. */
	struct error err;
	struct fake_disk *disk = fake_disk_new(DISK_SIZE);
	int first = dup(0);
	close(first);
	for (int room = 0; room < 4; room++) {
		struct rlimit limit = {(rlim_t)(first + room), 4096};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_int_eq(create_error((struct virtio_blk_params){.disk = &disk->disk, .nr_queues = 2}, &err), -EMFILE);
		ck_assert_ptr_nonnull(strstr(err.text, "ulimit -n"));
	}
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
	int again = dup(0);
	ck_assert_int_eq(again, first);
	close(again);
	fake_close(&disk->disk);
}
END_TEST

/* --- bad requests --- */

START_TEST(requests_beyond_the_end_fail)
{
	uint64_t end = DISK_SIZE / 512;
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, end, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, end - 1, 1024), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, UINT64_MAX / 512, 1024), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 1ull << 55, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, end - 1, 512), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->nr[DISK_WRITE], 0);
}
END_TEST

START_TEST(data_that_is_no_whole_number_of_sectors_fails)
{
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 513), VIRTIO_BLK_S_IOERR);
}
END_TEST

START_TEST(requests_must_match_the_logical_block_size)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE + 512);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk, .logical_block_size = 4096}, true, true);
	ck_assert_uint_eq(config_of(guest.dev).capacity, DISK_SIZE / 512);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 1, 4096), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, DISK_SIZE / 512, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(unknown_types_are_unsupported)
{
	ck_assert_int_eq(guest_do_one(&guest, 2, 0, 512), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_one(&guest, 14, 0, 16), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_one(&guest, 0x80000000u, 0, 512), VIRTIO_BLK_S_UNSUPP);
}
END_TEST

START_TEST(bad_discard_and_write_zeroes_segments_fail)
{
	uint64_t end = DISK_SIZE / 512;
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, end, 1, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_OK);
	/* No segment, half a segment, two. */
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_DISCARD, 0, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_DISCARD, 0, 8), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(fake->nr[DISK_DISCARD] + fake->nr[DISK_WRITE_ZEROES], 0);
}
END_TEST

START_TEST(a_read_only_disk_cannot_be_changed)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk, .read_only = true}, true, true);
	ck_assert(guest.dev->features_offered >> VIRTIO_BLK_F_RO & 1);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_range(&guest, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(fake->nr[DISK_WRITE] + fake->nr[DISK_DISCARD] + fake->nr[DISK_WRITE_ZEROES] + fake->nr[DISK_FLUSH], 0);
}
END_TEST

/* Announces a chain made by hand in the descriptor table. */
static void announce_broken(void)
{
	guest_announce(&guest, 0, 0);
	guest_kick(&guest, 0);
	guest_wait_failed(&guest);
	/* And after a reset it works again. */
	virtio_device_set_status(guest.dev, 0);
	guest_probe(&guest);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
}

START_TEST(a_chain_without_status_breaks_the_device_until_reset)
{
	guest.queues[0].desc[0] = (struct vring_desc){.addr = GUEST_DATA_GPA, .len = 528};
	announce_broken();
}
END_TEST

START_TEST(a_chain_with_a_short_header_breaks_the_device_until_reset)
{
	guest.queues[0].desc[0] = (struct vring_desc){.addr = GUEST_DATA_GPA, .len = 15, .flags = VRING_DESC_F_NEXT, .next = 1};
	guest.queues[0].desc[1] = (struct vring_desc){.addr = GUEST_DATA_GPA + 100, .len = 1, .flags = VRING_DESC_F_WRITE};
	announce_broken();
}
END_TEST

START_TEST(a_chain_with_only_a_status_breaks_the_device_until_reset)
{
	guest.queues[0].desc[0] = (struct vring_desc){.addr = GUEST_DATA_GPA, .len = 1, .flags = VRING_DESC_F_WRITE};
	announce_broken();
}
END_TEST

START_TEST(a_buffer_outside_ram_breaks_the_device_until_reset)
{
	guest.queues[0].desc[0] = (struct vring_desc){.addr = GUEST_RAM_SIZE - 8, .len = 16};
	announce_broken();
}
END_TEST

START_TEST(an_avail_index_that_jumps_breaks_the_device_until_reset)
{
	guest.queues[0].avail_idx = 3 * GUEST_SLOTS;
	announce_broken();
}
END_TEST

/* --- errors of the disk --- */

START_TEST(an_error_of_the_disk_becomes_an_error_of_the_request)
{
	static const int codes[] = {EIO, ENOSPC, ENODATA, ENOTCONN, EFBIG, ENOMEM};
	for (unsigned i = 0; i < 6; i++) {
		fake->fail_code = codes[i];
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_IOERR);
	}
	fake->fail_code = 0;
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	ck_assert(!virtio_device_failed(guest.dev));
}
END_TEST

/* --- many at once --- */

static void add_reads(unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		guest_add(&guest, 0, VIRTIO_BLK_T_IN, i, &(struct guest_buf){GUEST_DATA_GPA + i * 512, 512}, 1);
}

START_TEST(a_batch_is_taken_with_one_kick_and_answered_with_few_interrupts)
{
	add_reads(64);
	guest_kick(&guest, 0);
	while (guest.queues[0].nr_busy)
		guest_wait(&guest, 0, NULL);
	ck_assert_uint_eq(guest.nr_kicks, 1);
	ck_assert_uint_le(guest.nr_interrupts, 3);
	ck_assert_uint_eq(fake->nr[DISK_READ], 64);
}
END_TEST

START_TEST(requests_may_complete_in_any_order)
{
	for (unsigned i = 0; i < DISK_SIZE / 512; i++)
		memset(fake->bytes + i * 512, (int)i, 512);
	for (unsigned round = 0; round < 20; round++) {
		add_reads(GUEST_SLOTS);
		guest_kick(&guest, 0);
		while (guest.queues[0].nr_busy)
			ck_assert_int_eq(*guest_status(&guest, 0, guest_wait(&guest, 0, NULL)), VIRTIO_BLK_S_OK);
		for (unsigned i = 0; i < GUEST_SLOTS; i++)
			ck_assert_int_eq(DATA(&guest)[i * 512], (uint8_t)i);
		memset(DATA(&guest), 0xcc, GUEST_SLOTS * 512);
	}
}
END_TEST

START_TEST(a_guest_cannot_have_more_in_flight_than_its_queue_holds)
{
	/* The same request again and again, faster than the ring can hold by right. */
	unsigned slot = guest_add(&guest, 0, VIRTIO_BLK_T_IN, 0, &(struct guest_buf){GUEST_DATA_GPA, 512}, 1);
	struct guest_queue *gq = &guest.queues[0];
	unsigned total = 1;
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < GUEST_SLOTS / 2; i++, total++)
			guest_announce(&guest, 0, (uint16_t)slot);
		virtio_device_kick(guest.dev, 0);
		/* As far ahead as the device lets us without calling the ring broken. */
		while ((uint16_t)(gq->avail_idx - guest_load16(&gq->used->idx)) > GUEST_SLOTS / 2)
			sched_yield();
	}
	while (guest_load16(&gq->used->idx) != (uint16_t)total)
		sched_yield();
	ck_assert_uint_le(fake->most_in_flight, GUEST_SLOTS);
}
END_TEST

START_TEST(two_queues_on_two_threads_work_side_by_side)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk, .nr_queues = 2, .nr_threads = 2}, true, true);
	ck_assert_uint_eq(config_of(guest.dev).num_queues, 2);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned queue = 0; queue < 2; queue++) {
			guest_add(&guest, queue, VIRTIO_BLK_T_IN, queue, &(struct guest_buf){GUEST_DATA_GPA + queue * 512, 512}, 1);
			guest_kick(&guest, queue);
		}
		for (unsigned queue = 0; queue < 2; queue++)
			ck_assert_int_eq(*guest_status(&guest, queue, guest_wait(&guest, queue, NULL)), VIRTIO_BLK_S_OK);
	}
}
END_TEST

/* --- life cycle --- */

START_TEST(pausing_drains_what_is_in_flight)
{
	for (unsigned round = 0; round < 50; round++) {
		add_reads(32);
		guest_kick(&guest, 0);
		virtio_device_pause(guest.dev);
		/* All that was taken is answered, and nothing moves any more. */
		uint16_t used = guest_load16(&guest.queues[0].used->idx);
		ck_assert_uint_eq(used, guest.dev->queues[0].last_avail);
		guest_kick(&guest, 0);
		virtio_device_kick(guest.dev, 0);
		sched_yield();
		ck_assert_uint_eq(guest_load16(&guest.queues[0].used->idx), used);
		virtio_device_resume(guest.dev);
		while (guest.queues[0].nr_busy)
			guest_wait(&guest, 0, NULL);
	}
}
END_TEST

START_TEST(state_is_saved_and_loaded)
{
	uint8_t off = 0;
	virtio_device_config_write(guest.dev, offsetof(struct virtio_blk_config, wce), &off, 1);
	guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512);
	virtio_device_pause(guest.dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(guest.dev, w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_destroy(guest.dev);

	/* A new device over the same RAM goes on where the old one stopped. */
	fake = fake_disk_new(DISK_SIZE);
	struct virtio_blk_params params = {.name = "virtio-blk0", .disk = &fake->disk, .queue_size = GUEST_SLOTS};
	ck_assert_int_eq(virtio_blk_create(&params, guest.ram, &guest.dev, NULL), 0);
	guest.dev->transport = &guest.transport;
	virtio_device_pause(guest.dev);
	struct state_reader *r;
	struct error err = {0};
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	ck_assert_msg(virtio_device_load(guest.dev, r, &err) == 0, "%s", err.text);
	state_reader_free(r);
	virtio_device_resume(guest.dev);
	ck_assert(!virtio_blk_write_cache(guest.dev));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);

	/* A disk of another size is refused. */
	virtio_device_destroy(guest.dev);
	fake = fake_disk_new(DISK_SIZE * 2);
	params.disk = &fake->disk;
	ck_assert_int_eq(virtio_blk_create(&params, guest.ram, &guest.dev, NULL), 0);
	virtio_device_pause(guest.dev);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	ck_assert_int_eq(virtio_device_load(guest.dev, r, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "size"));
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(destroying_closes_the_disk)
{
	static atomic_bool closed;
	fake->closed = &closed;
	add_reads(10);
	guest_kick(&guest, 0);
	guest_close(&guest);
	ck_assert(closed);
	open_fake();
}
END_TEST

START_TEST(a_driver_without_event_index_or_indirect_tables_is_served)
{
	guest_close(&guest);
	fake = fake_disk_new(DISK_SIZE);
	guest_open_with(&guest, (struct virtio_blk_params){.disk = &fake->disk}, false, false);
	struct guest_buf bufs[100];
	for (unsigned i = 0; i < 100; i++)
		bufs[i] = (struct guest_buf){GUEST_DATA_GPA + i * 1024, 512};
	for (unsigned round = 0; round < 50; round++) {
		ck_assert_int_eq(guest_do(&guest, VIRTIO_BLK_T_OUT, round, bufs, 100), VIRTIO_BLK_S_OK);
		ck_assert_int_eq(guest_do(&guest, VIRTIO_BLK_T_IN, round, bufs, 100), VIRTIO_BLK_S_OK);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtio-blk");
	TCase *tc = tcase_create("requests");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, open_fake, close_guest);
	tcase_add_test(tc, what_is_written_is_read_back);
	tcase_add_test(tc, a_read_returns_the_length_of_data_and_status);
	tcase_add_test(tc, a_request_may_be_scattered_over_many_odd_buffers);
	tcase_add_test(tc, header_and_status_may_share_buffers_with_data);
	tcase_add_test(tc, a_request_without_data_does_nothing_and_succeeds);
	tcase_add_test(tc, flush_discard_and_write_zeroes_reach_the_disk);
	tcase_add_test(tc, the_serial_number_is_told);
	tcase_add_test(tc, what_was_done_is_counted);
	tcase_add_test(tc, config_space_tells_size_and_limits);
	tcase_add_test(tc, the_driver_can_choose_the_write_cache_and_nothing_else);
	tcase_add_test(tc, without_a_write_cache_writes_are_durable);
	tcase_add_test(tc, wrong_options_are_refused_by_name);
	tcase_add_test(tc, without_io_uring_the_error_says_what_to_do);
	tcase_add_test(tc, a_device_that_cannot_have_its_descriptors_is_not_made);
	tcase_add_test(tc, requests_beyond_the_end_fail);
	tcase_add_test(tc, data_that_is_no_whole_number_of_sectors_fails);
	tcase_add_test(tc, requests_must_match_the_logical_block_size);
	tcase_add_test(tc, unknown_types_are_unsupported);
	tcase_add_test(tc, bad_discard_and_write_zeroes_segments_fail);
	tcase_add_test(tc, a_read_only_disk_cannot_be_changed);
	tcase_add_test(tc, a_chain_without_status_breaks_the_device_until_reset);
	tcase_add_test(tc, a_chain_with_a_short_header_breaks_the_device_until_reset);
	tcase_add_test(tc, a_chain_with_only_a_status_breaks_the_device_until_reset);
	tcase_add_test(tc, a_buffer_outside_ram_breaks_the_device_until_reset);
	tcase_add_test(tc, an_avail_index_that_jumps_breaks_the_device_until_reset);
	tcase_add_test(tc, an_error_of_the_disk_becomes_an_error_of_the_request);
	tcase_add_test(tc, two_queues_on_two_threads_work_side_by_side);
	tcase_add_test(tc, state_is_saved_and_loaded);
	tcase_add_test(tc, destroying_closes_the_disk);
	tcase_add_test(tc, a_driver_without_event_index_or_indirect_tables_is_served);
	suite_add_tcase(suite, tc);

	TCase *deferred = tcase_create("many at once");
	tcase_set_timeout(deferred, 60);
	tcase_add_checked_fixture(deferred, open_deferred, close_guest);
	tcase_add_test(deferred, a_batch_is_taken_with_one_kick_and_answered_with_few_interrupts);
	tcase_add_test(deferred, requests_may_complete_in_any_order);
	tcase_add_test(deferred, a_guest_cannot_have_more_in_flight_than_its_queue_holds);
	tcase_add_test(deferred, pausing_drains_what_is_in_flight);
	tcase_add_test(deferred, destroying_closes_the_disk);
	suite_add_tcase(suite, deferred);

	return suite_run(suite);
}
