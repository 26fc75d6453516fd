/* The PCI transport: registers as the standard lays them out, and accesses as no driver would make them. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_pci.h>
#include <poll.h>

#include "tests/unit/virtio_driver.h"
#include "virtio/pci.h"

#define RAM_SIZE (1u << 20)
#define RINGS 0x1000
#define NO_VECTOR 0xffffu
#define BAR 4

enum { COMMON = 0, ISR = 0x1000, DEVICE = 0x2000, NOTIFY = 0x3000 };

static unsigned starts, stops;

static int count_start(struct virtio_device *dev)
{
	(void)dev;
	starts++;
	return 0;
}

static void count_stop(struct virtio_device *dev)
{
	(void)dev;
	stops++;
}

static void accept_config(struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	(void)dev;
	(void)offset;
	(void)len;
}

static void destroy(struct virtio_device *dev)
{
	virtio_device_fini(dev);
}

static const struct virtio_device_ops dev_ops = {
	.config_written = accept_config,
	.start = count_start,
	.stop = count_stop,
	.destroy = destroy,
};

struct fake_host {
	struct virtio_pci_host host;
	bool enabled;
	unsigned raised[8];
};

static void fake_raise(struct virtio_pci_host *host, unsigned vector)
{
	ck_assert_uint_lt(vector, 8);
	((struct fake_host *)host)->raised[vector]++;
}

static bool fake_enabled(struct virtio_pci_host *host)
{
	return ((struct fake_host *)host)->enabled;
}

static const struct virtio_pci_host_ops host_ops = {fake_raise, fake_enabled};

static uint64_t seed;
static struct guest_ram *ram;
static struct virtio_device dev;
static struct fake_host host;
static struct virtio_pci *vp;

/* Three queues, 12 bytes of config. */
static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	starts = stops = 0;
	host = (struct fake_host){.host = {&host_ops}, .enabled = true};
	ck_assert_int_eq(virtio_device_init(&dev, &dev_ops, VIRTIO_ID_BLOCK_DEVICE, "d0", ram, 1u << 5, 3, 64, 12, NULL), 0);
	vp = virtio_pci_create(&dev, &host.host);
	ck_assert_ptr_nonnull(vp);
	uint8_t cap[32];
	virtio_pci_capability(vp, 0, BAR, cap);
}

static void tear_down(void)
{
	virtio_pci_destroy(vp);
	virtio_device_destroy(&dev);
	ck_assert_uint_eq(starts, stops);
	guest_ram_destroy(ram);
}

static uint64_t rd(uint32_t offset, unsigned size)
{
	uint64_t value = 0;
	virtio_pci_bar_read(vp, offset, &value, size);
	return value;
}

static void wr(uint32_t offset, uint64_t value, unsigned size)
{
	virtio_pci_bar_write(vp, offset, &value, size);
}

