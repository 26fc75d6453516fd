/* The serial port as a driver sees it. The chardev behind it is the fake below; KVM is played by fake_kvm.h. */
#include <check.h>
#include <linux/serial_reg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/unit/fake_kvm.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/serial.h"

#define PORT 0x3f8
#define IRQ 4

/* --- a chardev that takes as much as it is told to --- */

static struct chardev_user *user;
static size_t capacity;
static char output[1 << 16];
static size_t output_len;
static atomic_uint nr_accepts;
static int attach_result;

size_t chardev_write(struct chardev_user *self, const void *data, size_t len)
{
	(void)self;
	size_t taken = len < capacity ? len : capacity;
	if (taken > sizeof(output) - output_len)
		taken = sizeof(output) - output_len;
	memcpy(output + output_len, data, taken);
	output_len += taken;
	capacity -= taken;
	return taken;
}

int chardev_attach(struct chardev *chardev, struct chardev_user *self, struct error *err)
{
	(void)chardev;
	user = attach_result ? NULL : self;
	return attach_result ? error_set(err, -attach_result, "in use") : 0;
}

void chardev_detach(struct chardev_user *self)
{
	ck_assert_ptr_eq(self, user);
	user = NULL;
}

void chardev_accept_input_async(struct chardev_user *self)
{
	if (self != user)
		abort();
	nr_accepts++;
}

/* --- set-up --- */

static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct bus ports;
static struct serial serial;
static struct error err;

static void set_up(void)
{
	static char chardev;
	capacity = SIZE_MAX;
	output_len = 0;
	nr_accepts = 0;
	attach_result = 0;
	ck_assert_int_eq(fake_kvm_open(&kvm, &vm), 0);
	bus_init(&ports);
	ck_assert_int_eq(serial_init(&serial, 0, &ports, vm, (struct chardev *)&chardev, &err), 0);
}

static void tear_down(void)
{
	serial_fini(&serial);
	ck_assert_ptr_null(user);
	bus_fini(&ports);
	fake_kvm_close(kvm, vm);
}

static uint8_t in(unsigned reg)
{
	uint8_t value = 0;
	bus_read(&ports, PORT + reg, &value, 1);
	return value;
}

static void out(unsigned reg, unsigned value)
{
	uint8_t byte = (uint8_t)value;
	bus_write(&ports, PORT + reg, &byte, 1);
}

static bool irq(void)
{
	return fake_kvm.line[IRQ];
}

static size_t room(void)
{
	return user->ops->room(user);
}

/* As a chardev does: never more than there is room for. */
static void type(const char *text)
{
	ck_assert_uint_ge(room(), strlen(text));
	user->ops->receive(user, text, strlen(text));
}

START_TEST(output_goes_straight_through)
{
	for (const char *c = "hello"; *c; c++) {
		ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
		out(UART_TX, (unsigned char)*c);
	}
	ck_assert_uint_eq(output_len, 5);
	ck_assert_mem_eq(output, "hello", 5);
}
END_TEST

START_TEST(input_comes_in_order_and_interrupts)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_IER, UART_IER_RDI);
	ck_assert(!irq());
	type("ab");
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_IIR), 0xc0 | UART_IIR_RDI);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
	ck_assert_uint_eq(in(UART_RX), 'a');
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_RX), 'b');
	ck_assert(!irq());
	ck_assert_uint_eq(in(UART_IIR), 0xc0 | UART_IIR_NO_INT);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
	ck_assert_uint_eq(in(UART_RX), 0);
}
END_TEST

START_TEST(input_stops_at_a_full_fifo_and_goes_on_when_it_is_read)
{
	type("0123456789abcdef");
	ck_assert_uint_eq(room(), 0);
	ck_assert_uint_eq(nr_accepts, 0);
	in(UART_RX);
	ck_assert_uint_eq(nr_accepts, 1);
	ck_assert_uint_eq(room(), 1);
	in(UART_RX);
	ck_assert_uint_eq(nr_accepts, 1);
	type("xy");
	out(UART_FCR, UART_FCR_CLEAR_RCVR); /* empties it, too */
	ck_assert_uint_eq(nr_accepts, 2);
	ck_assert_uint_eq(room(), SERIAL_FIFO_SIZE);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
}
END_TEST

