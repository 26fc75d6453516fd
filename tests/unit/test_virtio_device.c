/* The life of a device: status, features, start and stop, failure, config space, saved state. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>

#include "tests/unit/suite.h"
#include "tests/unit/virtio_driver.h"

#define RAM_SIZE (1u << 20)
#define RINGS 0x1000
#define VERSION_1 (1ull << 32)
#define EVENT_IDX (1ull << 29)
#define INDIRECT (1ull << 28)
#define OURS (1ull << 5)

/* A device that only counts. */
struct fake {
	struct virtio_device dev;
	unsigned starts, stops, resets, writes, destroys;
	uint32_t written_offset, written_len;
	int start_returns;
	uint64_t extra; /* saved */
};

static struct fake *fake_of(struct virtio_device *dev)
{
	return (struct fake *)dev;
}

static int fake_start(struct virtio_device *dev)
{
	struct fake *f = fake_of(dev);
	ck_assert_uint_eq(f->starts, f->stops);
	if (f->start_returns)
		return f->start_returns;
	f->starts++;
	return 0;
}

static void fake_stop(struct virtio_device *dev)
{
	struct fake *f = fake_of(dev);
	f->stops++;
	ck_assert_uint_eq(f->starts, f->stops);
}

static void fake_reset(struct virtio_device *dev)
{
	ck_assert_uint_eq(fake_of(dev)->starts, fake_of(dev)->stops);
	fake_of(dev)->resets++;
}

/* Byte 3 of config is read-only. */
static void fake_config_written(struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	fake_of(dev)->writes++;
	fake_of(dev)->written_offset = offset;
	fake_of(dev)->written_len = len;
	lock_take(&dev->config_lock);
	dev->config[3] = 0x33;
	lock_release(&dev->config_lock);
}

static void fake_save(struct virtio_device *dev, struct state_writer *w)
{
	state_put(w, "extra", fake_of(dev)->extra);
}

static void fake_load(struct virtio_device *dev, struct state_reader *r)
{
	fake_of(dev)->extra = state_get(r, "extra", 0, 1000);
}

static void fake_destroy(struct virtio_device *dev)
{
	fake_of(dev)->destroys++;
	virtio_device_fini(dev);
}

static const struct virtio_device_ops fake_ops = {
	.config_written = fake_config_written,
	.start = fake_start,
	.stop = fake_stop,
	.reset = fake_reset,
	.save = fake_save,
	.load = fake_load,
	.destroy = fake_destroy,
};

struct fake_transport {
	struct virtio_transport transport;
	_Atomic unsigned queue_irqs, config_irqs;
};

static void count_queue_irq(struct virtio_transport *transport, unsigned queue)
{
	(void)queue;
	((struct fake_transport *)transport)->queue_irqs++;
}

static void count_config_irq(struct virtio_transport *transport)
{
	((struct fake_transport *)transport)->config_irqs++;
}

static const struct virtio_transport_ops transport_ops = {count_queue_irq, count_config_irq};

static struct guest_ram *ram;
static struct fake fake;
static struct fake_transport transport;
static struct driver_queue dq;

static struct virtio_device *dev(void)
{
	return &fake.dev;
}

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	fake = (struct fake){.extra = 7};
	transport = (struct fake_transport){.transport = {&transport_ops}};
	ck_assert_int_eq(virtio_device_init(dev(), &fake_ops, VIRTIO_ID_ENTROPY_DEVICE, "fake0", ram, OURS, 2, 64, 8, NULL), 0);
	fake.dev.transport = &transport.transport;
	fake.dev.config[3] = 0x33;
}

static void tear_down(void)
{
	virtio_device_destroy(dev());
	ck_assert_uint_eq(fake.destroys, 1);
	ck_assert_uint_eq(fake.starts, fake.stops);
	guest_ram_destroy(ram);
}

static void bring_up(void)
{
	driver_negotiate(dev(), VERSION_1 | EVENT_IDX | OURS);
	driver_queue_init(&dq, ram, RINGS, 16);
	driver_enable_queue(dev(), 0, &dq);
	driver_ok(dev());
}