static void negotiate(uint64_t features)
{
	wr(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	wr(VIRTIO_PCI_COMMON_STATUS, 3, 1);
	wr(VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	wr(VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
	wr(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	wr(VIRTIO_PCI_COMMON_GF, features >> 32, 4);
	wr(VIRTIO_PCI_COMMON_STATUS, 11, 1);
}

static void set_up_queue(uint16_t queue, const struct driver_queue *dq)
{
	wr(VIRTIO_PCI_COMMON_Q_SELECT, queue, 2);
	wr(VIRTIO_PCI_COMMON_Q_SIZE, dq->size, 2);
	wr(VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)dq->desc, 4);
	wr(VIRTIO_PCI_COMMON_Q_DESCHI, dq->desc >> 32, 4);
	wr(VIRTIO_PCI_COMMON_Q_AVAILLO, (uint32_t)dq->avail, 4);
	wr(VIRTIO_PCI_COMMON_Q_AVAILHI, dq->avail >> 32, 4);
	wr(VIRTIO_PCI_COMMON_Q_USEDLO, dq->used, 8); /* both ways work */
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

static void bring_up(void)
{
	struct driver_queue dq;
	driver_queue_init(&dq, ram, RINGS, 16);
	negotiate(1ull << 32);
	set_up_queue(1, &dq);
	wr(VIRTIO_PCI_COMMON_STATUS, 15, 1);
	ck_assert_uint_eq(starts, stops + 1);
}

START_TEST(a_device_says_what_it_is)
{
	ck_assert_uint_eq(virtio_pci_device_id(vp), 0x1042);
	ck_assert_uint_eq(virtio_pci_class(vp), 0x010000);
	ck_assert_uint_eq(virtio_pci_nr_vectors(vp), 4);
	static const struct {
		enum virtio_device_id id;
		uint32_t class;
	} classes[] = {{VIRTIO_ID_NET_DEVICE, 0x020000},
		       {VIRTIO_ID_CONSOLE_DEVICE, 0x078000},
		       {VIRTIO_ID_ENTROPY_DEVICE, 0x00ff00},
		       {VIRTIO_ID_BALLOON_DEVICE, 0x00ff00},
		       {VIRTIO_ID_VSOCK_DEVICE, 0x078000}};
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		dev.id = classes[i].id;
		ck_assert_uint_eq(virtio_pci_class(vp), classes[i].class);
		ck_assert_uint_eq(virtio_pci_device_id(vp), 0x1040u + dev.id);
	}
}
END_TEST

/* Finds a capability as a driver does; returns whether there is one. */
static bool find_cap(uint8_t type, struct virtio_pci_cap *out, uint32_t *extra)
{
	for (unsigned i = 0;; i++) {
		uint8_t whole[34] = {9, 0};
		size_t len = virtio_pci_capability(vp, i, BAR, whole + 2);
		if (len == 0)
			return false;
		ck_assert_uint_eq(whole[2], len + 2);
		ck_assert_uint_eq(virtio_pci_capability_is_window(vp, i), whole[3] == VIRTIO_PCI_CAP_PCI_CFG);
		if (whole[3] == type) {
			memcpy(out, whole, sizeof(*out));
			memcpy(extra, whole + sizeof(*out), sizeof(*extra));
			return true;
		}
	}
}

START_TEST(capabilities_lead_a_driver_to_each_part)
{
	struct virtio_pci_cap cap;
	uint32_t extra;
	ck_assert(find_cap(VIRTIO_PCI_CAP_COMMON_CFG, &cap, &extra));
	ck_assert(cap.bar == BAR && cap.offset == COMMON && cap.length >= 56);
	ck_assert(find_cap(VIRTIO_PCI_CAP_ISR_CFG, &cap, &extra));
	ck_assert(cap.offset == ISR && cap.length >= 1);
	ck_assert(find_cap(VIRTIO_PCI_CAP_DEVICE_CFG, &cap, &extra));
	ck_assert(cap.offset == DEVICE && cap.length == 12);
	ck_assert(find_cap(VIRTIO_PCI_CAP_NOTIFY_CFG, &cap, &extra));
	ck_assert(cap.offset == NOTIFY && cap.length == 12 && cap.cap_len == 20 && extra == 4);
	ck_assert(find_cap(VIRTIO_PCI_CAP_PCI_CFG, &cap, &extra));
	ck_assert_uint_eq(cap.cap_len, 20);
	ck_assert(virtio_pci_capability_is_window(vp, 4));
	ck_assert(!virtio_pci_capability_is_window(vp, 5));
	dev.config_len = 0;
	ck_assert(!find_cap(VIRTIO_PCI_CAP_DEVICE_CFG, &cap, &extra));
	ck_assert(find_cap(VIRTIO_PCI_CAP_PCI_CFG, &cap, &extra));
	ck_assert(virtio_pci_capability_is_window(vp, 3));
}
END_TEST

START_TEST(a_new_device_reads_as_the_standard_says)
{
	wr(VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), (1u << 5) | (1u << 28) | (1u << 29));
	wr(VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 1);
	wr(VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 0);
	wr(VIRTIO_PCI_COMMON_DFSELECT, UINT32_MAX, 4);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DFSELECT, 4), UINT32_MAX);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_NUMQ, 2), 3);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	for (uint16_t queue = 0; queue < 3; queue++) {
		wr(VIRTIO_PCI_COMMON_Q_SELECT, queue, 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_NOFF, 2), queue);
	}
}
END_TEST

START_TEST(a_driver_brings_the_device_up_and_down)
{
	bring_up();
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 15);
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 8), RINGS);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 4), RINGS);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 1);
	wr(VIRTIO_PCI_COMMON_MSIX, 3, 2);
	wr(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	ck_assert_uint_eq(stops, 1);
	bring_up();
}
END_TEST

START_TEST(a_queue_that_is_enabled_does_not_change)
{
	bring_up();
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	wr(VIRTIO_PCI_COMMON_Q_SIZE, 4, 2);
	wr(VIRTIO_PCI_COMMON_Q_DESCLO, 0xffff0000, 4);
	wr(VIRTIO_PCI_COMMON_Q_USEDLO, ~0ull, 8);
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 4), RINGS);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* And those that are not enabled stay so while the device runs. */
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	wr(VIRTIO_PCI_COMMON_Q_SIZE, 4, 2);
	wr(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 15);
}
END_TEST

