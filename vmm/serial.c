/*
 * See serial.h. Registers as in the PC16550D data sheet.
 *
 * Output: a written byte goes to the chardev at once; what that does not take waits in the backlog, and the transmitter stays "empty"
 * as long as the backlog has room. While it is full THRE is clear, so that a guest which polls waits for a slow terminal. A byte
 * written all the same is lost, as on hardware.
 *
 * Invariant: irq_level is what KVM was last told, and equals "some enabled cause is there" whenever the lock is free.
 */
#include "vmm/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <stdio.h>
#include <string.h>

#include "base/container_of.h"

static struct serial *from_range(struct bus_range *range)
{
	return container_of(range, struct serial, range);
}

unsigned serial_port(unsigned index)
{
	return index == 0 ? 0x3f8 : 0x2f8;
}

unsigned serial_irq(unsigned index)
{
	return index == 0 ? 4 : 3;
}

static bool transmitter_ready(const struct serial *s)
{
	return s->backlog_count < SERIAL_BACKLOG_SIZE;
}

/* The highest cause that is enabled, as IIR shows it. */
static uint8_t interrupt_cause(const struct serial *s)
{
	if ((s->ier & UART_IER_RLSI) && s->overrun)
		return UART_IIR_RLSI;
	if ((s->ier & UART_IER_RDI) && s->fifo_count)
		return UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && s->thr_interrupt)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static void update_irq(struct serial *s)
{
	bool level = interrupt_cause(s) != UART_IIR_NO_INT;
	if (level == s->irq_level)
		return;
	s->irq_level = level;
	hv_vm_set_irq(s->vm, s->irq, level);
}

/* Offers the backlog to the chardev. That it has room again is the interrupt for which a driver waits, whoever made it. */
static void flush_backlog(struct serial *s)
{
	bool was_ready = transmitter_ready(s);
	while (s->backlog_count) {
		unsigned run = SERIAL_BACKLOG_SIZE - s->backlog_head;
		if (run > s->backlog_count)
			run = s->backlog_count;
		size_t taken = s->connected ? chardev_write(&s->user, &s->backlog[s->backlog_head], run) : run;
		if (taken == 0)
			break;
		s->backlog_head = (s->backlog_head + (unsigned)taken) % SERIAL_BACKLOG_SIZE;
		s->backlog_count -= (unsigned)taken;
	}
	if (!was_ready && transmitter_ready(s))
		s->thr_interrupt = true;
}

/* What the chardev may send us. In loopback the line is cut. */
static unsigned input_room(const struct serial *s)
{
	return s->mcr & UART_MCR_LOOP ? 0 : SERIAL_FIFO_SIZE - s->fifo_count;
}

static void push_input(struct serial *s, uint8_t byte)
{
	if (s->fifo_count == SERIAL_FIFO_SIZE) {
		s->overrun = true;
		return;
	}
	s->fifo[(s->fifo_head + s->fifo_count++) % SERIAL_FIFO_SIZE] = byte;
}

static void transmit(struct serial *s, uint8_t byte)
{
	if (s->mcr & UART_MCR_LOOP) {
		push_input(s, byte);
	} else if (s->backlog_count == 0 && (!s->connected || chardev_write(&s->user, &byte, 1) == 1)) {
		/* The usual case: straight through. */
	} else if (s->backlog_count < SERIAL_BACKLOG_SIZE) {
		s->backlog[(s->backlog_head + s->backlog_count++) % SERIAL_BACKLOG_SIZE] = byte;
	}
	s->thr_interrupt = transmitter_ready(s);
}

static uint8_t receive_byte(struct serial *s)
{
	if (s->fifo_count == 0)
		return 0;
	uint8_t byte = s->fifo[s->fifo_head];
	s->fifo_head = (s->fifo_head + 1) % SERIAL_FIFO_SIZE;
	s->fifo_count--;
	return byte;
}

