/* The console device: bytes both ways between a model driver and a model backend, on two threads, with slow ends on either side. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_console.h>
#include <pthread.h>

#include "tests/unit/virtio_driver.h"
#include "virtio/console.h"

#define RAM_SIZE (1u << 20)
#define QUEUE_GPA(n) (0x1000u + 0x1000u * (n))
#define BUFFER_GPA(n) (0x40000u + 0x8000u * (n)) /* one area for each queue */
#define BUFFER_SIZE 0x400u
#define SIZE 16
#define VERSION_1 (1ull << 32)
#define EVENT_IDX (1ull << 29)
#define F_SIZE 1ull
#define F_MULTIPORT 2ull

/* Takes what fits in room, and keeps it. */
struct sink {
	struct virtio_console_backend backend;
	pthread_mutex_t mutex;
	size_t len, room;
	unsigned readable_again;
	uint8_t data[1 << 20];
};

static size_t sink_write(struct virtio_console_backend *backend, const void *data, size_t len)
{
	struct sink *sink = (struct sink *)backend;
	pthread_mutex_lock(&sink->mutex);
	size_t take = len < sink->room ? len : sink->room;
	memcpy(sink->data + sink->len, data, take);
	sink->len += take;
	sink->room -= take;
	pthread_mutex_unlock(&sink->mutex);
	return take;
}

static void sink_readable_again(struct virtio_console_backend *backend)
{
	struct sink *sink = (struct sink *)backend;
	pthread_mutex_lock(&sink->mutex);
	sink->readable_again++;
	pthread_mutex_unlock(&sink->mutex);
}

static const struct virtio_console_backend_ops sink_ops = {sink_write, sink_readable_again};

static uint64_t seed;
static struct guest_ram *ram;
static struct virtio_device *dev;
static struct sink sinks[2];
static struct driver_queue queues[6];

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		memset(&sinks[i], 0, sizeof(sinks[i]));
		sinks[i].backend.ops = &sink_ops;
		sinks[i].room = sizeof(sinks[i].data);
		pthread_mutex_init(&sinks[i].mutex, NULL);
	}
	dev = NULL;
}

static void tear_down(void)
{
	virtio_device_destroy(dev);
	guest_ram_destroy(ram);
}

static void create_single(void)
{
	const struct virtio_console_port_params port = {.is_console = true, .backend = &sinks[0].backend};
	const struct virtio_console_params params = {.name = "console0", .nr_ports = 1, .ports = &port, .cols = 80, .rows = 25};
	struct error err = {0};
	ck_assert_msg(virtio_console_create(&params, ram, &dev, &err) == 0, "%s", err.text);
}

static void create_multi(void)
{
	const struct virtio_console_port_params ports[2] = {
		{.is_console = true, .backend = &sinks[0].backend, .connected = true},
		{.name = "org.example.agent.0", .backend = &sinks[1].backend},
	};
	const struct virtio_console_params params = {.name = "console0", .nr_ports = 2, .ports = ports, .cols = 80, .rows = 25};
	struct error err = {0};
	ck_assert_msg(virtio_console_create(&params, ram, &dev, &err) == 0, "%s", err.text);
}

static void bring_up(uint64_t features, unsigned nr_queues)
{
	driver_negotiate(dev, VERSION_1 | features);
	ck_assert(virtio_device_get_status(dev) & DRIVER_FEATURES_OK);
	for (unsigned i = 0; i < nr_queues; i++) {
		driver_queue_init(&queues[i], ram, QUEUE_GPA(i), SIZE);
		driver_enable_queue(dev, i, &queues[i]);
	}
	driver_ok(dev);
}

/* Offers a buffer as descriptor and head `slot`. */
static void offer(unsigned queue, uint16_t slot, uint32_t len, uint16_t flags)
{
	driver_desc(&queues[queue], slot, BUFFER_GPA(queue) + slot * BUFFER_SIZE, len, flags, 0);
	driver_offer(&queues[queue], slot);
	virtio_device_kick(dev, queue);
}

