/* Devices that cannot be made because memory, descriptors or threads run out: an error with a sentence, and nothing left behind. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/failing_malloc.h"
#include "tests/unit/suite.h"
#include "tests/unit/virtio_driver.h"
#include "virtio/console.h"
#include "virtio/pci.h"
#include "virtio/rng.h"
#include "virtio/vsock.h"

static struct guest_ram *ram;
static char dir[32], path[64];

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = 1 << 20};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	strcpy(dir, "/tmp/test_limits_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
}

static void tear_down(void)
{
	ck_assert_int_eq(rmdir(dir), 0); /* no socket was left there */
	guest_ram_destroy(ram);
}

static int create_rng(struct virtio_device **dev, struct error *err)
{
	const struct virtio_rng_params params = {.name = "dev0", .filename = "/dev/urandom"};
	return virtio_rng_create(&params, ram, dev, err);
}

static int create_console(struct virtio_device **dev, struct error *err)
{
	const struct virtio_console_port_params ports[2] = {{.is_console = true}, {.name = "p"}};
	const struct virtio_console_params params = {.name = "dev0", .nr_ports = 2, .ports = ports};
	return virtio_console_create(&params, ram, dev, err);
}

static int create_vsock(struct virtio_device **dev, struct error *err)
{
	const struct virtio_vsock_params params = {.name = "dev0", .guest_cid = 3, .uds_path = path, .listen_fd = -1};
	return virtio_vsock_create(&params, ram, dev, err);
}

static int (*const creates[])(struct virtio_device **dev, struct error *err) = {create_rng, create_console, create_vsock};
#define NR_KINDS (sizeof(creates) / sizeof(creates[0]))

static int lowest_free_fd(void)
{
	int fd = dup(0);
	close(fd);
	return fd;
}

START_TEST(without_descriptors_a_device_is_refused_and_leaks_none)
{
	struct rlimit before, limit;
	getrlimit(RLIMIT_NOFILE, &before);
	int lowest = lowest_free_fd();
	limit = before;
	int ret = -1;
	for (unsigned room = 0; ret; room++) {
		struct virtio_device *dev = NULL;
		struct error err = {0};
		ck_assert_uint_lt(room, 64);
		limit.rlim_cur = (rlim_t)lowest + room;
		setrlimit(RLIMIT_NOFILE, &limit);
		ret = creates[_i](&dev, &err);
		setrlimit(RLIMIT_NOFILE, &before);
		if (ret) {
			ck_assert_int_eq(ret, -EMFILE);
			ck_assert(strstr(err.text, "dev0") != NULL);
			ck_assert_ptr_null(dev);
		} else {
			virtio_device_destroy(dev);
		}
		ck_assert_int_eq(lowest_free_fd(), lowest);
	}
}
END_TEST

#if FAILING_MALLOC
/* The device's own memory is its first allocation; what libev cannot get for a loop ends the process, by its rules. */
START_TEST(without_memory_a_device_is_refused)
{
	struct virtio_device *dev = NULL;
	struct error err = {0};
	malloc_countdown = 0;
	int ret = creates[_i](&dev, &err);
	malloc_countdown = -1;
	ck_assert_int_eq(ret, -ENOMEM);
	ck_assert(strstr(err.text, "dev0") != NULL);
}
END_TEST

static void raise_nothing(struct virtio_pci_host *host, unsigned vector)
{
	(void)host;
	(void)vector;
}

static bool never(struct virtio_pci_host *host)
{
	(void)host;
	return false;
}

START_TEST(without_memory_there_is_no_transport)
{
	static const struct virtio_pci_host_ops ops = {raise_nothing, never};
	struct virtio_pci_host host = {&ops};
	struct virtio_device *dev;
	struct error err = {0};
	ck_assert_int_eq(create_rng(&dev, &err), 0);
	malloc_countdown = 0;
	struct virtio_pci *vp = virtio_pci_create(dev, &host);
	malloc_countdown = -1;
	ck_assert_ptr_null(vp);
	ck_assert_ptr_null(dev->transport);
	virtio_pci_destroy(vp);
	virtio_device_destroy(dev);
}
END_TEST

START_TEST(devices_give_back_all_their_memory)
{
	struct virtio_device *dev;
	struct error err = {0};
	long before = 0;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(creates[_i](&dev, &err), 0);
		virtio_device_destroy(dev);
		if (i == 0)
			before = malloc_live;
	}
	ck_assert_int_eq(malloc_live, before);
}
END_TEST
#endif

/* Threads run out for anybody but root, by the limit of processes; here the address space has no room for their stacks. */
#if FAILING_MALLOC
START_TEST(without_a_thread_the_device_needs_a_reset_and_starts_later)
{
	struct virtio_device *dev;
	struct error err = {0};
	ck_assert_int_eq(creates[_i](&dev, &err), 0);
	struct rlimit before, limit;
	getrlimit(RLIMIT_AS, &before);
	limit = before;
	limit.rlim_cur = 1 << 20;
	driver_negotiate(dev, 1ull << 32);
	setrlimit(RLIMIT_AS, &limit);
	driver_ok(dev);
	setrlimit(RLIMIT_AS, &before);
	ck_assert(virtio_device_failed(dev));
	ck_assert(!dev->running);
	driver_negotiate(dev, 1ull << 32);
	driver_ok(dev);
	ck_assert(dev->running);
	virtio_device_destroy(dev);
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("virtio_limits");
	TCase *tc = tcase_create("limits");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, without_descriptors_a_device_is_refused_and_leaks_none, 0, (int)NR_KINDS);
#if FAILING_MALLOC
	tcase_add_loop_test(tc, without_memory_a_device_is_refused, 0, (int)NR_KINDS);
	tcase_add_test(tc, without_memory_there_is_no_transport);
	tcase_add_loop_test(tc, devices_give_back_all_their_memory, 0, (int)NR_KINDS);
	tcase_add_loop_test(tc, without_a_thread_the_device_needs_a_reset_and_starts_later, 0, (int)NR_KINDS);
#endif
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