START_TEST(turning_the_fifo_on_or_off_empties_it)
{
	type("a");
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
	type("b");
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	ck_assert_uint_eq(in(UART_RX), 'b');
	type("c");
	out(UART_FCR, 0);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, 0);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
}
END_TEST

START_TEST(the_line_is_cut_in_loopback_and_comes_back)
{
	out(UART_MCR, UART_MCR_LOOP);
	ck_assert_uint_eq(room(), 0); /* the chardev stops reading here, and waits to be told */
	out(UART_TX, 'x');
	ck_assert_uint_eq(output_len, 0);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_DR, UART_LSR_DR);
	ck_assert_uint_eq(in(UART_RX), 'x');
	ck_assert_uint_eq(nr_accepts, 0);
	out(UART_MCR, UART_MCR_DTR);
	ck_assert_uint_eq(nr_accepts, 1);
	ck_assert_uint_eq(room(), SERIAL_FIFO_SIZE);
}
END_TEST

START_TEST(loopback_wires_modem_outputs_to_inputs)
{
	static const struct {
		unsigned mcr, msr;
	} wires[] = {
		{0, 0},
		{UART_MCR_RTS, UART_MSR_CTS},
		{UART_MCR_DTR, UART_MSR_DSR},
		{UART_MCR_OUT1, UART_MSR_RI},
		{UART_MCR_OUT2, UART_MSR_DCD},
		{UART_MCR_OUT2 | UART_MCR_RTS, UART_MSR_DCD | UART_MSR_CTS},
	};
	for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
		out(UART_MCR, UART_MCR_LOOP | wires[i].mcr);
		ck_assert_uint_eq(in(UART_MSR)&0xf0, wires[i].msr);
		ck_assert_uint_eq(in(UART_MCR), UART_MCR_LOOP | wires[i].mcr);
	}
	out(UART_MCR, 0xff);
	ck_assert_uint_eq(in(UART_MCR), 0x1f);
	out(UART_MCR, 0);
	ck_assert_uint_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
}
END_TEST

START_TEST(an_overrun_is_told_once)
{
	out(UART_IER, UART_IER_RLSI);
	out(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < SERIAL_FIFO_SIZE; i++)
		out(UART_TX, 'a' + i);
	ck_assert(!irq());
	out(UART_TX, 'z');
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_IIR)&0xf, UART_IIR_RLSI);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, UART_LSR_OE);
	ck_assert(!irq());
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_OE, 0);
	for (unsigned i = 0; i < SERIAL_FIFO_SIZE; i++)
		ck_assert_uint_eq(in(UART_RX), 'a' + i);
}
END_TEST

START_TEST(the_transmitter_interrupts_when_it_is_empty)
{
	ck_assert(!irq());
	out(UART_IER, UART_IER_THRI);
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
	ck_assert(!irq());
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
	/* Off and on raises it again: drivers probe for that. */
	out(UART_IER, 0);
	out(UART_IER, UART_IER_THRI);
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
	out(UART_IER, UART_IER_THRI);
	ck_assert(!irq());
	unsigned raises = fake_kvm.line_raises[IRQ];
	out(UART_TX, 'x');
	ck_assert(irq());
	ck_assert_uint_eq(fake_kvm.line_raises[IRQ], raises + 1);
}
END_TEST

START_TEST(causes_are_told_by_priority)
{
	out(UART_IER, UART_IER_RLSI | UART_IER_RDI | UART_IER_THRI | UART_IER_MSI);
	out(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < SERIAL_FIFO_SIZE + 1; i++)
		out(UART_TX, 'a');
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_RLSI);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_RLSI);
	in(UART_LSR);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_RDI);
	for (unsigned i = 0; i < SERIAL_FIFO_SIZE; i++)
		in(UART_RX);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_NO_INT);
	ck_assert(!irq());
	ck_assert_uint_eq(fake_kvm.line_raises[IRQ], 1);
}
END_TEST

