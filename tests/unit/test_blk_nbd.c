/* virtio-blk on real NBD servers: qemu-nbd with a qcow2 image, nbdkit's memory disk, errors made by its filters, lost connections. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/test_blk_model.h"

#define EXPORT_SIZE (4u << 20)

static char dir[64], sock[96], uri[160], image[96];
static pid_t server;
static struct guest guest;

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/pagoda-nbd-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", sock);
	snprintf(image, sizeof(image), "%s/disk.qcow2", dir);
}

static void stop_server(void)
{
	if (server > 0) {
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
	server = 0;
	unlink(sock);
}

static void remove_dir(void)
{
	stop_server();
	unlink(image);
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Whether a program is installed; says so if not. */
static bool have(const char *program)
{
	char command[128];
	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", program);
	if (system(command) == 0)
		return true;
	fprintf(stderr, "skipped: %s is not installed\n", program);
	return false;
}

/* Starts a server that stays in the foreground, and waits for its socket. */
static void start_server(const char *const argv[])
{
	server = fork();
	ck_assert_int_ge(server, 0);
	if (server == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, STDERR_FILENO); /* injected errors would fill the log */
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	struct stat st;
	for (unsigned i = 0; i < 1000 && stat(sock, &st); i++)
		usleep(10000);
	ck_assert_int_eq(stat(sock, &st), 0);
}

static void start_memory_server(void)
{
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "memory", "4M", NULL});
}

static struct disk *open_uri(struct disk_params params)
{
	struct disk *disk = NULL;
	struct error err = {0};
	params.filename = uri;
	params.fd = -1;
	int ret = -1;
	/* The socket exists a moment before the server listens. */
	for (unsigned i = 0; i < 100 && ret; i++) {
		ret = disk_open(&params, &disk, &err);
		if (ret)
			usleep(20000);
	}
	ck_assert_msg(ret == 0, "%s", err.text);
	return disk;
}

static void run_model(struct disk *disk, bool discard, bool zeroes, bool check_zeroes)
{
	ck_assert_uint_eq(disk->size, EXPORT_SIZE);
	guest_open(&guest, disk);
	static struct model model;
	model = (struct model){
		.guest = &guest,
		.bytes = calloc(1, EXPORT_SIZE),
		.size = EXPORT_SIZE,
		.block = disk->block_size,
		.misalign = 100,
		.zeroes = zeroes,
		.discard = discard && check_zeroes,
		.seed = model_seed(),
	};
	fprintf(stderr, "PAGODA_SEED=%u\n", model.seed);
	model_run(&model, 3000);
	/* Large requests, scattered by pages and in one piece. */
	struct guest_buf bufs[100];
	for (unsigned i = 0; i < 100; i++)
		bufs[i] = (struct guest_buf){GUEST_DATA_GPA + (99 - i) * 8192, i % 10 == 9 ? 8192 : 4096};
	ck_assert_int_eq(guest_do(&guest, VIRTIO_BLK_T_IN, 8, bufs, 100), VIRTIO_BLK_S_OK);
	uint64_t at = 8 * 512;
	for (unsigned i = 0; i < 100; at += bufs[i++].len)
		ck_assert_mem_eq(guest.bytes + bufs[i].gpa, model.bytes + at, bufs[i].len);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 8, 3 << 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(guest.bytes + GUEST_DATA_GPA, model.bytes + 4096, 3 << 20);
	guest_close(&guest);

	/* And what a new connection finds. */
	guest_open(&guest, open_uri((struct disk_params){0}));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, EXPORT_SIZE), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(guest.bytes + GUEST_DATA_GPA, model.bytes, EXPORT_SIZE);
	guest_close(&guest);
	free(model.bytes);
}

START_TEST(random_requests_on_a_qcow2_agree_with_a_model)
{
	if (!have("qemu-nbd") || !have("qemu-img"))
		return;
	char command[256];
	snprintf(command, sizeof(command), "qemu-img create -q -f qcow2 %s 4M", image);
	ck_assert_int_eq(system(command), 0);
	start_server((const char *[]){"qemu-nbd", "-k", sock, "-f", "qcow2", "--discard=unmap", "-t", image, NULL});
	struct disk *disk = open_uri((struct disk_params){.discard = true});
	ck_assert(disk->can_flush && disk->can_discard && disk->can_write_zeroes);
	ck_assert_str_eq(disk->driver, "nbd");
	run_model(disk, true, true, false);
	stop_server();
	snprintf(command, sizeof(command), "qemu-img check -q %s", image);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(random_requests_on_a_memory_disk_agree_with_a_model)
{
	if (!have("nbdkit"))
		return;
	start_memory_server();
	run_model(open_uri((struct disk_params){.discard = true}), true, true, true);
}
END_TEST

START_TEST(a_server_without_zero_trim_flush_or_fua_is_served_without_them)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=nozero", "--filter=fua", "memory", "4M", NULL});
	struct disk *disk = open_uri((struct disk_params){0});
	ck_assert(!disk->can_write_zeroes && !disk->can_discard);
	run_model(disk, false, false, false);
}
END_TEST

