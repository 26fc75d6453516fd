/* The entropy device and, with it, the worker: bytes come, limits hold, and a broken source or guest stops the device only. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/suite.h"
#include "tests/unit/virtio_driver.h"
#include "virtio/rng.h"
#include "virtio/worker.h"

#define RAM_SIZE (1u << 20)
#define RINGS 0x1000
#define BUFFER 0x20000
#define VERSION_1 (1ull << 32)
#define EVENT_IDX (1ull << 29)

static struct guest_ram *ram;
static struct virtio_device *dev;
static struct driver_queue dq;

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	dev = NULL;
}

static void tear_down(void)
{
	virtio_device_destroy(dev);
	guest_ram_destroy(ram);
}

static void create(const char *filename, uint64_t max_bytes, uint32_t period_ms)
{
	const struct virtio_rng_params params = {
		.name = "rng0", .filename = filename, .max_bytes = max_bytes, .period_ms = period_ms};
	struct error err = {0};
	ck_assert_msg(virtio_rng_create(&params, ram, &dev, &err) == 0, "%s", err.text);
}

static void bring_up(uint64_t features)
{
	driver_negotiate(dev, VERSION_1 | features);
	driver_queue_init(&dq, ram, RINGS, 8);
	driver_enable_queue(dev, 0, &dq);
	driver_ok(dev);
}

static void ask(uint32_t len)
{
	driver_desc(&dq, 0, BUFFER, len, DRIVER_WRITE, 0);
	driver_offer(&dq, 0);
	virtio_device_kick(dev, 0);
}

static uint32_t answer(void)
{
	uint32_t id, len;
	ck_assert(driver_wait(&dq, &id, &len));
	ck_assert_uint_eq(id, 0);
	return len;
}

START_TEST(requests_are_filled_with_random_bytes)
{
	create(NULL, 0, 0);
	bring_up(_i ? EVENT_IDX : 0);
	uint8_t seen[64], zero[64] = {0};
	for (unsigned i = 0; i < 200; i++) {
		ask(64);
		ck_assert_uint_eq(answer(), 64);
		uint8_t now[64];
		guest_ram_read(ram, BUFFER, now, sizeof(now));
		ck_assert(memcmp(now, zero, sizeof(now)) != 0);
		ck_assert(i == 0 || memcmp(now, seen, sizeof(now)) != 0);
		memcpy(seen, now, sizeof(now));
	}
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

START_TEST(a_long_request_gets_what_fits_at_once)
{
	create("/dev/urandom", 0, 0);
	bring_up(0);
	ask(100000);
	uint32_t len = answer();
	ck_assert_uint_ge(len, 1);
	ck_assert_uint_le(len, 100000);
}
END_TEST

START_TEST(requests_survive_pause_and_resume)
{
	create(NULL, 0, 0);
	bring_up(EVENT_IDX);
	for (unsigned i = 0; i < 50; i++) {
		virtio_device_pause(dev);
		uint32_t id, len;
		ask(16);
		ck_assert(!driver_take(&dq, &id, &len));
		virtio_device_resume(dev);
		ck_assert_uint_eq(answer(), 16);
	}
}
END_TEST

START_TEST(the_rate_limit_holds)
{
	create(NULL, 100, 200);
	bring_up(EVENT_IDX);
	long long begin = driver_now_ms();
	uint32_t total = 0;
	while (total < 350) {
		ask(64);
		uint32_t len = answer();
		ck_assert_uint_le(len, 64);
		total += len;
	}
	/* 100 at once and 250 in three more periods. */
	ck_assert_int_ge(driver_now_ms() - begin, 550);
	/* And a reset does not fill it up again. */
	bring_up(EVENT_IDX);
	begin = driver_now_ms();
	for (total = 0; total < 150;) {
		ask(64);
		total += answer();
	}
	ck_assert_int_ge(driver_now_ms() - begin, 150);
}
END_TEST

