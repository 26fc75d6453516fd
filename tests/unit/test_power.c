/* ACPI's fixed hardware: the power button, soft off, the timer, the reset port. KVM is played by fake_kvm.h. */
#include <check.h>
#include <time.h>

#include "tests/unit/fake_kvm.h"
#include "tests/unit/suite.h"
#include "vmm/layout.h"
#include "vmm/pci.h"
#include "vmm/power.h"

#define STATUS (LAYOUT_PM_PORT + 0)
#define ENABLE (LAYOUT_PM_PORT + 2)
#define CONTROL (LAYOUT_PM_PORT + 4)
#define TIMER (LAYOUT_PM_PORT + 8)
#define BUTTON 0x0100u
#define SLEEP_ENABLE 0x2000u

static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct bus ports, memory;
static struct pci pci;
static struct power power;
static struct error err;
static unsigned nr_offs, nr_resets;

static void on_power_off(struct power_owner *owner)
{
	(void)owner;
	nr_offs++;
}

static void on_reset(struct power_owner *owner)
{
	(void)owner;
	nr_resets++;
}

static void set_up(void)
{
	static struct power_owner owner = {.power_off = on_power_off, .reset = on_reset};
	nr_offs = nr_resets = 0;
	ck_assert_int_eq(fake_kvm_open(&kvm, &vm), 0);
	bus_init(&ports);
	bus_init(&memory);
	ck_assert_int_eq(pci_init(&pci, &ports, &memory, &err), 0);
	ck_assert_int_eq(power_init(&power, &ports, vm, &owner, &err), 0);
	pci.reset_port = &power.reset_range;
}

static void tear_down(void)
{
	power_fini(&power);
	pci_fini(&pci);
	bus_fini(&memory);
	bus_fini(&ports);
	fake_kvm_close(kvm, vm);
}

static uint64_t in(unsigned port, unsigned size)
{
	uint64_t value = 0;
	bus_read(&ports, port, &value, size);
	return value;
}

static void out(unsigned port, uint64_t value, unsigned size)
{
	bus_write(&ports, port, &value, size);
}

static bool sci(void)
{
	return fake_kvm.line[LAYOUT_SCI_IRQ];
}

START_TEST(the_button_interrupts_who_listens)
{
	out(ENABLE, BUTTON, 2);
	ck_assert(!sci());
	power_press_button(&power);
	ck_assert(sci());
	ck_assert_uint_eq(in(STATUS, 2), BUTTON);
	power_press_button(&power);
	ck_assert_uint_eq(fake_kvm.line_raises[LAYOUT_SCI_IRQ], 1);
	out(STATUS, BUTTON, 2);
	ck_assert(!sci());
	ck_assert_uint_eq(in(STATUS, 2), 0);
	power_press_button(&power);
	ck_assert(sci());
}
END_TEST

START_TEST(the_button_waits_for_who_listens_later)
{
	power_press_button(&power);
	ck_assert(!sci());
	out(ENABLE, 0xffff, 2);
	ck_assert(sci());
	ck_assert_uint_eq(in(ENABLE, 2), 0x0520);
	out(ENABLE, 0, 2);
	ck_assert(!sci());
	ck_assert_uint_eq(in(STATUS, 2), BUTTON);
}
END_TEST

START_TEST(only_ones_clear_and_only_what_they_name)
{
	power_press_button(&power);
	out(STATUS, 0, 2);
	out(STATUS, (uint16_t)~BUTTON, 2);
	out(STATUS, 0xff, 1);
	ck_assert_uint_eq(in(STATUS, 2), BUTTON);
	out(STATUS + 1, BUTTON >> 8, 1);
	ck_assert_uint_eq(in(STATUS, 2), 0);
}
END_TEST

