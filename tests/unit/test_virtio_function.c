/* A virtio device on the PCI bus, as a driver finds and uses it: capabilities, the access window, notifications, reset, saved state. */
#include <check.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/fake_kvm.h"
#include "tests/unit/suite.h"
#include "vmm/layout.h"
#include "vmm/virtio_function.h"

#define NR_QUEUES 3
#define CONFIG_LEN 12

/* --- a device that does nothing, and counts --- */

struct dull {
	struct virtio_device dev; /* first */
	unsigned nr_starts, nr_stops, nr_resets;
};

static unsigned nr_destroyed;

static int dull_start(struct virtio_device *dev)
{
	((struct dull *)dev)->nr_starts++;
	return 0;
}

static void dull_stop(struct virtio_device *dev)
{
	((struct dull *)dev)->nr_stops++;
}

static void dull_reset(struct virtio_device *dev)
{
	((struct dull *)dev)->nr_resets++;
}

static void dull_destroy(struct virtio_device *dev)
{
	nr_destroyed++;
	virtio_device_fini(dev);
	free(dev);
}

static void dull_config_written(struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	(void)dev;
	ck_assert_uint_le(offset + len, CONFIG_LEN);
}

static const struct virtio_device_ops dull_ops = {
	.start = dull_start,
	.stop = dull_stop,
	.reset = dull_reset,
	.config_written = dull_config_written,
	.destroy = dull_destroy,
};

/* --- set-up --- */

static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct guest_ram *ram;
static struct bus ports, memory;
static struct pci pci;
static struct virtio_function *function;
static struct dull *dull;
static struct error err;

static struct dull *make_device(const char *name)
{
	struct dull *d = calloc(1, sizeof(*d));
	ck_assert_int_eq(
		virtio_device_init(&d->dev, &dull_ops, VIRTIO_ID_BLOCK_DEVICE, name, ram, 0, NR_QUEUES, 64, CONFIG_LEN, &err), 0);
	return d;
}

static void set_up(void)
{
	struct guest_ram_region region = {.size = 1 << 20};
	nr_destroyed = 0;
	ck_assert_int_eq(fake_kvm_open(&kvm, &vm), 0);
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
	bus_init(&ports);
	bus_init(&memory);
	ck_assert_int_eq(pci_init(&pci, &ports, &memory, &err), 0);
	dull = make_device("dull0");
	ck_assert_msg(virtio_function_create(&pci, vm, &dull->dev, 4, 0, &function, &err) == 0, "%s", err.text);
}

static void tear_down(void)
{
	virtio_function_destroy(function);
	pci_fini(&pci);
	bus_fini(&memory);
	bus_fini(&ports);
	guest_ram_destroy(ram);
	fake_kvm_close(kvm, vm);
}

/* --- a driver --- */

#define DEVFN (4 * 8)

static uint32_t config(unsigned reg, unsigned size)
{
	uint32_t value = 0;
	bus_read(&memory, LAYOUT_ECAM + (DEVFN << 12) + reg, &value, size);
	return value;
}

static void set_config(unsigned reg, uint32_t value, unsigned size)
{
	bus_write(&memory, LAYOUT_ECAM + (DEVFN << 12) + reg, &value, size);
}

static uint64_t bar(unsigned index)
{
	return config(PCI_BASE_ADDRESS_0 + 4 * index, 4) & ~0xfull;
}

static uint64_t get(unsigned offset, unsigned size)
{
	uint64_t value = 0;
	bus_read(&memory, bar(0) + offset, &value, size);
	return value;
}

static void put(unsigned offset, uint64_t value, unsigned size)
{
	bus_write(&memory, bar(0) + offset, &value, size);
}

/* The capability of a virtio part; 0 when there is none. */
static unsigned find_part(uint8_t type)
{
	unsigned at = config(PCI_CAPABILITY_LIST, 1);
	for (unsigned steps = 0; at && steps < 48; steps++, at = config(at + 1, 1))
		if (config(at, 1) == 9 && config(at + 3, 1) == type)
			return at;
	return 0;
}