static bool kicked(unsigned queue)
{
	struct pollfd p = {.fd = fake.dev.kick_fds[queue], .events = POLLIN};
	if (poll(&p, 1, 0) != 1)
		return false;
	uint64_t count;
	return read(p.fd, &count, sizeof(count)) == sizeof(count);
}

START_TEST(the_core_adds_its_features)
{
	ck_assert_uint_eq(fake.dev.features_offered, OURS | VERSION_1 | EVENT_IDX | INDIRECT);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 0);
}
END_TEST

START_TEST(a_device_with_absurd_parameters_is_refused)
{
	static struct virtio_device d;
	struct error err = {0};
	char name[80];
	memset(name, 'n', sizeof(name));
	name[79] = '\0';
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, name, ram, 0, 1, 64, 0, &err), -EINVAL);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 0, 64, 0, &err), -EINVAL);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 65, 64, 0, &err), -EINVAL);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 1, 48, 0, &err), -EINVAL);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 1, 2048, 0, &err), -EINVAL);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 1, 64, 257, &err), -EINVAL);
	ck_assert(strstr(err.text, "257") != NULL);
}
END_TEST

START_TEST(running_out_of_descriptors_is_reported_and_leaks_none)
{
	static struct virtio_device d;
	struct error err = {0};
	struct rlimit before, limit;
	getrlimit(RLIMIT_NOFILE, &before);
	int lowest = dup(0);
	close(lowest);
	limit = before;
	limit.rlim_cur = (rlim_t)lowest + 10;
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_int_eq(virtio_device_init(&d, &fake_ops, VIRTIO_ID_NET_DEVICE, "n", ram, 0, 64, 64, 0, &err), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &before);
	int again = dup(0);
	ck_assert_int_eq(again, lowest);
	close(again);
}
END_TEST

START_TEST(a_driver_that_does_as_it_should_gets_a_running_device)
{
	bring_up();
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15);
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert(fake.dev.running);
	ck_assert(virtio_device_has(dev(), 5));
	ck_assert(fake.dev.queues[0].event_idx);
	ck_assert_msg(kicked(0), "a started queue is kicked");
	ck_assert_msg(!kicked(1), "a disabled one is not");
	virtio_device_set_status(dev(), 0);
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 0);
	ck_assert(!fake.dev.queues[0].enabled);
	ck_assert_uint_eq(fake.dev.queues[0].size, 64);
	ck_assert_uint_eq(fake.dev.features_acked, 0);
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
	driver_negotiate(dev(), VERSION_1 | 1);
	ck_assert_uint_eq(virtio_device_get_status(dev()), DRIVER_ACK | DRIVER_DRIVER);
	driver_ok(dev());
	ck_assert_uint_eq(virtio_device_get_status(dev()), DRIVER_ACK | DRIVER_DRIVER);
	ck_assert_uint_eq(fake.starts, 0);
	/* The driver may choose again. */
	virtio_device_ack_features(dev(), 0, 0);
	driver_ok(dev());
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15);
}
END_TEST

START_TEST(a_driver_without_version_1_is_refused)
{
	driver_negotiate(dev(), EVENT_IDX);
	ck_assert_uint_eq(virtio_device_get_status(dev()), DRIVER_ACK | DRIVER_DRIVER);
}
END_TEST

START_TEST(features_are_fixed_once_accepted)
{
	driver_negotiate(dev(), VERSION_1);
	virtio_device_ack_features(dev(), 0, 0xffffffff);
	virtio_device_ack_features(dev(), 1, 0);
	virtio_device_ack_features(dev(), 2, 0xffffffff);
	ck_assert_uint_eq(fake.dev.features_acked, VERSION_1);
}
END_TEST

START_TEST(driver_ok_without_negotiation_starts_nothing)
{
	virtio_device_set_status(dev(), DRIVER_ACK | DRIVER_DRIVER | DRIVER_OK);
	ck_assert_uint_eq(virtio_device_get_status(dev()), DRIVER_ACK | DRIVER_DRIVER);
	ck_assert_uint_eq(fake.starts, 0);
}
END_TEST