START_TEST(registers_may_be_accessed_by_any_width)
{
	out(STATUS, BUTTON << 16, 4); /* status and enable at once */
	ck_assert_uint_eq(in(ENABLE, 2), BUTTON);
	power_press_button(&power);
	ck_assert_uint_eq(in(STATUS, 4), BUTTON << 16 | BUTTON);
	ck_assert_uint_eq(in(STATUS, 8) & 0xffffffffffff, 0x000101000100);
	ck_assert_uint_eq(in(ENABLE + 1, 1), 1);
	out(ENABLE + 1, 0, 1);
	ck_assert_uint_eq(in(ENABLE, 2), 0);
	/* Across the end of the block: nobody's. */
	ck_assert_uint_eq(in(TIMER + 2, 4), 0xffffffff);
	out(TIMER + 2, UINT64_MAX, 4);
	for (unsigned at = 0; at < 12; at++)
		for (unsigned size = 1; size <= 8; size *= 2)
			out(LAYOUT_PM_PORT + at, 0, size);
	ck_assert_uint_eq(nr_offs, 0);
}
END_TEST

START_TEST(the_machine_is_always_in_acpi_mode)
{
	ck_assert_uint_eq(in(CONTROL, 2), 1);
	out(CONTROL, 0, 2);
	ck_assert_uint_eq(in(CONTROL, 2), 1);
	out(CONTROL, 0xdfff, 2); /* all but sleep enable */
	ck_assert_uint_eq(in(CONTROL, 2), 0x1c01);
	ck_assert_uint_eq(nr_offs, 0);
}
END_TEST

START_TEST(soft_off_asks_the_owner_once)
{
	out(CONTROL, SLEEP_ENABLE, 2);
	ck_assert_uint_eq(nr_offs, 1);
	ck_assert_uint_eq(in(CONTROL, 2), 1); /* the bit reads as zero */
	out(CONTROL + 1, SLEEP_ENABLE >> 8, 1);
	ck_assert_uint_eq(nr_offs, 2);
	out(ENABLE, (uint64_t)SLEEP_ENABLE << 16, 4);
	ck_assert_uint_eq(nr_offs, 3);
	/* Sleep states that are not there. */
	for (unsigned type = 1; type < 8; type++)
		out(CONTROL, SLEEP_ENABLE | type << 10, 2);
	out(CONTROL, SLEEP_ENABLE & 0xff, 1);
	ck_assert_uint_eq(nr_offs, 3);
}
END_TEST

START_TEST(port_cf9_resets)
{
	out(0xcf9, 0x02, 1);
	ck_assert_uint_eq(in(0xcf9, 1), 0x02);
	ck_assert_uint_eq(nr_resets, 0);
	out(0xcf9, 0x06, 1);
	ck_assert_uint_eq(nr_resets, 1);
	ck_assert_uint_eq(in(0xcf9, 1), 0x02);
	/* Not a byte: the address register of PCI. */
	out(0xcf8, 0x80000600, 4);
	out(0xcf9, 0x06, 2);
	ck_assert_uint_eq(nr_resets, 1);
}
END_TEST