static void say(unsigned queue, const void *data, uint32_t len)
{
	guest_ram_write(ram, BUFFER_GPA(queue), data, len);
	offer(queue, 0, len, 0);
}

static void wait_used(unsigned queue, uint32_t *id, uint32_t *len)
{
	ck_assert(driver_wait(&queues[queue], id, len));
}

static void said(unsigned queue)
{
	uint32_t id, len;
	wait_used(queue, &id, &len);
	ck_assert_uint_eq(len, 0);
}

static size_t sink_len(unsigned i)
{
	pthread_mutex_lock(&sinks[i].mutex);
	size_t len = sinks[i].len;
	pthread_mutex_unlock(&sinks[i].mutex);
	return len;
}

static void give_room(unsigned i, size_t room)
{
	pthread_mutex_lock(&sinks[i].mutex);
	sinks[i].room = room;
	pthread_mutex_unlock(&sinks[i].mutex);
}

static void wait_sink(unsigned i, size_t len)
{
	long long end = driver_now_ms() + 10000;
	while (sink_len(i) < len) {
		ck_assert_int_lt(driver_now_ms(), end);
		usleep(100);
	}
}

static void hear(unsigned queue, uint16_t slot, const char *expected)
{
	uint32_t id, len;
	char got[BUFFER_SIZE];
	wait_used(queue, &id, &len);
	ck_assert_uint_eq(id, slot);
	ck_assert_uint_eq(len, strlen(expected));
	guest_ram_read(ram, BUFFER_GPA(queue) + slot * BUFFER_SIZE, got, len);
	ck_assert(memcmp(got, expected, len) == 0);
}

START_TEST(a_simple_console_has_two_queues_and_its_size)
{
	create_single();
	ck_assert_uint_eq(dev->nr_queues, 2);
	ck_assert_uint_eq(dev->features_offered & (F_SIZE | F_MULTIPORT), F_SIZE);
	uint16_t size[2];
	virtio_device_config_read(dev, 0, size, 4);
	ck_assert(size[0] == 80 && size[1] == 25);
	virtio_console_resize(dev, 132, 50);
	virtio_device_config_read(dev, 0, size, 4);
	ck_assert(size[0] == 132 && size[1] == 50);
}
END_TEST

START_TEST(what_the_guest_says_reaches_the_backend)
{
	create_single();
	bring_up(_i ? EVENT_IDX : 0, 2);
	say(1, "hello ", 6);
	said(1);
	say(1, "world", 5);
	said(1);
	ck_assert_uint_eq(sink_len(0), 11);
	ck_assert(memcmp(sinks[0].data, "hello world", 11) == 0);
}
END_TEST

START_TEST(a_slow_backend_loses_nothing)
{
	create_single();
	bring_up(EVENT_IDX, 2);
	give_room(0, 4);
	say(1, "0123456789", 10);
	wait_sink(0, 4);
	uint32_t id, len;
	ck_assert_msg(!driver_take(&queues[1], &id, &len), "the request is not done yet");
	/* Also across a pause, where the device looks again by itself. */
	give_room(0, 3);
	virtio_device_pause(dev);
	virtio_device_resume(dev);
	wait_sink(0, 7);
	ck_assert(!driver_take(&queues[1], &id, &len));
	give_room(0, 100);
	virtio_console_writable(dev, 0);
	said(1);
	ck_assert_uint_eq(sink_len(0), 10);
	ck_assert(memcmp(sinks[0].data, "0123456789", 10) == 0);
}
END_TEST