START_TEST(write_through_without_fua_flushes_after_each_write)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=fua", "memory", "4M", NULL});
	guest_open_with(&guest, (struct virtio_blk_params){.disk = open_uri((struct disk_params){0}), .write_through = true}, true,
			true);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, i, 65536), VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(small_blocks_that_the_server_refuses_are_not_offered)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=blocksize-policy", "memory", "4M",
				      "blocksize-minimum=4K", "blocksize-preferred=16K", "blocksize-maximum=64K",
				      "blocksize-error-policy=error", NULL});
	struct disk *disk = open_uri((struct disk_params){0});
	ck_assert_uint_eq(disk->block_size, 4096);
	ck_assert_uint_eq(disk->physical_block_size, 16384);
	run_model(disk, false, false, false);
}
END_TEST

START_TEST(errors_of_the_server_become_errors_of_requests)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=error", "memory", "4M", "error=ENOSPC",
				      "error-pwrite-rate=100%", NULL});
	guest_open(&guest, open_uri((struct disk_params){0}));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 65536), VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(some_failing_requests_leave_the_others_alone)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=error", "memory", "4M", "error=EIO", "error-rate=20%",
				      NULL});
	guest_open(&guest, open_uri((struct disk_params){0}));
	unsigned failed = 0;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 32; i++)
			guest_add(&guest, 0, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i * 64,
				  (struct guest_buf[]){{GUEST_DATA_GPA + i * 65536, 4096},
						       {GUEST_DATA_GPA + i * 65536 + 8192, 20480}},
				  2);
		guest_kick(&guest, 0);
		while (guest.queues[0].nr_busy)
			failed += *guest_status(&guest, 0, guest_wait(&guest, 0, NULL)) == VIRTIO_BLK_S_IOERR;
	}
	ck_assert_uint_gt(failed, 0);
	ck_assert_uint_lt(failed, 640);
	guest_close(&guest);
}
END_TEST

START_TEST(a_read_only_export_must_be_opened_so)
{
	if (!have("nbdkit"))
		return;
	start_server((const char *[]){"nbdkit", "-r", "-f", "-U", sock, "memory", "4M", NULL});
	disk_close(open_uri((struct disk_params){.read_only = true}));
	struct disk *disk = NULL;
	struct error err = {0};
	struct disk_params params = {.filename = uri, .fd = -1};
	ck_assert_int_eq(disk_open(&params, &disk, &err), -EROFS);
	ck_assert_ptr_nonnull(strstr(err.text, "readonly=on"));
}
END_TEST

START_TEST(no_server_is_an_error_that_names_the_uri)
{
	struct disk *disk = NULL;
	struct error err = {0};
	struct disk_params params = {.filename = uri, .fd = -1};
	ck_assert_int_lt(disk_open(&params, &disk, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, uri));
	ck_assert_ptr_nonnull(strstr(err.text, "cannot connect"));
}
END_TEST

START_TEST(requests_fail_while_the_server_is_gone_and_work_when_it_is_back)
{
	if (!have("nbdkit"))
		return;
	start_memory_server();
	guest_open(&guest, open_uri((struct disk_params){0}));
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_OK);
	stop_server();
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_IOERR);
	start_memory_server();
	uint8_t status = VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < 500 && status != VIRTIO_BLK_S_OK; i++) {
		usleep(20000);
		status = guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 65536);
	}
	ck_assert_int_eq(status, VIRTIO_BLK_S_OK);
	ck_assert(!virtio_device_failed(guest.dev));
	guest_close(&guest);
}
END_TEST