START_TEST(the_timer_runs_at_its_rate)
{
	struct timespec before, after;
	clock_gettime(CLOCK_MONOTONIC, &before);
	uint32_t first = (uint32_t)in(TIMER, 4);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	uint32_t ticks = (uint32_t)in(TIMER, 4) - first;
	clock_gettime(CLOCK_MONOTONIC, &after);
	double most = ((double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9) * 3579545;
	ck_assert_uint_ge(ticks, 3579545 / 20);
	ck_assert_uint_le(ticks, (uint32_t)most + 2);
	out(TIMER, 0, 4); /* read-only */
	ck_assert_uint_ge((uint32_t)in(TIMER, 4) - first, ticks);
}
END_TEST

START_TEST(reset_forgets_all)
{
	out(ENABLE, BUTTON, 2);
	out(CONTROL, 0x1400, 2);
	out(0xcf9, 0x0a, 1);
	power_press_button(&power);
	ck_assert(sci());
	power_reset(&power);
	ck_assert(!sci());
	ck_assert_uint_eq(in(STATUS, 4), 0);
	ck_assert_uint_eq(in(CONTROL, 2), 1);
	ck_assert_uint_eq(in(0xcf9, 1), 0);
}
END_TEST

static int load(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = power_load(&power, r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_state_is_loaded)
{
	struct state_writer *w = state_writer_new();
	out(ENABLE, BUTTON, 2);
	out(CONTROL, 0x0400, 2);
	power_press_button(&power);
	power.timer_offset = 0x80000000;
	uint32_t ticks = (uint32_t)in(TIMER, 4);
	power_save(&power, w);
	tear_down();
	set_up();
	power.timer_offset = 0;
	ck_assert_int_eq(load(w), 0);
	ck_assert(sci());
	ck_assert_uint_eq(in(STATUS, 4), BUTTON << 16 | BUTTON);
	ck_assert_uint_eq(in(CONTROL, 2), 0x0401);
	ck_assert_uint_lt((uint32_t)in(TIMER, 4) - ticks, 10 * 3579545); /* it went on, not back */
	state_writer_free(w);
}
END_TEST

static int load_values(uint64_t status, uint64_t enable, uint64_t control, uint64_t reset, uint64_t timer)
{
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "power", 1);
	state_put(w, "pm1-status", status);
	state_put(w, "pm1-enable", enable);
	state_put(w, "pm1-control", control);
	state_put(w, "reset", reset);
	state_put(w, "timer", timer);
	state_leave_new(w);
	int ret = load(w);
	state_writer_free(w);
	return ret;
}

START_TEST(states_out_of_range_are_refused)
{
	ck_assert_int_eq(load_values(0x8120, 0x0520, 0x1c00, 0x0a, UINT32_MAX), 0);
	ck_assert_int_eq(load_values(0xffff, 0, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(load_values(0, 0xffff, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(load_values(0, 0, 0x3c00, 0, 0), -EINVAL);
	ck_assert_int_eq(load_values(0, 0, 0, 0x0b, 0), -EINVAL);
	ck_assert_int_eq(load_values(0, 0, 0, 0, 1ull << 32), -EINVAL);
	ck_assert_int_eq(load_values(0xff, 0xff, 0xff, 0x9, 0), 0); /* bits that do not exist are dropped */
	ck_assert_uint_eq(in(STATUS, 4), 0x00200020);
	ck_assert_uint_eq(in(CONTROL, 2), 1);
	ck_assert_uint_eq(nr_offs + nr_resets, 0);
}
END_TEST

static void *presser(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3000; i++)
		power_press_button(&power);
	return NULL;
}

START_TEST(the_button_is_pressed_while_the_guest_acknowledges)
{
	pthread_t thread;
	out(ENABLE, BUTTON, 2);
	pthread_create(&thread, NULL, presser, NULL);
	for (unsigned i = 0; i < 3000; i++)
		out(STATUS, in(STATUS, 2), 2);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(sci(), in(STATUS, 2) == BUTTON);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("power");
	TCase *tests = tcase_create("power");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_button_interrupts_who_listens);
	tcase_add_test(tests, the_button_waits_for_who_listens_later);
	tcase_add_test(tests, only_ones_clear_and_only_what_they_name);
	tcase_add_test(tests, registers_may_be_accessed_by_any_width);
	tcase_add_test(tests, the_machine_is_always_in_acpi_mode);
	tcase_add_test(tests, soft_off_asks_the_owner_once);
	tcase_add_test(tests, port_cf9_resets);
	tcase_add_test(tests, the_timer_runs_at_its_rate);
	tcase_add_test(tests, reset_forgets_all);
	tcase_add_test(tests, a_saved_state_is_loaded);
	tcase_add_test(tests, states_out_of_range_are_refused);
	tcase_add_test(tests, the_button_is_pressed_while_the_guest_acknowledges);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