START_TEST(the_divisor_hides_behind_its_bit)
{
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	ck_assert_uint_eq(in(UART_DLL), 12);
	out(UART_DLL, 1);
	out(UART_DLM, 2);
	ck_assert_uint_eq(in(UART_DLL), 1);
	ck_assert_uint_eq(in(UART_DLM), 2);
	out(UART_LCR, UART_LCR_WLEN8);
	ck_assert_uint_eq(in(UART_IER), 0);
	ck_assert_uint_eq(output_len, 0);
	out(UART_IER, 0xff);
	ck_assert_uint_eq(in(UART_IER), 0x0f);
	ck_assert_uint_eq(in(UART_LCR), UART_LCR_WLEN8);
	out(UART_SCR, 0x5a);
	ck_assert_uint_eq(in(UART_SCR), 0x5a);
	out(UART_LSR, 0xff);
	out(UART_MSR, 0xff);
	ck_assert_uint_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}
END_TEST

START_TEST(accesses_wider_than_a_register_do_nothing)
{
	uint64_t value = 0x4141414141414141;
	for (unsigned size = 2; size <= 8; size *= 2) {
		bus_write(&ports, PORT, &value, size);
		uint64_t read = 0;
		bus_read(&ports, PORT, &read, size);
		ck_assert_uint_eq(read, size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1);
	}
	ck_assert_uint_eq(output_len, 0);
	ck_assert_uint_eq(in(UART_IER), 0);
}
END_TEST

static void fill_backlog(void)
{
	capacity = 0;
	for (unsigned i = 0; in(UART_LSR)&UART_LSR_THRE; i++) {
		ck_assert_uint_le(i, SERIAL_BACKLOG_SIZE);
		out(UART_TX, i);
	}
}

START_TEST(a_slow_chardev_makes_the_transmitter_busy)
{
	fill_backlog();
	ck_assert_uint_eq(serial.backlog_count, SERIAL_BACKLOG_SIZE);
	out(UART_TX, 'L'); /* lost */
	capacity = 100;
	user->ops->writable(user);
	ck_assert_uint_eq(output_len, 100);
	ck_assert_uint_ne(in(UART_LSR)&UART_LSR_THRE, 0);
	for (unsigned i = 0; i < 100; i++)
		out(UART_TX, SERIAL_BACKLOG_SIZE + i);
	ck_assert_uint_eq(in(UART_LSR)&UART_LSR_THRE, 0);
	capacity = SIZE_MAX;
	user->ops->writable(user);
	ck_assert_uint_eq(output_len, SERIAL_BACKLOG_SIZE + 100);
	for (unsigned i = 0; i < output_len; i++)
		ck_assert_uint_eq((uint8_t)output[i], (uint8_t)i);
}
END_TEST

START_TEST(a_busy_transmitter_interrupts_when_it_is_ready_again)
{
	fill_backlog();
	out(UART_IER, UART_IER_THRI);
	ck_assert(!irq());
	out(UART_TX, 'x');
	ck_assert(!irq());
	capacity = 10;
	user->ops->writable(user);
	ck_assert(irq());
}
END_TEST

START_TEST(a_register_access_that_empties_the_backlog_interrupts_as_well)
{
	fill_backlog();
	out(UART_IER, UART_IER_THRI);
	capacity = 10;
	in(UART_MSR);
	ck_assert(irq());
	ck_assert_uint_eq(in(UART_IIR), UART_IIR_THRI);
	fill_backlog();
	ck_assert(!irq());
	capacity = 10;
	out(UART_SCR, 0);
	ck_assert(irq());
}
END_TEST

START_TEST(random_output_over_a_slow_chardev_loses_nothing)
{
	uint8_t next = 0;
	random_start();
	for (unsigned round = 0; round < 20000 && output_len < sizeof(output) / 2; round++) {
		capacity = random_below(8) ? 0 : random_below(300);
		if (random_below(10) == 0)
			user->ops->writable(user);
		if (in(UART_LSR)&UART_LSR_THRE)
			out(UART_TX, next++);
	}
	capacity = SIZE_MAX;
	user->ops->writable(user);
	bool in_order = true;
	for (unsigned i = 0; i < output_len; i++)
		in_order &= (uint8_t)output[i] == (uint8_t)i;
	ck_assert(in_order);
	ck_assert_uint_eq((uint8_t)output_len, next);
	ck_assert_uint_eq(serial.backlog_count, 0);
}
END_TEST