START_TEST(a_queue_of_a_bad_size_fails_the_device_when_enabled)
{
	struct driver_queue dq;
	driver_queue_init(&dq, ram, RINGS, 16);
	dq.size = 17;
	negotiate(1ull << 32);
	set_up_queue(0, &dq);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 11 | DRIVER_NEEDS_RESET);
}
END_TEST

START_TEST(queues_that_do_not_exist_read_as_nothing_and_take_nothing)
{
	static const uint16_t none[] = {3, 4, 64, 65, 0x7fff, 0xffff};
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		wr(VIRTIO_PCI_COMMON_Q_SELECT, none[i], 2);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SELECT, 2), none[i]);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
		for (uint32_t offset = VIRTIO_PCI_COMMON_Q_SIZE; offset < 64; offset++) {
			for (unsigned size = 1; size <= 8; size *= 2)
				wr(offset, 0x0101010101010101, size);
		}
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
}
END_TEST

START_TEST(vectors_that_do_not_exist_are_refused)
{
	wr(VIRTIO_PCI_COMMON_MSIX, 3, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), 3);
	wr(VIRTIO_PCI_COMMON_MSIX, 4, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	wr(VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), 0);
	wr(VIRTIO_PCI_COMMON_Q_MSIX, 0x8000, 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
}
END_TEST