static uint8_t line_status(struct serial *s)
{
	uint8_t lsr = 0;
	if (s->fifo_count)
		lsr |= UART_LSR_DR;
	if (s->overrun)
		lsr |= UART_LSR_OE;
	if (transmitter_ready(s))
		lsr |= UART_LSR_THRE | UART_LSR_TEMT;
	s->overrun = false;
	return lsr;
}

static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	/* Loopback wires the modem outputs to the inputs: drivers look for this to tell a real port. */
	uint8_t msr = 0;
	msr |= s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0;
	msr |= s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0;
	msr |= s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0;
	msr |= s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0;
	return msr;
}

static uint8_t read_register(struct serial *s, uint64_t reg)
{
	bool dlab = s->lcr & UART_LCR_DLAB;
	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : receive_byte(s);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR: {
		uint8_t cause = interrupt_cause(s);
		if (cause == UART_IIR_THRI)
			s->thr_interrupt = false;
		return cause | (s->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
	}
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return line_status(s);
	case UART_MSR:
		return modem_status(s);
	default:
		return s->scratch;
	}
}

static void write_register(struct serial *s, uint64_t reg, uint8_t value)
{
	bool dlab = s->lcr & UART_LCR_DLAB;
	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = value;
		else
			transmit(s, value);
		break;
	case UART_IER:
		if (dlab) {
			s->dlm = value;
			break;
		}
		/* Enabling the transmitter's interrupt while it is empty raises it. */
		if (!(s->ier & UART_IER_THRI) && (value & UART_IER_THRI))
			s->thr_interrupt = transmitter_ready(s);
		s->ier = value & 0xf;
		break;
	case UART_FCR:
		if (value & UART_FCR_CLEAR_RCVR || (value ^ s->fcr) & UART_FCR_ENABLE_FIFO)
			s->fifo_count = 0;
		s->fcr = value & 0xc9;
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		s->mcr = value & 0x1f;
		break;
	case UART_SCR:
		s->scratch = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

static void serial_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct serial *s = from_range(self);
	memset(data, 0xff, size);
	if (size != 1)
		return;
	lock_take(&s->lock);
	bool was_full = input_room(s) == 0;
	flush_backlog(s);
	*(uint8_t *)data = read_register(s, offset);
	update_irq(s);
	bool room = s->connected && was_full && input_room(s) > 0;
	lock_release(&s->lock);
	if (room)
		chardev_accept_input_async(&s->user);
}

static void serial_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct serial *s = from_range(self);
	if (size != 1)
		return;
	lock_take(&s->lock);
	bool was_full = input_room(s) == 0;
	flush_backlog(s);
	write_register(s, offset, *(const uint8_t *)data);
	update_irq(s);
	bool room = s->connected && was_full && input_room(s) > 0;
	lock_release(&s->lock);
	if (room)
		chardev_accept_input_async(&s->user);
}

static const struct bus_ops serial_bus_ops = {.read = serial_read, .write = serial_write};

/* --- the chardev's side, on the main thread --- */

static struct serial *from_user(struct chardev_user *user)
{
	return container_of(user, struct serial, user);
}

static size_t serial_room(struct chardev_user *user)
{
	struct serial *s = from_user(user);
	lock_take(&s->lock);
	size_t room = input_room(s);
	lock_release(&s->lock);
	return room;
}

static void serial_receive(struct chardev_user *user, const void *data, size_t len)
{
	struct serial *s = from_user(user);
	lock_take(&s->lock);
	for (size_t i = 0; i < len; i++)
		push_input(s, ((const uint8_t *)data)[i]);
	update_irq(s);
	lock_release(&s->lock);
}

static void serial_writable(struct chardev_user *user)
{
	struct serial *s = from_user(user);
	lock_take(&s->lock);
	flush_backlog(s);
	update_irq(s);
	lock_release(&s->lock);
}