START_TEST(the_line_always_equals_the_enabled_causes)
{
	random_start();
	for (unsigned round = 0; round < 20000; round++) {
		if (random_below(8) == 0 && room())
			type("q");
		capacity = random_below(3);
		if (random_below(2))
			out((unsigned)random_below(8), (unsigned)random_bits());
		else
			in((unsigned)random_below(8));
		if (random_below(500) == 0)
			serial_reset(&serial);
		/* From the state alone, as the data sheet has it. */
		bool want = ((serial.ier & 4) && serial.overrun) || ((serial.ier & 1) && serial.fifo_count) ||
			    ((serial.ier & 2) && serial.thr_interrupt);
		if (irq() != want)
			ck_abort_msg("round %u", round);
		if (serial.fifo_count > SERIAL_FIFO_SIZE || serial.backlog_count > SERIAL_BACKLOG_SIZE)
			ck_abort_msg("round %u", round);
	}
}
END_TEST

START_TEST(reset_reads_on_and_lowers_the_line)
{
	out(UART_IER, UART_IER_RDI);
	type("0123456789abcdef");
	ck_assert(irq());
	serial_reset(&serial);
	ck_assert(!irq());
	ck_assert_uint_eq(in(UART_IER), 0);
	ck_assert_uint_eq(room(), SERIAL_FIFO_SIZE);
	ck_assert_uint_eq(nr_accepts, 1);
}
END_TEST

START_TEST(a_port_with_nobody_behind_drops_output)
{
	struct serial second;
	ck_assert_int_eq(serial_init(&second, 1, &ports, vm, NULL, &err), 0);
	uint8_t byte = 'x';
	for (unsigned i = 0; i < 2 * SERIAL_BACKLOG_SIZE; i++)
		bus_write(&ports, 0x2f8, &byte, 1);
	bus_read(&ports, 0x2fd, &byte, 1);
	ck_assert_uint_eq(byte, UART_LSR_THRE | UART_LSR_TEMT);
	serial_reset(&second);
	serial_fini(&second);
	ck_assert_uint_eq(nr_accepts, 0);
	/* Taken ports, and a chardev that is in use. */
	struct serial third;
	ck_assert_int_eq(serial_init(&third, 0, &ports, vm, NULL, &err), -EEXIST);
	ck_assert_msg(strstr(err.text, "serial0") != NULL, "%s", err.text);
	serial_fini(&third);
}
END_TEST

START_TEST(a_chardev_in_use_is_told)
{
	struct bus others;
	struct serial third;
	struct chardev_user *first = user;
	static char chardev;
	bus_init(&others);
	attach_result = -EBUSY;
	ck_assert_int_eq(serial_init(&third, 0, &others, vm, (struct chardev *)&chardev, &err), -EBUSY);
	serial_fini(&third);
	bus_fini(&others);
	user = first;
}
END_TEST

static int load(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = serial_load(&serial, r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_port_is_loaded)
{
	struct state_writer *w = state_writer_new();
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	out(UART_LCR, UART_LCR_DLAB);
	out(UART_DLL, 3);
	out(UART_DLM, 4);
	out(UART_LCR, UART_LCR_WLEN7);
	out(UART_MCR, UART_MCR_OUT2);
	out(UART_SCR, 0x77);
	type("0123456789");
	in(UART_RX);
	type("abcdefg"); /* wraps */
	out(UART_IER, UART_IER_RDI | UART_IER_THRI);
	serial_save(&serial, w);
	tear_down();
	set_up();
	type("old");
	ck_assert_msg(load(w) == 0, "%s", err.text);
	ck_assert(irq());
	ck_assert_uint_eq(nr_accepts, 1);
	for (const char *c = "123456789abcdefg"; *c; c++)
		ck_assert_uint_eq(in(UART_RX), (uint8_t)*c);
	ck_assert_uint_eq(in(UART_IIR), 0xc0 | UART_IIR_THRI);
	ck_assert_uint_eq(in(UART_LCR), UART_LCR_WLEN7);
	ck_assert_uint_eq(in(UART_MCR), UART_MCR_OUT2);
	ck_assert_uint_eq(in(UART_SCR), 0x77);
	out(UART_LCR, UART_LCR_DLAB);
	ck_assert_uint_eq(in(UART_DLL), 3);
	ck_assert_uint_eq(in(UART_DLM), 4);
	state_writer_free(w);
}
END_TEST

static int load_with(const char *field, uint64_t value, size_t fifo_len)
{
	static const char *const fields[] = {"ier", "lcr", "mcr", "fcr", "scratch", "dll", "dlm", "overrun", "thr-interrupt"};
	static const uint8_t fifo[32];
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "serial0", 1);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		state_put(w, fields[i], strcmp(fields[i], field) == 0 ? value : 0);
	state_put_bytes(w, "fifo", fifo, fifo_len);
	state_leave_new(w);
	int ret = load(w);
	state_writer_free(w);
	return ret;
}