START_TEST(status_bits_are_not_taken_back_and_needs_reset_is_ours)
{
	bring_up();
	virtio_device_set_status(dev(), DRIVER_ACK);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15);
	virtio_device_set_status(dev(), 0xff);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15 | DRIVER_FAILED);
	ck_assert(!virtio_device_failed(dev()));
	ck_assert_uint_eq(fake.starts, 1);
}
END_TEST

START_TEST(a_queue_that_is_set_up_wrongly_fails_the_device)
{
	driver_negotiate(dev(), VERSION_1);
	fake.dev.queues[1].desc_gpa = RAM_SIZE;
	virtio_device_enable_queue(dev(), 1);
	ck_assert(!fake.dev.queues[1].enabled);
	ck_assert(virtio_device_failed(dev()));
	ck_assert_msg(transport.config_irqs == 0, "no driver is at work yet");
	driver_ok(dev());
	ck_assert_msg(fake.starts == 0, "a failed device does not start");
	virtio_device_set_status(dev(), 0);
	bring_up();
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert(!virtio_device_failed(dev()));
}
END_TEST

START_TEST(queues_are_not_enabled_while_the_device_runs)
{
	bring_up();
	driver_enable_queue(dev(), 1, &dq);
	ck_assert(!fake.dev.queues[1].enabled);
	virtio_device_enable_queue(dev(), 2);
	virtio_device_enable_queue(dev(), 65535);
}
END_TEST

START_TEST(failing_is_told_once_and_ends_with_a_reset)
{
	bring_up();
	virtio_device_fail(dev(), "reason %d", 1);
	virtio_device_fail(dev(), "reason %d", 2);
	ck_assert_uint_eq(transport.config_irqs, 1);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15 | DRIVER_NEEDS_RESET);
	ck_assert_uint_eq(fake.stops, 0);
	virtio_device_set_status(dev(), 0);
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 0);
}
END_TEST

START_TEST(a_device_that_cannot_start_needs_a_reset)
{
	fake.start_returns = -EAGAIN;
	bring_up();
	ck_assert(virtio_device_failed(dev()));
	ck_assert(!fake.dev.running);
	ck_assert_uint_eq(transport.config_irqs, 1);
	fake.start_returns = 0;
	virtio_device_set_status(dev(), 0);
	bring_up();
	ck_assert(fake.dev.running);
}
END_TEST

START_TEST(pausing_stops_and_resuming_starts)
{
	virtio_device_pause(dev());
	bring_up();
	ck_assert_msg(fake.starts == 0, "start is put off while paused");
	virtio_device_resume(dev());
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert(kicked(0));
	virtio_device_resume(dev());
	ck_assert_uint_eq(fake.starts, 1);
	virtio_device_pause(dev());
	virtio_device_pause(dev());
	ck_assert_uint_eq(fake.stops, 1);
	virtio_device_resume(dev());
	ck_assert_uint_eq(fake.starts, 2);
	ck_assert_msg(kicked(0), "requests that came meanwhile are looked for");
	virtio_device_pause(dev());
	virtio_device_set_status(dev(), 0);
	virtio_device_resume(dev());
	ck_assert_msg(fake.starts == 2, "there is nothing to resume after a reset");
}
END_TEST

START_TEST(the_machine_resets_a_running_device)
{
	bring_up();
	virtio_device_reset(dev());
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_ge(fake.resets, 1);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 0);
}
END_TEST

START_TEST(config_space_has_an_end)
{
	uint8_t bytes[16];
	for (uint32_t i = 0; i < 8; i++)
		fake.dev.config[i] = (uint8_t)(i + 1);
	memset(bytes, 0xee, sizeof(bytes));
	virtio_device_config_read(dev(), 6, bytes, 8);
	ck_assert(memcmp(bytes, "\x07\x08\0\0\0\0\0\0\xee", 9) == 0);
	virtio_device_config_read(dev(), 8, bytes, 1);
	ck_assert_uint_eq(bytes[0], 0);
	virtio_device_config_read(dev(), UINT32_MAX, bytes, 8);
	ck_assert_uint_eq(bytes[7], 0);

	virtio_device_config_write(dev(), 7, "\xaa\xbb\xcc\xdd", 4);
	ck_assert_uint_eq(fake.writes, 1);
	ck_assert_uint_eq(fake.written_offset, 7);
	ck_assert_uint_eq(fake.written_len, 1);
	ck_assert_uint_eq(fake.dev.config[7], 0xaa);
	ck_assert_uint_eq(fake.dev.config[8], 0);
	virtio_device_config_write(dev(), 8, "\xaa", 1);
	virtio_device_config_write(dev(), UINT32_MAX, "\xaa\xaa", 2);
	ck_assert_uint_eq(fake.writes, 1);
}
END_TEST