START_TEST(input_reaches_the_guest_once_it_offers_room)
{
	create_single();
	ck_assert_uint_eq(virtio_console_receive(dev, 0, "early ", 6), 6);
	bring_up(EVENT_IDX, 2);
	offer(0, 0, 4, DRIVER_WRITE);
	hear(0, 0, "earl");
	ck_assert_uint_eq(virtio_console_receive(dev, 0, "bird", 4), 4);
	offer(0, 1, 100, DRIVER_WRITE);
	uint32_t id, len, total = 0;
	char got[100];
	/* In one or two pieces, by who was first. */
	for (uint16_t slot = 1; total < 6; slot++) {
		wait_used(0, &id, &len);
		guest_ram_read(ram, BUFFER_GPA(0) + id * BUFFER_SIZE, got + total, len);
		total += len;
		if (total < 6)
			offer(0, (uint16_t)(slot + 1), 100, DRIVER_WRITE);
	}
	ck_assert(total == 6 && memcmp(got, "y bird", 6) == 0);
}
END_TEST

START_TEST(input_stops_when_full_and_says_when_there_is_room_again)
{
	create_single();
	bring_up(0, 2);
	static uint8_t flood[VIRTIO_CONSOLE_INPUT_MAX + 100];
	memset(flood, 'f', sizeof(flood));
	ck_assert_uint_eq(virtio_console_room(dev, 0), VIRTIO_CONSOLE_INPUT_MAX);
	ck_assert_uint_eq(virtio_console_receive(dev, 0, flood, sizeof(flood)), VIRTIO_CONSOLE_INPUT_MAX);
	ck_assert_uint_eq(virtio_console_room(dev, 0), 0);
	ck_assert_uint_eq(virtio_console_receive(dev, 0, flood, 1), 0);
	offer(0, 0, 100, DRIVER_WRITE);
	uint32_t id, len;
	wait_used(0, &id, &len);
	ck_assert_uint_eq(len, 100);
	long long end = driver_now_ms() + 10000;
	for (;;) {
		pthread_mutex_lock(&sinks[0].mutex);
		unsigned told = sinks[0].readable_again;
		pthread_mutex_unlock(&sinks[0].mutex);
		if (told == 1)
			break;
		ck_assert_int_lt(driver_now_ms(), end);
		usleep(100);
	}
	ck_assert_uint_eq(virtio_console_room(dev, 0), 100);
}
END_TEST

START_TEST(a_reset_drops_input_and_makes_room)
{
	create_single();
	bring_up(0, 2);
	static uint8_t flood[VIRTIO_CONSOLE_INPUT_MAX + 1];
	ck_assert_uint_eq(virtio_console_receive(dev, 0, flood, sizeof(flood)), VIRTIO_CONSOLE_INPUT_MAX);
	virtio_device_set_status(dev, 0);
	ck_assert_uint_eq(virtio_console_room(dev, 0), VIRTIO_CONSOLE_INPUT_MAX);
	ck_assert_uint_eq(sinks[0].readable_again, 1);
}
END_TEST

START_TEST(ports_that_do_not_exist_take_nothing)
{
	create_single();
	ck_assert_uint_eq(virtio_console_room(dev, 1), 0);
	ck_assert_uint_eq(virtio_console_receive(dev, 1, "x", 1), 0);
	virtio_console_writable(dev, 1);
	virtio_console_set_connected(dev, 99, true);
}
END_TEST

START_TEST(absurd_parameters_are_refused)
{
	char name[80];
	memset(name, 'p', sizeof(name));
	name[79] = '\0';
	const struct virtio_console_port_params port = {.name = name};
	struct virtio_console_params params = {.name = "console0", .nr_ports = 1, .ports = &port};
	struct error err = {0};
	ck_assert_int_eq(virtio_console_create(&params, ram, &dev, &err), -EINVAL);
	params.nr_ports = 0;
	ck_assert_int_eq(virtio_console_create(&params, ram, &dev, &err), -EINVAL);
	params.nr_ports = VIRTIO_CONSOLE_MAX_PORTS + 1;
	ck_assert_int_eq(virtio_console_create(&params, ram, &dev, &err), -EINVAL);
}
END_TEST