START_TEST(interrupts_go_to_their_vectors)
{
	bring_up();
	wr(VIRTIO_PCI_COMMON_MSIX, 2, 2);
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	virtq_push(&dev.queues[1], 0, 0);
	virtio_device_notify_guest(&dev, 1);
	ck_assert_msg(host.raised[0] + host.raised[1] + host.raised[2] + host.raised[3] == 0, "no vector was given");
	wr(VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
	virtq_push(&dev.queues[1], 0, 0);
	virtio_device_notify_guest(&dev, 1);
	ck_assert_uint_eq(host.raised[1], 1);
	ck_assert_uint_eq(rd(ISR, 1), 0);
	virtio_device_update_config(&dev, 0, "x", 1);
	ck_assert_uint_eq(host.raised[2], 1);
	ck_assert_uint_eq(rd(ISR, 1), 2);
	ck_assert_uint_eq(rd(ISR, 1), 0);
}
END_TEST

START_TEST(without_msix_interrupts_stay_in_the_isr_until_read)
{
	host.enabled = false;
	bring_up();
	wr(VIRTIO_PCI_COMMON_MSIX, 2, 2);
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	wr(VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
	virtq_push(&dev.queues[1], 0, 0);
	virtio_device_notify_guest(&dev, 1);
	virtio_device_update_config(&dev, 0, "x", 1);
	ck_assert_uint_eq(host.raised[1] + host.raised[2], 0);
	ck_assert_uint_eq(rd(ISR, 2), 0);
	ck_assert_uint_eq(rd(ISR + 1, 1), 0);
	ck_assert_uint_eq(rd(ISR, 1), 3);
	ck_assert_uint_eq(rd(ISR, 1), 0);
}
END_TEST

START_TEST(accesses_of_the_wrong_width_or_place_do_nothing)
{
	struct driver_queue dq;
	driver_queue_init(&dq, ram, RINGS, 16);
	negotiate(1ull << 32);
	for (uint32_t offset = 0; offset < 0x1000; offset++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			static const uint8_t width[56] = {
				[0] = 4,  [4] = 4,  [8] = 4,  [12] = 4, [16] = 2, [18] = 2, [20] = 1, [21] = 1, [22] = 2, [24] = 2,
				[26] = 2, [28] = 2, [30] = 2, [32] = 4, [36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4,
			};
			bool right = offset < 56 &&
				     (size == width[offset] || (size == 8 && (offset == 32 || offset == 40 || offset == 48)));
			if (right)
				continue;
			uint8_t before[56], after[56];
			for (uint32_t i = 0; i < 56; i++) {
				if (width[i])
					virtio_pci_bar_read(vp, i, before + i, width[i]);
			}
			wr(offset, 0x5a5a5a5a5a5a5a5a, size);
			ck_assert_uint_eq(rd(offset, size), 0);
			for (uint32_t i = 0; i < 56; i++) {
				if (width[i])
					virtio_pci_bar_read(vp, i, after + i, width[i]);
			}
			for (uint32_t i = 0; i < 56; i++) {
				if (width[i])
					ck_assert(memcmp(before + i, after + i, width[i]) == 0);
			}
		}
		if (offset == 64)
			offset = 0xff0;
	}
}
END_TEST

START_TEST(config_space_is_reached_in_any_width)
{
	for (uint8_t i = 0; i < 12; i++)
		dev.config[i] = (uint8_t)(0x10 + i);
	ck_assert_uint_eq(rd(DEVICE, 8), 0x1716151413121110);
	ck_assert_uint_eq(rd(DEVICE + 10, 4), 0x1b1a);
	ck_assert_uint_eq(rd(DEVICE + 0xffc, 4), 0);
	wr(DEVICE + 11, 0xeeff, 2);
	ck_assert_uint_eq(rd(DEVICE + 11, 1), 0xff);
	ck_assert_uint_eq(dev.config[12], 0);
	wr(DEVICE + 0xfff, 0xff, 8);
	uint8_t generation = (uint8_t)rd(VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	virtio_device_update_config(&dev, 0, "x", 1);
	ck_assert_uint_ne(rd(VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
}
END_TEST

static bool kicked(unsigned queue)
{
	struct pollfd p = {.fd = dev.kick_fds[queue], .events = POLLIN};
	if (poll(&p, 1, 0) != 1)
		return false;
	uint64_t count;
	return read(p.fd, &count, sizeof(count)) == sizeof(count);
}

START_TEST(notifications_reach_the_queue_that_their_place_names)
{
	wr(NOTIFY + 8, 0, 2);
	ck_assert(kicked(2) && !kicked(0) && !kicked(1));
	wr(NOTIFY, 0, 4);
	ck_assert(kicked(0));
	wr(NOTIFY + 4, 0, 1);
	wr(NOTIFY + 5, 0, 2);
	wr(NOTIFY + 12, 0, 2);
	wr(NOTIFY + 0xffc, 0, 4);
	ck_assert(!kicked(0) && !kicked(1) && !kicked(2));
	ck_assert_uint_eq(rd(NOTIFY, 4), 0);
}
END_TEST

START_TEST(accesses_past_the_bar_do_nothing)
{
	static const uint32_t past[] = {0x4000, 0x5000, 0x10000, 0xfffff000, 0xffffffff};
	for (size_t i = 0; i < sizeof(past) / sizeof(past[0]); i++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			wr(past[i], ~0ull, size);
			ck_assert_uint_eq(rd(past[i], size), 0);
		}
	}
}
END_TEST

START_TEST(the_window_reaches_the_bar)
{
	uint8_t data[4] = {0xaa, 0xaa, 0xaa, 0xaa};
	virtio_pci_window_read(vp, BAR, VIRTIO_PCI_COMMON_NUMQ, 2, data);
	ck_assert(memcmp(data, "\x03\0\0\0", 4) == 0);
	data[0] = 1;
	virtio_pci_window_write(vp, BAR, VIRTIO_PCI_COMMON_STATUS, 1, data);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 1);
}
END_TEST

START_TEST(a_window_to_nowhere_reads_zero_and_writes_nothing)
{
	static const struct {
		uint8_t bar;
		uint32_t offset, length;
	} bad[] = {
		{BAR + 1, 20, 1},
		{0, 20, 1},
		{255, 20, 1},
		{BAR, 20, 0},
		{BAR, 20, 3},
		{BAR, 20, 8},
		{BAR, 20, ~0u},
		{BAR, 0x4000, 1},
		{BAR, ~0u, 1},
		{BAR, 0xfffffffc, 4},
		{BAR, 18, 4 /* crooked */},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t data[4] = {1, 1, 1, 1};
		virtio_pci_window_write(vp, bad[i].bar, bad[i].offset, bad[i].length, data);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0);
		virtio_pci_window_read(vp, bad[i].bar, bad[i].offset, bad[i].length, data);
		ck_assert(memcmp(data, "\0\0\0\0", 4) == 0);
	}
}
END_TEST

/* --- saved state --- */

static int reload(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	state_enter(r, "pci", 1);
	virtio_pci_load(vp, r);
	int ret = state_leave(r, NULL);
	state_reader_free(r);
	state_writer_free(w);
	return ret;
}

START_TEST(selectors_and_vectors_come_back_from_saved_state)
{
	wr(VIRTIO_PCI_COMMON_DFSELECT, 7, 4);
	wr(VIRTIO_PCI_COMMON_GFSELECT, 8, 4);
	wr(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	wr(VIRTIO_PCI_COMMON_Q_MSIX, 3, 2);
	wr(VIRTIO_PCI_COMMON_MSIX, 1, 2);
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "pci", 1);
	virtio_pci_save(vp, w);
	state_leave_new(w);
	virtio_pci_reset(vp);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	ck_assert_int_eq(reload(w), 0);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DFSELECT, 4), 7);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GFSELECT, 4), 8);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), 3);
	ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), 1);
}
END_TEST