static void negotiate(void)
{
	put(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	put(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	put(VIRTIO_PCI_COMMON_GF, 1, 4); /* VERSION_1 */
	put(VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_FEATURES_OK, 1);
	put(VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK, 1);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_DRIVER_OK);
}

START_TEST(the_function_is_a_modern_virtio_device)
{
	ck_assert_uint_eq(config(PCI_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(config(PCI_DEVICE_ID, 2), 0x1042);
	ck_assert_uint_ge(config(PCI_REVISION_ID, 1), 1);
	ck_assert_uint_eq(config(PCI_CLASS_DEVICE, 2), 0x0100);
	ck_assert_uint_eq(config(PCI_INTERRUPT_PIN, 1), 0);
}
END_TEST

START_TEST(every_part_lies_inside_its_bar_and_apart_from_the_others)
{
	uint64_t ends[5] = {0}, begins[5] = {0};
	for (uint8_t type = VIRTIO_PCI_CAP_COMMON_CFG; type <= VIRTIO_PCI_CAP_PCI_CFG; type++) {
		unsigned at = find_part(type);
		ck_assert_uint_ne(at, 0);
		ck_assert_uint_le(at + config(at + 2, 1), 256);
		if (type == VIRTIO_PCI_CAP_PCI_CFG)
			continue;
		begins[type - 1] = config(at + VIRTIO_PCI_CAP_OFFSET, 4);
		ends[type - 1] = begins[type - 1] + config(at + VIRTIO_PCI_CAP_LENGTH, 4);
		ck_assert_uint_eq(config(at + VIRTIO_PCI_CAP_BAR, 1), 0);
		ck_assert_uint_gt(ends[type - 1], begins[type - 1]);
		ck_assert_uint_le(ends[type - 1], VIRTIO_PCI_BAR_SIZE);
		for (unsigned other = 0; other + 1 < type; other++)
			ck_assert(begins[type - 1] >= ends[other] || begins[other] >= ends[type - 1]);
	}
	ck_assert_uint_eq(config(find_part(VIRTIO_PCI_CAP_NOTIFY_CFG) + VIRTIO_PCI_NOTIFY_CAP_MULT, 4), VIRTIO_PCI_NOTIFY_STRIDE);
}
END_TEST

START_TEST(registers_are_reached_through_the_window)
{
	unsigned window = find_part(VIRTIO_PCI_CAP_PCI_CFG), data = window + sizeof(struct virtio_pci_cap);
	set_config(window + VIRTIO_PCI_CAP_BAR, 0, 1);
	set_config(window + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_NUMQ, 4);
	set_config(window + VIRTIO_PCI_CAP_LENGTH, 2, 4);
	ck_assert_uint_eq(config(data, 4), NR_QUEUES);
	set_config(window + VIRTIO_PCI_CAP_OFFSET, VIRTIO_PCI_COMMON_Q_SELECT, 4);
	set_config(data, 2, 2);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	/* Where there is nothing. */
	static const struct {
		uint32_t bar, offset, length;
	} bad[] = {{1, 0, 4},
		   {5, 0, 4},
		   {0xff, 0, 4},
		   {0, 0x4000, 4},
		   {0, 0x3ffe, 4},
		   {0, UINT32_MAX, 1},
		   {0, UINT32_MAX - 3, 4},
		   {0, 0, UINT32_MAX},
		   {0, 0, 0},
		   {0, 1, 4},
		   {0, 0, 3},
		   {0, 0, 8}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set_config(window + VIRTIO_PCI_CAP_BAR, bad[i].bar, 1);
		set_config(window + VIRTIO_PCI_CAP_OFFSET, bad[i].offset, 4);
		set_config(window + VIRTIO_PCI_CAP_LENGTH, bad[i].length, 4);
		set_config(data, UINT32_MAX, 4);
		ck_assert_uint_eq(config(data, 4), 0);
	}
	/* The rest of the capability is not for the guest to change. */
	uint32_t head = config(window, 4);
	set_config(window, UINT32_MAX, 4);
	ck_assert_uint_eq(config(window, 4), head);
}
END_TEST

START_TEST(notifications_follow_the_bar)
{
	uint64_t home = bar(0);
	ck_assert_uint_eq(fake_kvm.nr_events, NR_QUEUES);
	for (unsigned q = 0; q < NR_QUEUES; q++) {
		ck_assert_uint_eq(fake_kvm.events[q].addr, home + VIRTIO_PCI_NOTIFY_OFFSET + q * VIRTIO_PCI_NOTIFY_STRIDE);
		ck_assert_int_eq(fake_kvm.events[q].fd, dull->dev.kick_fds[q]);
		ck_assert_uint_eq(fake_kvm.events[q].flags, 0);
	}
	set_config(PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	ck_assert_uint_eq(fake_kvm.nr_events, 0);
	set_config(PCI_BASE_ADDRESS_0, LAYOUT_PCI_WINDOW + 0x800000, 4);
	ck_assert_uint_eq(fake_kvm.nr_events, NR_QUEUES);
	set_config(PCI_COMMAND, 0, 2);
	ck_assert_uint_eq(fake_kvm.nr_events, 0);
	pci_reset(&pci);
	ck_assert_uint_eq(bar(0), home);
	ck_assert_uint_eq(fake_kvm.nr_events, NR_QUEUES);
	ck_assert_uint_eq(fake_kvm.nr_bad_events, 0);
}
END_TEST

START_TEST(without_eventfds_notifications_take_the_slow_way)
{
	struct pollfd kick = {.fd = dull->dev.kick_fds[1], .events = POLLIN};
	fake_kvm.refuse = KVM_IOEVENTFD;
	set_config(PCI_BASE_ADDRESS_0, LAYOUT_PCI_WINDOW + 0x800000, 4);
	ck_assert_int_eq(poll(&kick, 1, 0), 0);
	put(VIRTIO_PCI_NOTIFY_OFFSET + VIRTIO_PCI_NOTIFY_STRIDE, 1, 2);
	ck_assert_int_eq(poll(&kick, 1, 0), 1);
	put(VIRTIO_PCI_NOTIFY_OFFSET + NR_QUEUES * VIRTIO_PCI_NOTIFY_STRIDE, 1, 2);
	put(VIRTIO_PCI_BAR_SIZE - 4, 1, 4);
}
END_TEST

static void open_vector(unsigned vector)
{
	const uint32_t entry[4] = {0xfee00000, 0, 0x4000 + vector, 0};
	for (unsigned i = 0; i < 4; i++)
		bus_write(&memory, bar(1) + vector * 16 + 4 * i, &entry[i], 4);
}

static void enable_msix(bool on)
{
	unsigned at = config(PCI_CAPABILITY_LIST, 1);
	while (config(at, 1) != PCI_CAP_ID_MSIX)
		at = config(at + 1, 1);
	set_config(at + PCI_MSIX_FLAGS, on ? PCI_MSIX_FLAGS_ENABLE : 0, 2);
}

START_TEST(interrupts_go_by_the_vector_that_the_driver_chose)
{
	negotiate();
	put(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	put(VIRTIO_PCI_COMMON_Q_MSIX, 3, 2);
	put(VIRTIO_PCI_COMMON_MSIX, 0, 2);
	/* Without MSI-X, the status register alone tells. */
	dull->dev.transport->ops->queue_interrupt(dull->dev.transport, 1);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	ck_assert_uint_eq(get(0x1000, 1), 1);
	enable_msix(true);
	open_vector(0);
	open_vector(3);
	dull->dev.transport->ops->queue_interrupt(dull->dev.transport, 1);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4003);
	dull->dev.transport->ops->config_interrupt(dull->dev.transport);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4000);
	dull->dev.transport->ops->queue_interrupt(dull->dev.transport, 2); /* has no vector */
	ck_assert_uint_eq(fake_kvm.nr_messages, 2);
}
END_TEST

START_TEST(reset_leaves_a_device_as_new)
{
	negotiate();
	ck_assert_uint_eq(dull->nr_starts, 1);
	put(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	put(VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
	enable_msix(true);
	open_vector(1);
	virtio_function_reset(function);
	pci_reset(&pci);
	ck_assert_uint_eq(dull->nr_stops, 1);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	put(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_PCI_NO_VECTOR);
	negotiate();
	dull->dev.transport->ops->queue_interrupt(dull->dev.transport, 2);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	ck_assert_uint_eq(get(0x1000, 1), 1); /* MSI-X is off again */
}
END_TEST

static int load(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = pci_load(&pci, r, &err);
	if (ret == 0)
		ret = virtio_function_load(function, r, &err);
	if (ret == 0)
		ret = state_reader_finish(r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_device_goes_on_in_another_machine)
{
	struct state_writer *w = state_writer_new();
	negotiate();
	put(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	put(VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	put(0x2000, 0x0403020108070605, 8);
	enable_msix(true);
	open_vector(2);
	set_config(PCI_BASE_ADDRESS_0, LAYOUT_PCI_WINDOW + 0x900000, 4);
	virtio_device_pause(&dull->dev);
	pci_save(&pci, w);
	virtio_function_save(function, w);
	tear_down();
	set_up();
	virtio_device_pause(&dull->dev);
	ck_assert_msg(load(w) == 0, "%s", err.text);
	ck_assert_uint_eq(dull->nr_starts, 0);
	virtio_device_resume(&dull->dev);
	ck_assert_uint_eq(dull->nr_starts, 1);
	ck_assert_uint_eq(bar(0), LAYOUT_PCI_WINDOW + 0x900000);
	ck_assert_uint_eq(get(0x2000, 8), 0x0403020108070605);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	dull->dev.transport->ops->queue_interrupt(dull->dev.transport, 1);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4002);
	ck_assert_uint_eq(fake_kvm.nr_bad_events, 0);
	state_writer_free(w);
}
END_TEST

START_TEST(a_device_of_another_name_is_refused)
{
	struct state_writer *w = state_writer_new();
	pci_save(&pci, w);
	state_enter_new(w, "transport-dull1", 1);
	state_leave_new(w);
	ck_assert_int_eq(load(w), -EINVAL);
	ck_assert_msg(strstr(err.text, "transport-dull0 is missing") != NULL, "%s", err.text);
	state_writer_free(w);
}
END_TEST

START_TEST(a_device_without_a_place_is_given_back)
{
	struct virtio_function *none = NULL;
	ck_assert_int_eq(virtio_function_create(&pci, vm, &make_device("twin")->dev, 4, 0, &none, &err), -EBUSY);
	ck_assert_ptr_null(none);
	ck_assert_uint_eq(nr_destroyed, 1);
	ck_assert_msg(strncmp(err.text, "twin: ", 6) == 0, "%s", err.text);
	ck_assert_uint_eq(fake_kvm.nr_events, NR_QUEUES);
}
END_TEST

static void *raise_queues(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3000; i++)
		dull->dev.transport->ops->queue_interrupt(dull->dev.transport, i % NR_QUEUES);
	return NULL;
}

START_TEST(a_device_interrupts_while_the_guest_turns_every_knob)
{
	pthread_t thread;
	unsigned window = find_part(VIRTIO_PCI_CAP_PCI_CFG);
	negotiate();
	pthread_create(&thread, NULL, raise_queues, NULL);
	for (unsigned i = 0; i < 500; i++) {
		enable_msix(i & 1);
		open_vector(i % 4);
		put(VIRTIO_PCI_COMMON_Q_SELECT, i % NR_QUEUES, 2);
		put(VIRTIO_PCI_COMMON_Q_MSIX, i % 5, 2);
		get(0x1000, 1);
		set_config(window + VIRTIO_PCI_CAP_LENGTH, 4, 4);
		config(window + sizeof(struct virtio_pci_cap), 4);
		set_config(PCI_BASE_ADDRESS_0, LAYOUT_PCI_WINDOW + 0x800000 + (i & 3) * 0x4000, 4);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(fake_kvm.nr_bad_events, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtio function");
	TCase *tests = tcase_create("virtio function");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_function_is_a_modern_virtio_device);
	tcase_add_test(tests, every_part_lies_inside_its_bar_and_apart_from_the_others);
	tcase_add_test(tests, registers_are_reached_through_the_window);
	tcase_add_test(tests, notifications_follow_the_bar);
	tcase_add_test(tests, without_eventfds_notifications_take_the_slow_way);
	tcase_add_test(tests, interrupts_go_by_the_vector_that_the_driver_chose);
	tcase_add_test(tests, reset_leaves_a_device_as_new);
	tcase_add_test(tests, a_saved_device_goes_on_in_another_machine);
	tcase_add_test(tests, a_device_of_another_name_is_refused);
	tcase_add_test(tests, a_device_without_a_place_is_given_back);
	tcase_add_test(tests, a_device_interrupts_while_the_guest_turns_every_knob);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