START_TEST(a_broken_queue_or_an_empty_request_fails_the_device)
{
	create_single();
	bring_up(0, 2);
	driver_publish(&queues[1], 500);
	virtio_device_kick(dev, 1);
	ck_assert(driver_wait_failed(dev));
	bring_up(0, 2);
	virtio_console_receive(dev, 0, "x", 1);
	offer(0, 0, 8, 0); /* not writable */
	ck_assert(driver_wait_failed(dev));
	bring_up(0, 2);
	say(1, "fine", 4);
	said(1);
}
END_TEST

/* --- several ports --- */

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control msg = {.id = id, .event = event, .value = value};
	say(3, &msg, sizeof(msg));
	said(3);
}

static struct virtio_console_control expect_control(uint16_t event, uint32_t id, uint8_t *tail, uint32_t *tail_len)
{
	uint32_t head, len;
	struct virtio_console_control msg = {0};
	wait_used(2, &head, &len);
	ck_assert_uint_ge(len, sizeof(msg));
	guest_ram_read(ram, BUFFER_GPA(2) + head * BUFFER_SIZE, &msg, sizeof(msg));
	ck_assert_uint_eq(msg.event, event);
	ck_assert_uint_eq(msg.id, id);
	*tail_len = len - (uint32_t)sizeof(msg);
	guest_ram_read(ram, BUFFER_GPA(2) + head * BUFFER_SIZE + sizeof(msg), tail, *tail_len);
	return msg;
}