START_TEST(states_out_of_range_are_refused)
{
	ck_assert_int_eq(load_with("ier", 0x0f, 16), 0);
	ck_assert_int_eq(load_with("ier", 0x10, 0), -EINVAL);
	ck_assert_int_eq(load_with("lcr", 0x100, 0), -EINVAL);
	ck_assert_int_eq(load_with("mcr", 0x20, 0), -EINVAL);
	ck_assert_int_eq(load_with("fcr", 0x100, 0), -EINVAL);
	ck_assert_int_eq(load_with("scratch", 0x100, 0), -EINVAL);
	ck_assert_int_eq(load_with("dll", 0x100, 0), -EINVAL);
	ck_assert_int_eq(load_with("dlm", 0x100, 0), -EINVAL);
	ck_assert_int_eq(load_with("overrun", 2, 0), -EINVAL);
	ck_assert_int_eq(load_with("thr-interrupt", 2, 0), -EINVAL);
	ck_assert_int_eq(load_with("", 0, 17), -EINVAL);
	ck_assert_uint_le(serial.fifo_count, SERIAL_FIFO_SIZE);
	ck_assert_uint_eq(serial.irq_level, irq());
}
END_TEST

static void *typist(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3000; i++) {
		if (room())
			user->ops->receive(user, "k", 1);
		user->ops->writable(user);
	}
	return NULL;
}

START_TEST(somebody_types_while_the_guest_reads_and_writes)
{
	pthread_t thread;
	out(UART_IER, 0xf);
	pthread_create(&thread, NULL, typist, NULL);
	for (unsigned i = 0; i < 3000; i++) {
		in(UART_RX);
		out(UART_TX, 'x');
		in(UART_IIR);
	}
	pthread_join(thread, NULL);
	while (in(UART_LSR)&UART_LSR_DR)
		in(UART_RX);
	in(UART_IIR);
	ck_assert(!irq());
	ck_assert_uint_eq(output_len, 3000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("serial");
	TCase *tests = tcase_create("serial");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, output_goes_straight_through);
	tcase_add_test(tests, input_comes_in_order_and_interrupts);
	tcase_add_test(tests, input_stops_at_a_full_fifo_and_goes_on_when_it_is_read);
	tcase_add_test(tests, turning_the_fifo_on_or_off_empties_it);
	tcase_add_test(tests, the_line_is_cut_in_loopback_and_comes_back);
	tcase_add_test(tests, loopback_wires_modem_outputs_to_inputs);
	tcase_add_test(tests, an_overrun_is_told_once);
	tcase_add_test(tests, the_transmitter_interrupts_when_it_is_empty);
	tcase_add_test(tests, causes_are_told_by_priority);
	tcase_add_test(tests, the_divisor_hides_behind_its_bit);
	tcase_add_test(tests, accesses_wider_than_a_register_do_nothing);
	tcase_add_test(tests, a_slow_chardev_makes_the_transmitter_busy);
	tcase_add_test(tests, a_busy_transmitter_interrupts_when_it_is_ready_again);
	tcase_add_test(tests, a_register_access_that_empties_the_backlog_interrupts_as_well);
	tcase_add_test(tests, random_output_over_a_slow_chardev_loses_nothing);
	tcase_add_test(tests, the_line_always_equals_the_enabled_causes);
	tcase_add_test(tests, reset_reads_on_and_lowers_the_line);
	tcase_add_test(tests, a_port_with_nobody_behind_drops_output);
	tcase_add_test(tests, a_chardev_in_use_is_told);
	tcase_add_test(tests, a_saved_port_is_loaded);
	tcase_add_test(tests, states_out_of_range_are_refused);
	tcase_add_test(tests, somebody_types_while_the_guest_reads_and_writes);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