START_TEST(a_source_that_is_slow_is_waited_for)
{
	char path[] = "/tmp/test_rng_XXXXXX";
	ck_assert_ptr_nonnull(mkdtemp(path));
	char fifo[64];
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	int writer = open(fifo, O_RDWR);
	create(fifo, 0, 0);
	bring_up(0);
	ask(64);
	usleep(50000);
	uint32_t id, len;
	ck_assert(!driver_take(&dq, &id, &len));
	virtio_device_pause(dev);
	virtio_device_resume(dev);
	usleep(20000);
	ck_assert(!driver_take(&dq, &id, &len));
	ck_assert_int_eq(write(writer, "abc", 3), 3);
	ck_assert_uint_eq(answer(), 3);
	char got[3];
	guest_ram_read(ram, BUFFER, got, 3);
	ck_assert(memcmp(got, "abc", 3) == 0);
	close(writer);
	unlink(fifo);
	rmdir(path);
}
END_TEST

START_TEST(a_source_that_ends_fails_the_device)
{
	create("/dev/null", 0, 0);
	bring_up(0);
	ask(64);
	ck_assert(driver_wait_failed(dev));
	bring_up(0);
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

START_TEST(a_source_that_cannot_be_opened_is_named)
{
	const struct virtio_rng_params params = {.name = "rng7", .filename = "/nonexistent/random"};
	struct error err = {0};
	ck_assert_int_eq(virtio_rng_create(&params, ram, &dev, &err), -ENOENT);
	ck_assert(strstr(err.text, "rng7") && strstr(err.text, "/nonexistent/random"));
}
END_TEST

START_TEST(a_limit_without_a_period_is_refused)
{
	const struct virtio_rng_params params = {.name = "rng7", .max_bytes = 5};
	struct error err = {0};
	ck_assert_int_eq(virtio_rng_create(&params, ram, &dev, &err), -EINVAL);
	ck_assert(strstr(err.text, "period") != NULL);
}
END_TEST

START_TEST(a_request_without_room_fails_the_device)
{
	create(NULL, 0, 0);
	bring_up(0);
	driver_desc(&dq, 0, BUFFER, 64, 0, 0);
	driver_offer(&dq, 0);
	virtio_device_kick(dev, 0);
	ck_assert(driver_wait_failed(dev));
}
END_TEST

START_TEST(a_broken_ring_fails_the_device_and_a_reset_heals_it)
{
	create(NULL, 0, 0);
	bring_up(0);
	driver_publish(&dq, 999);
	virtio_device_kick(dev, 0);
	ck_assert(driver_wait_failed(dev));
	bring_up(0);
	ask(8);
	ck_assert_uint_eq(answer(), 8);
}
END_TEST

START_TEST(a_saved_device_goes_on_elsewhere)
{
	create(NULL, 0, 0);
	bring_up(EVENT_IDX);
	ask(8);
	ck_assert_uint_eq(answer(), 8);
	virtio_device_pause(dev);
	ask(24);
	struct state_writer *w = state_writer_new();
	virtio_device_save(dev, w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_destroy(dev);

	create(NULL, 0, 0);
	virtio_device_pause(dev);
	struct state_reader *r;
	struct error err = {0};
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	ck_assert_msg(virtio_device_load(dev, r, &err) == 0, "%s", err.text);
	virtio_device_resume(dev);
	ck_assert_uint_eq(answer(), 24);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(a_worker_stops_at_once_even_if_stopped_before_it_ran)
{
	struct worker w;
	ck_assert_int_eq(worker_init(&w), 0);
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(worker_start(&w, "test-worker"), 0);
		worker_stop(&w);
	}
	worker_fini(&w);
	worker_fini(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtio_rng");
	TCase *tc = tcase_create("rng");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, requests_are_filled_with_random_bytes, 0, 2);
	tcase_add_test(tc, a_long_request_gets_what_fits_at_once);
	tcase_add_test(tc, requests_survive_pause_and_resume);
	tcase_add_test(tc, the_rate_limit_holds);
	tcase_add_test(tc, a_source_that_is_slow_is_waited_for);
	tcase_add_test(tc, a_source_that_ends_fails_the_device);
	tcase_add_test(tc, a_source_that_cannot_be_opened_is_named);
	tcase_add_test(tc, a_limit_without_a_period_is_refused);
	tcase_add_test(tc, a_request_without_room_fails_the_device);
	tcase_add_test(tc, a_broken_ring_fails_the_device_and_a_reset_heals_it);
	tcase_add_test(tc, a_saved_device_goes_on_elsewhere);
	tcase_add_test(tc, a_worker_stops_at_once_even_if_stopped_before_it_ran);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