START_TEST(a_saved_vector_that_does_not_exist_is_refused)
{
	for (unsigned which = 0; which < 2; which++) {
		struct state_writer *w = state_writer_new();
		state_enter_new(w, "pci", 1);
		state_put(w, "device_feature_select", 0);
		state_put(w, "driver_feature_select", 0);
		state_put(w, "queue_select", 0);
		state_put(w, "isr", 0);
		state_put(w, "config_vector", which ? 0 : 4);
		state_put(w, "queue0.vector", 0);
		state_put(w, "queue1.vector", which ? 0xfffe : 0);
		state_put(w, "queue2.vector", 0);
		state_leave_new(w);
		ck_assert_int_eq(reload(w), -EINVAL);
		ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), which ? 0 : NO_VECTOR);
	}
}
END_TEST

START_TEST(random_accesses_do_no_harm)
{
	struct dice dice = {seed + (uint64_t)_i};
	for (unsigned i = 0; i < 30000; i++) {
		uint32_t offset = dice_roll(&dice, 4) * 0x1000 + dice_roll(&dice, dice_roll(&dice, 2) ? 64 : 0x1000);
		unsigned size = 1u << dice_roll(&dice, 4);
		uint64_t value = dice_roll(&dice, 2) ? dice_roll(&dice, 70) : dice_roll(&dice, UINT32_MAX) * 0x100000001ull;
		if (dice_roll(&dice, 50) == 0)
			bring_up();
		if (dice_roll(&dice, 2))
			rd(offset, size);
		else
			wr(offset, value, size);
		host.enabled = dice_roll(&dice, 2);
		for (unsigned q = 0; q < 3; q++) {
			const struct virtq *vq = &dev.queues[q];
			ck_assert(!vq->enabled || (vq->size <= 64 && guest_ram_at(ram, vq->desc_gpa, 16u * vq->size)));
		}
		ck_assert(!dev.running || (dev.status & DRIVER_OK));
		if (dev.status & DRIVER_FEATURES_OK)
			ck_assert_uint_eq(dev.features_acked & ~dev.features_offered, 0);
		if (starts > stops && dice_roll(&dice, 20) == 0)
			wr(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	}
}
END_TEST

int main(void)
{
	seed = dice_seed();
	Suite *suite = suite_create("virtio_pci");
	TCase *tc = tcase_create("pci");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_device_says_what_it_is);
	tcase_add_test(tc, capabilities_lead_a_driver_to_each_part);
	tcase_add_test(tc, a_new_device_reads_as_the_standard_says);
	tcase_add_test(tc, a_driver_brings_the_device_up_and_down);
	tcase_add_test(tc, a_queue_that_is_enabled_does_not_change);
	tcase_add_test(tc, a_queue_of_a_bad_size_fails_the_device_when_enabled);
	tcase_add_test(tc, queues_that_do_not_exist_read_as_nothing_and_take_nothing);
	tcase_add_test(tc, vectors_that_do_not_exist_are_refused);
	tcase_add_test(tc, interrupts_go_to_their_vectors);
	tcase_add_test(tc, without_msix_interrupts_stay_in_the_isr_until_read);
	tcase_add_test(tc, accesses_of_the_wrong_width_or_place_do_nothing);
	tcase_add_test(tc, config_space_is_reached_in_any_width);
	tcase_add_test(tc, notifications_reach_the_queue_that_their_place_names);
	tcase_add_test(tc, accesses_past_the_bar_do_nothing);
	tcase_add_test(tc, the_window_reaches_the_bar);
	tcase_add_test(tc, a_window_to_nowhere_reads_zero_and_writes_nothing);
	tcase_add_test(tc, selectors_and_vectors_come_back_from_saved_state);
	tcase_add_test(tc, a_saved_vector_that_does_not_exist_is_refused);
	tcase_add_loop_test(tc, random_accesses_do_no_harm, 0, 4);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed)
		printf("to repeat: PAGODA_SEED=%llu\n", (unsigned long long)seed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