static const struct chardev_user_ops serial_user_ops = {
	.room = serial_room,
	.receive = serial_receive,
	.writable = serial_writable,
};

int serial_init(struct serial *s, unsigned index, struct bus *ports, struct hv_vm *vm, struct chardev *chardev, struct error *err)
{
	memset(s, 0, sizeof(*s));
	s->user.ops = &serial_user_ops;
	s->range.ops = &serial_bus_ops;
	s->vm = vm;
	s->irq = serial_irq(index);
	snprintf(s->name, sizeof(s->name), "serial%u", index);
	lock_init(&s->lock, LOCK_SERIAL);
	serial_reset(s);
	int ret = bus_add(ports, &s->range, serial_port(index), 8);
	if (ret)
		return error_set(err, -ret, "%s: ports from %#x on are taken", s->name, serial_port(index));
	if (chardev) {
		s->connected = true;
		ret = chardev_attach(chardev, &s->user, err);
		if (ret)
			s->connected = false;
	}
	return ret;
}

void serial_fini(struct serial *s)
{
	if (s->connected)
		chardev_detach(&s->user);
	lock_fini(&s->lock);
}

void serial_reset(struct serial *s)
{
	lock_take(&s->lock);
	s->ier = s->lcr = s->mcr = s->scratch = s->fcr = s->dlm = 0;
	s->dll = 12; /* 9600 baud */
	s->overrun = s->thr_interrupt = false;
	s->fifo_head = s->fifo_count = 0;
	update_irq(s);
	lock_release(&s->lock);
	/* There is room, and perhaps there was none before. */
	if (s->connected)
		chardev_accept_input_async(&s->user);
}

void serial_save(struct serial *s, struct state_writer *w)
{
	lock_take(&s->lock);
	state_enter_new(w, s->name, 1);
	state_put(w, "ier", s->ier);
	state_put(w, "lcr", s->lcr);
	state_put(w, "mcr", s->mcr);
	state_put(w, "fcr", s->fcr);
	state_put(w, "scratch", s->scratch);
	state_put(w, "dll", s->dll);
	state_put(w, "dlm", s->dlm);
	state_put(w, "overrun", s->overrun);
	state_put(w, "thr-interrupt", s->thr_interrupt);
	uint8_t fifo[SERIAL_FIFO_SIZE];
	for (unsigned i = 0; i < s->fifo_count; i++)
		fifo[i] = s->fifo[(s->fifo_head + i) % SERIAL_FIFO_SIZE];
	state_put_bytes(w, "fifo", fifo, s->fifo_count);
	state_leave_new(w);
	lock_release(&s->lock);
}

int serial_load(struct serial *s, struct state_reader *r, struct error *err)
{
	lock_take(&s->lock);
	state_enter(r, s->name, 1);
	s->ier = (uint8_t)state_get(r, "ier", 0, 0xf);
	s->lcr = (uint8_t)state_get(r, "lcr", 0, 0xff);
	s->mcr = (uint8_t)state_get(r, "mcr", 0, 0x1f);
	s->fcr = (uint8_t)state_get(r, "fcr", 0, 0xff) & 0xc9;
	s->scratch = (uint8_t)state_get(r, "scratch", 0, 0xff);
	s->dll = (uint8_t)state_get(r, "dll", 0, 0xff);
	s->dlm = (uint8_t)state_get(r, "dlm", 0, 0xff);
	s->overrun = state_get(r, "overrun", 0, 1);
	s->thr_interrupt = state_get(r, "thr-interrupt", 0, 1);
	size_t count;
	const void *fifo = state_get_blob(r, "fifo", SERIAL_FIFO_SIZE, &count);
	if (count)
		memcpy(s->fifo, fifo, count);
	s->fifo_head = 0;
	s->fifo_count = (unsigned)count;
	int ret = state_leave(r, err);
	update_irq(s);
	lock_release(&s->lock);
	if (s->connected)
		chardev_accept_input_async(&s->user);
	return ret;
}