START_TEST(a_config_change_bumps_the_generation_and_interrupts_a_driver)
{
	uint8_t generation = fake.dev.config_generation;
	virtio_device_update_config(dev(), 0, "\x11\x22", 2);
	ck_assert_uint_eq(transport.config_irqs, 0);
	bring_up();
	virtio_device_update_config(dev(), 7, "\x33\x44", 2);
	ck_assert_uint_eq(transport.config_irqs, 1);
	ck_assert_uint_eq((uint8_t)(fake.dev.config_generation - generation), 2);
	ck_assert_uint_eq(fake.dev.config[0], 0x11);
	ck_assert_uint_eq(fake.dev.config[7], 0x33);
	ck_assert_uint_eq(fake.dev.config[8], 0);
}
END_TEST

START_TEST(the_guest_is_interrupted_only_when_it_wants_to_be)
{
	bring_up();
	virtq_push(&fake.dev.queues[0], 0, 0);
	virtio_device_notify_guest(dev(), 0);
	ck_assert_uint_eq(transport.queue_irqs, 1);
	virtio_device_notify_guest(dev(), 0);
	ck_assert_uint_eq(transport.queue_irqs, 1);
	driver_set_used_event(&dq, 5);
	virtq_push(&fake.dev.queues[0], 0, 0);
	virtio_device_notify_guest(dev(), 0);
	ck_assert_uint_eq(transport.queue_irqs, 1);
}
END_TEST

START_TEST(kicks_of_queues_that_do_not_exist_are_ignored)
{
	virtio_device_kick(dev(), 1);
	ck_assert(kicked(1));
	virtio_device_kick(dev(), 2);
	virtio_device_kick(dev(), UINT32_MAX);
}
END_TEST

/* --- saved state --- */

static struct state_writer *save(void)
{
	struct state_writer *w = state_writer_new();
	virtio_device_pause(dev());
	virtio_device_save(dev(), w);
	return w;
}