START_TEST(with_a_reconnect_delay_requests_wait_for_the_server)
{
	if (!have("nbdkit"))
		return;
	/* Slow, so that requests are under way when it dies. */
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "--filter=delay", "memory", "4M", "rdelay=200ms", NULL});
	guest_open(&guest, open_uri((struct disk_params){.reconnect_delay_s = 20}));
	for (unsigned i = 0; i < 40; i++)
		guest_add(&guest, 0, VIRTIO_BLK_T_IN, i * 8, &(struct guest_buf){GUEST_DATA_GPA + i * 4096, 4096}, 1);
	guest_kick(&guest, 0);
	usleep(50000);
	stop_server();
	usleep(50000);
	for (unsigned i = 0; i < 40; i++)
		guest_add(&guest, 0, VIRTIO_BLK_T_OUT, i * 8, &(struct guest_buf){GUEST_DATA_GPA + (1 << 20), 4096}, 1);
	guest_kick(&guest, 0);
	usleep(50000);
	ck_assert_uint_eq(guest.queues[0].nr_busy, 80);
	start_memory_server();
	while (guest.queues[0].nr_busy)
		ck_assert_int_eq(*guest_status(&guest, 0, guest_wait(&guest, 0, NULL)), VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(requests_do_not_wait_for_ever)
{
	if (!have("nbdkit"))
		return;
	start_memory_server();
	guest_open(&guest, open_uri((struct disk_params){.reconnect_delay_s = 1}));
	stop_server();
	/* Some wait, and pausing the machine waits with them. */
	for (unsigned i = 0; i < 10; i++)
		guest_add(&guest, 0, VIRTIO_BLK_T_IN, i * 8, &(struct guest_buf){GUEST_DATA_GPA + i * 4096, 4096}, 1);
	guest_kick(&guest, 0);
	usleep(20000);
	virtio_device_pause(guest.dev);
	virtio_device_resume(guest.dev);
	while (guest.queues[0].nr_busy)
		ck_assert_int_eq(*guest_status(&guest, 0, guest_wait(&guest, 0, NULL)), VIRTIO_BLK_S_IOERR);
	guest_close(&guest);
}
END_TEST

START_TEST(a_server_that_answers_nothing_holds_up_a_pause_only_so_long)
{
	if (!have("nbdkit"))
		return;
	start_memory_server();
	guest_open_with(&guest, (struct virtio_blk_params){.disk = open_uri((struct disk_params){0}), .patience_s = 1}, true, true);
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_OK);
	kill(server, SIGSTOP);
	ck_assert_int_eq(waitpid(server, NULL, WUNTRACED), server);
	/* More than the socket holds: writes wait to be sent, reads to be answered. */
	for (unsigned i = 0; i < 40; i++)
		guest_add(&guest, 0, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 0, &(struct guest_buf){GUEST_DATA_GPA, 65536}, 1);
	guest_kick(&guest, 0);
	usleep(50000);
	virtio_device_pause(guest.dev);
	for (unsigned i = 0; i < 40; i++)
		ck_assert_int_eq(*guest_status(&guest, 0, guest_wait(&guest, 0, NULL)), VIRTIO_BLK_S_IOERR);
	virtio_device_resume(guest.dev);
	/* Another: nbdkit may not survive what became of its connection. */
	stop_server();
	start_memory_server();
	uint8_t status = VIRTIO_BLK_S_IOERR;
	for (unsigned i = 0; i < 500 && status != VIRTIO_BLK_S_OK; i++) {
		usleep(20000);
		status = guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 65536);
	}
	ck_assert_int_eq(status, VIRTIO_BLK_S_OK);
	guest_close(&guest);
}
END_TEST

START_TEST(a_server_that_comes_back_with_another_size_is_not_used)
{
	if (!have("nbdkit"))
		return;
	start_memory_server();
	guest_open(&guest, open_uri((struct disk_params){0}));
	stop_server();
	ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	start_server((const char *[]){"nbdkit", "-f", "-U", sock, "memory", "2M", NULL});
	for (unsigned i = 0; i < 15; i++) {
		usleep(100000);
		ck_assert_int_eq(guest_do_one(&guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_IOERR);
	}
	guest_close(&guest);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("NBD disks");
	TCase *tc = tcase_create("servers");
	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, make_dir, remove_dir);
	tcase_add_test(tc, random_requests_on_a_qcow2_agree_with_a_model);
	tcase_add_test(tc, random_requests_on_a_memory_disk_agree_with_a_model);
	tcase_add_test(tc, a_server_without_zero_trim_flush_or_fua_is_served_without_them);
	tcase_add_test(tc, write_through_without_fua_flushes_after_each_write);
	tcase_add_test(tc, small_blocks_that_the_server_refuses_are_not_offered);
	tcase_add_test(tc, errors_of_the_server_become_errors_of_requests);
	tcase_add_test(tc, some_failing_requests_leave_the_others_alone);
	tcase_add_test(tc, a_read_only_export_must_be_opened_so);
	tcase_add_test(tc, no_server_is_an_error_that_names_the_uri);
	tcase_add_test(tc, requests_fail_while_the_server_is_gone_and_work_when_it_is_back);
	tcase_add_test(tc, with_a_reconnect_delay_requests_wait_for_the_server);
	tcase_add_test(tc, requests_do_not_wait_for_ever);
	tcase_add_test(tc, a_server_that_answers_nothing_holds_up_a_pause_only_so_long);
	tcase_add_test(tc, a_server_that_comes_back_with_another_size_is_not_used);
	suite_add_tcase(suite, tc);

	return suite_run(suite);
}