START_TEST(ports_are_announced_named_and_opened)
{
	create_multi();
	ck_assert_uint_eq(dev->nr_queues, 6);
	bring_up(F_MULTIPORT | F_SIZE | EVENT_IDX, 6);
	for (uint16_t i = 0; i < SIZE; i++)
		offer(2, i, 128, DRIVER_WRITE);
	uint8_t tail[128];
	uint32_t tail_len;
	control(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_control(VIRTIO_CONSOLE_PORT_ADD, 0, tail, &tail_len);
	expect_control(VIRTIO_CONSOLE_PORT_ADD, 1, tail, &tail_len);

	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(VIRTIO_CONSOLE_CONSOLE_PORT, 0, tail, &tail_len);
	expect_control(VIRTIO_CONSOLE_RESIZE, 0, tail, &tail_len);
	ck_assert(tail_len == 4 && memcmp(tail, "\x50\0\x19\0", 4) == 0);
	ck_assert_uint_eq(expect_control(VIRTIO_CONSOLE_PORT_OPEN, 0, tail, &tail_len).value, 1);

	/* Input for a port waits until the guest knows it. */
	offer(4, 0, 64, DRIVER_WRITE);
	virtio_console_receive(dev, 1, "ping", 4);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(VIRTIO_CONSOLE_PORT_NAME, 1, tail, &tail_len);
	ck_assert(tail_len == strlen("org.example.agent.0") && memcmp(tail, "org.example.agent.0", tail_len) == 0);
	hear(4, 0, "ping");

	virtio_console_set_connected(dev, 1, true);
	virtio_console_set_connected(dev, 1, true);
	ck_assert_uint_eq(expect_control(VIRTIO_CONSOLE_PORT_OPEN, 1, tail, &tail_len).value, 1);
	virtio_console_set_connected(dev, 1, false);
	ck_assert_uint_eq(expect_control(VIRTIO_CONSOLE_PORT_OPEN, 1, tail, &tail_len).value, 0);
	virtio_console_resize(dev, 100, 40);
	expect_control(VIRTIO_CONSOLE_RESIZE, 0, tail, &tail_len);
	ck_assert(memcmp(tail, "\x64\0\x28\0", 4) == 0);

	say(5, "pong", 4);
	said(5);
	ck_assert_uint_eq(sink_len(1), 4);
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

START_TEST(control_messages_wait_for_buffers)
{
	create_multi();
	bring_up(F_MULTIPORT, 6);
	uint8_t tail[128];
	uint32_t tail_len;
	for (unsigned i = 0; i < 40; i++)
		control(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	offer(2, 0, 128, DRIVER_WRITE);
	expect_control(VIRTIO_CONSOLE_PORT_ADD, 0, tail, &tail_len);
	offer(2, 0, 128, DRIVER_WRITE);
	expect_control(VIRTIO_CONSOLE_PORT_ADD, 1, tail, &tail_len);
	offer(2, 0, 128, DRIVER_WRITE);
	usleep(20000);
	uint32_t id, len;
	ck_assert_msg(!driver_take(&queues[2], &id, &len), "asking often yields one answer");
}
END_TEST

START_TEST(control_messages_without_sense_are_ignored)
{
	create_multi();
	bring_up(F_MULTIPORT, 6);
	control(2, VIRTIO_CONSOLE_PORT_READY, 1);
	control(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0, 0xffff, 0xffff);
	control(1, VIRTIO_CONSOLE_PORT_READY, 0);
	say(3, "abc", 3);
	said(3);
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

START_TEST(a_control_buffer_too_small_fails_the_device)
{
	create_multi();
	bring_up(F_MULTIPORT, 6);
	offer(2, 0, 7, DRIVER_WRITE);
	control(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	ck_assert(driver_wait_failed(dev));
}
END_TEST

START_TEST(a_guest_without_multiport_uses_the_first_port)
{
	create_multi();
	bring_up(0, 2);
	say(1, "plain", 5);
	said(1);
	offer(0, 0, 64, DRIVER_WRITE);
	virtio_console_receive(dev, 0, "input", 5);
	virtio_console_receive(dev, 1, "nobody", 6);
	hear(0, 0, "input");
}
END_TEST

START_TEST(what_is_under_way_survives_save_and_load)
{
	create_multi();
	bring_up(F_MULTIPORT | EVENT_IDX, 6);
	for (uint16_t i = 0; i < SIZE; i++)
		offer(2, i, 128, DRIVER_WRITE);
	uint8_t tail[128];
	uint32_t tail_len;
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_control(VIRTIO_CONSOLE_CONSOLE_PORT, 0, tail, &tail_len);
	expect_control(VIRTIO_CONSOLE_PORT_OPEN, 0, tail, &tail_len);
	give_room(0, 4);
	say(1, "0123456789", 10);
	wait_sink(0, 4);
	virtio_console_receive(dev, 0, "typed", 5);
	virtio_device_pause(dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(dev, w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_destroy(dev);

	create_multi();
	virtio_device_pause(dev);
	struct state_reader *r;
	struct error err = {0};
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	ck_assert_msg(virtio_device_load(dev, r, &err) == 0, "%s", err.text);
	give_room(0, 100);
	virtio_device_resume(dev);
	said(1);
	ck_assert_uint_eq(sink_len(0), 10);
	ck_assert(memcmp(sinks[0].data, "0123456789", 10) == 0);
	offer(0, 0, 64, DRIVER_WRITE);
	hear(0, 0, "typed");
	ck_assert_uint_eq(expect_control(VIRTIO_CONSOLE_PORT_OPEN, 0, tail, &tail_len).value, 1);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(a_state_of_other_ports_is_refused)
{
	create_multi();
	virtio_device_pause(dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(dev, w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_destroy(dev);
	create_single();
	virtio_device_pause(dev);
	struct state_reader *r;
	struct error err = {0};
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	ck_assert_int_eq(virtio_device_load(dev, r, &err), -EINVAL);
	ck_assert(strstr(err.text, "console0") != NULL);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

/* Both ways at once, with a backend that stalls and a machine that pauses, and every byte in order. */
START_TEST(streams_both_ways_arrive_whole)
{
	struct dice dice = {seed + (uint64_t)_i};
	create_single();
	bring_up(_i ? EVENT_IDX : 0, 2);
	const size_t total = 60000;
	size_t sent_out = 0, given_in = 0, got_in = 0;
	uint16_t in_flight = 0;
	give_room(0, 0);
	for (uint16_t i = 0; i < 4; i++)
		offer(0, i, 1 + dice_roll(&dice, BUFFER_SIZE), DRIVER_WRITE);
	long long end = driver_now_ms() + 40000;
	while (sink_len(0) < total || got_in < total) {
		ck_assert_int_lt(driver_now_ms(), end);
		uint32_t id, len;
		if (!in_flight && sent_out < total) {
			uint8_t bytes[BUFFER_SIZE];
			uint32_t n = 1 + dice_roll(&dice, BUFFER_SIZE);
			if (n > total - sent_out)
				n = (uint32_t)(total - sent_out);
			for (uint32_t i = 0; i < n; i++)
				bytes[i] = (uint8_t)((sent_out + i) * 7 >> 3);
			say(1, bytes, n);
			sent_out += n;
			in_flight = 1;
		}
		if (driver_take(&queues[1], &id, &len))
			in_flight = 0;
		if (dice_roll(&dice, 4) == 0) {
			pthread_mutex_lock(&sinks[0].mutex);
			sinks[0].room = dice_roll(&dice, 2000);
			pthread_mutex_unlock(&sinks[0].mutex);
			virtio_console_writable(dev, 0);
		}
		uint8_t in[3000];
		size_t n = dice_roll(&dice, sizeof(in));
		if (n > total - given_in)
			n = total - given_in;
		for (size_t i = 0; i < n; i++)
			in[i] = (uint8_t)((given_in + i) * 5 >> 2);
		given_in += virtio_console_receive(dev, 0, in, n);
		if (driver_take(&queues[0], &id, &len)) {
			uint8_t bytes[BUFFER_SIZE];
			guest_ram_read(ram, BUFFER_GPA(0) + id * BUFFER_SIZE, bytes, len);
			for (uint32_t i = 0; i < len; i++)
				ck_assert_uint_eq(bytes[i], (uint8_t)((got_in + i) * 5 >> 2));
			got_in += len;
			offer(0, (uint16_t)id, 1 + dice_roll(&dice, BUFFER_SIZE), DRIVER_WRITE);
		}
		if (dice_roll(&dice, 200) == 0) {
			virtio_device_pause(dev);
			virtio_device_resume(dev);
		}
	}
	for (size_t i = 0; i < total; i++)
		ck_assert_uint_eq(sinks[0].data[i], (uint8_t)(i * 7 >> 3));
}
END_TEST

int main(void)
{
	seed = dice_seed();
	Suite *suite = suite_create("virtio_console");
	TCase *tc = tcase_create("console");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_simple_console_has_two_queues_and_its_size);
	tcase_add_loop_test(tc, what_the_guest_says_reaches_the_backend, 0, 2);
	tcase_add_test(tc, a_slow_backend_loses_nothing);
	tcase_add_test(tc, input_reaches_the_guest_once_it_offers_room);
	tcase_add_test(tc, input_stops_when_full_and_says_when_there_is_room_again);
	tcase_add_test(tc, a_reset_drops_input_and_makes_room);
	tcase_add_test(tc, ports_that_do_not_exist_take_nothing);
	tcase_add_test(tc, absurd_parameters_are_refused);
	tcase_add_test(tc, a_broken_queue_or_an_empty_request_fails_the_device);
	tcase_add_test(tc, ports_are_announced_named_and_opened);
	tcase_add_test(tc, control_messages_wait_for_buffers);
	tcase_add_test(tc, control_messages_without_sense_are_ignored);
	tcase_add_test(tc, a_control_buffer_too_small_fails_the_device);
	tcase_add_test(tc, a_guest_without_multiport_uses_the_first_port);
	tcase_add_test(tc, what_is_under_way_survives_save_and_load);
	tcase_add_test(tc, a_state_of_other_ports_is_refused);
	tcase_add_loop_test(tc, streams_both_ways_arrive_whole, 0, 2);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed)
		printf("to repeat: PAGODA_SEED=%llu\n", (unsigned long long)seed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