static int load(const void *data, size_t len, struct error *err)
{
	struct state_reader *r;
	int ret = state_reader_open(data, len, &r, err);
	if (ret)
		return ret;
	ret = virtio_device_load(dev(), r, err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_running_device_comes_back_from_saved_state)
{
	bring_up();
	fake.dev.config[0] = 0x55;
	fake.extra = 99;
	fake.dev.queues[0].last_avail = 3;
	fake.dev.queues[0].used_idx = 2;
	struct state_writer *w = save();
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_reset(dev());
	fake.extra = 0;
	fake.dev.config[0] = 0;
	struct error err = {0};
	ck_assert_msg(load(data, len, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(virtio_device_get_status(dev()), 15);
	ck_assert_uint_eq(fake.dev.features_acked, VERSION_1 | EVENT_IDX | OURS);
	ck_assert(fake.dev.queues[0].enabled && !fake.dev.queues[1].enabled);
	ck_assert_uint_eq(fake.dev.queues[0].last_avail, 3);
	ck_assert_uint_eq(fake.dev.queues[0].used_idx, 2);
	ck_assert_uint_eq(fake.extra, 99);
	ck_assert_uint_eq(fake.dev.config[0], 0x55);
	ck_assert_uint_eq(fake.starts, 1);
	virtio_device_resume(dev());
	ck_assert_uint_eq(fake.starts, 2);
	ck_assert(kicked(0));
	state_writer_free(w);
}
END_TEST

/* What each writes is a complete section with one lie in it. */
struct lie {
	const char *what;
	uint64_t id, status, features, nr_queues, desc, size, enabled, last_avail, extra;
};

static const struct lie lies[] = {
	{"another kind of device", 1, 15, VERSION_1, 2, RINGS, 16, 1, 0, 0},
	{"an unknown status bit", 4, 15 | 0x20, VERSION_1, 2, RINGS, 16, 1, 0, 0},
	{"a status of more than a byte", 4, 0x10f, VERSION_1, 2, RINGS, 16, 1, 0, 0},
	{"DRIVER_OK without features", 4, 7, VERSION_1, 2, RINGS, 16, 1, 0, 0},
	{"features that are not offered", 4, 15, VERSION_1 | 2, 2, RINGS, 16, 1, 0, 0},
	{"no VERSION_1", 4, 15, 0, 2, RINGS, 16, 1, 0, 0},
	{"another number of queues", 4, 15, VERSION_1, 3, RINGS, 16, 1, 0, 0},
	{"a ring outside RAM", 4, 15, VERSION_1, 2, RAM_SIZE, 16, 1, 0, 0},
	{"a ring at a crooked address", 4, 15, VERSION_1, 2, RINGS + 8, 16, 1, 0, 0},
	{"a queue too large", 4, 15, VERSION_1, 2, RINGS, 128, 1, 0, 0},
	{"a queue of no size", 4, 15, VERSION_1, 2, RINGS, 0, 1, 0, 0},
	{"an absurd flag", 4, 15, VERSION_1, 2, RINGS, 16, 2, 0, 0},
	{"too many requests in flight", 4, 15, VERSION_1, 2, RINGS, 16, 1, 17, 0},
	{"a field of the device out of range", 4, 15, VERSION_1, 2, RINGS, 16, 1, 0, 1001},
	{"nothing: this one is true", 4, 15, VERSION_1, 2, RINGS, 16, 1, 0, 0},
};
#define NR_LIES (sizeof(lies) / sizeof(lies[0]))

START_TEST(saved_state_with_a_lie_in_it_is_refused)
{
	const struct lie *lie = &lies[_i];
	virtio_device_pause(dev());
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "fake0", 1);
	state_put(w, "id", lie->id);
	state_put(w, "status", lie->status);
	state_put(w, "features", lie->features);
	state_put(w, "config_generation", 0);
	state_put_bytes(w, "config", "\1\2\3\4\5\6\7\10", 8);
	state_put(w, "nr_queues", lie->nr_queues);
	const struct virtq q = {
		.size = (uint16_t)lie->size,
		.desc_gpa = lie->desc,
		.avail_gpa = RINGS + 0x1000,
		.used_gpa = RINGS + 0x2000,
		.last_avail = (uint16_t)lie->last_avail,
	};
	/* Like virtq_save(), but for the flag. */
	for (unsigned i = 0; i < 2; i++) {
		static const char *const names[2][7] = {
			{"queue0.size", "queue0.enabled", "queue0.desc", "queue0.avail", "queue0.used", "queue0.last_avail",
			 "queue0.used_idx"},
			{"queue1.size", "queue1.enabled", "queue1.desc", "queue1.avail", "queue1.used", "queue1.last_avail",
			 "queue1.used_idx"},
		};
		state_put(w, names[i][0], q.size);
		state_put(w, names[i][1], i ? 0 : lie->enabled);
		state_put(w, names[i][2], q.desc_gpa);
		state_put(w, names[i][3], q.avail_gpa);
		state_put(w, names[i][4], q.used_gpa);
		state_put(w, names[i][5], q.last_avail);
		state_put(w, names[i][6], 0);
	}
	state_put(w, "extra", lie->extra);
	state_leave_new(w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	struct error err = {0};
	int ret = load(data, len, &err);
	if (_i == (int)NR_LIES - 1) {
		ck_assert_msg(ret == 0, "%s", err.text);
		ck_assert_msg(fake.dev.config[3] == 0x33, "config bytes go by the device, as those of a guest do");
		ck_assert_uint_eq(fake.dev.config[4], 5);
	} else {
		ck_assert_msg(ret == -EINVAL, "%s", lie->what);
		ck_assert_msg(err.text[0] != '\0', "%s", lie->what);
		ck_assert_msg(virtio_device_get_status(dev()) == 0, "%s: a failed load leaves the device reset", lie->what);
		ck_assert(!fake.dev.queues[0].enabled);
	}
	virtio_device_resume(dev());
	state_writer_free(w);
}
END_TEST

START_TEST(damaged_streams_are_refused_or_load_something_valid)
{
	bring_up();
	struct state_writer *w = save();
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	uint8_t *copy = malloc(len);
	struct error err;
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_ne(load(data, cut, &err), 0);
	for (size_t i = 0; i < len; i++) {
		memcpy(copy, data, len);
		copy[i] ^= 0x10;
		ck_assert_int_ne(load(copy, len, &err), 0);
	}
	free(copy);
	state_writer_free(w);
}
END_TEST

/* --- threads --- */

static _Atomic bool threads_stop;

static void *set_status_often(void *arg)
{
	(void)arg;
	while (!threads_stop) {
		driver_negotiate(dev(), VERSION_1);
		driver_ok(dev());
		uint8_t byte;
		virtio_device_config_read(dev(), 0, &byte, 1);
		virtio_device_config_write(dev(), 1, "x", 1);
	}
	return NULL;
}

static void *fail_often(void *arg)
{
	(void)arg;
	while (!threads_stop) {
		virtio_device_fail(dev(), "again");
		virtio_device_update_config(dev(), 0, "y", 1);
		virtio_device_kick(dev(), 0);
	}
	return NULL;
}

START_TEST(guest_worker_and_machine_may_meddle_at_the_same_time)
{
	pthread_t a, b, c;
	threads_stop = false;
	pthread_create(&a, NULL, set_status_often, NULL);
	pthread_create(&b, NULL, set_status_often, NULL);
	pthread_create(&c, NULL, fail_often, NULL);
	for (unsigned i = 0; i < 200; i++) {
		virtio_device_pause(dev());
		struct state_writer *w = state_writer_new();
		virtio_device_save(dev(), w);
		state_writer_free(w);
		virtio_device_resume(dev());
	}
	threads_stop = true;
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(c, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtio_device");
	TCase *tc = tcase_create("device");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_core_adds_its_features);
	tcase_add_test(tc, a_device_with_absurd_parameters_is_refused);
	tcase_add_test(tc, running_out_of_descriptors_is_reported_and_leaks_none);
	tcase_add_test(tc, a_driver_that_does_as_it_should_gets_a_running_device);
	tcase_add_test(tc, features_that_were_not_offered_are_refused);
	tcase_add_test(tc, a_driver_without_version_1_is_refused);
	tcase_add_test(tc, features_are_fixed_once_accepted);
	tcase_add_test(tc, driver_ok_without_negotiation_starts_nothing);
	tcase_add_test(tc, status_bits_are_not_taken_back_and_needs_reset_is_ours);
	tcase_add_test(tc, a_queue_that_is_set_up_wrongly_fails_the_device);
	tcase_add_test(tc, queues_are_not_enabled_while_the_device_runs);
	tcase_add_test(tc, failing_is_told_once_and_ends_with_a_reset);
	tcase_add_test(tc, a_device_that_cannot_start_needs_a_reset);
	tcase_add_test(tc, pausing_stops_and_resuming_starts);
	tcase_add_test(tc, the_machine_resets_a_running_device);
	tcase_add_test(tc, config_space_has_an_end);
	tcase_add_test(tc, a_config_change_bumps_the_generation_and_interrupts_a_driver);
	tcase_add_test(tc, the_guest_is_interrupted_only_when_it_wants_to_be);
	tcase_add_test(tc, kicks_of_queues_that_do_not_exist_are_ignored);
	tcase_add_test(tc, a_running_device_comes_back_from_saved_state);
	tcase_add_loop_test(tc, saved_state_with_a_lie_in_it_is_refused, 0, (int)NR_LIES);
	tcase_add_test(tc, damaged_streams_are_refused_or_load_something_valid);
	tcase_add_test(tc, guest_worker_and_machine_may_meddle_at_the_same_time);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
