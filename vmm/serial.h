/*
 * A 16550A serial port: what every operating system can talk to first. Byte by byte, with the receive FIFO; the transmitter is always
 * ready unless the chardev behind it is full.
 */
#ifndef VMM_SERIAL_H
#define VMM_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/state.h"
#include "hv/vm.h"
#include "vmm/bus.h"
#include "vmm/chardev.h"

#define SERIAL_FIFO_SIZE 16u
/* Output that waits for a slow chardev; past it the transmitter is busy, and bytes that are written all the same are lost. */
#define SERIAL_BACKLOG_SIZE 4096u

struct serial {
	struct chardev_user user;
	struct bus_range range;
	struct hv_vm *vm;
	unsigned irq;
	char name[24];  /* "serial0": state section */
	bool connected; /* a chardev is behind it */

	struct lock lock; /* guards all below */
	uint8_t ier, lcr, mcr, scratch, fcr, dll, dlm;
	bool overrun, thr_interrupt;
	bool irq_level;
	uint8_t fifo[SERIAL_FIFO_SIZE];
	unsigned fifo_head, fifo_count;
	uint8_t backlog[SERIAL_BACKLOG_SIZE];
	unsigned backlog_head, backlog_count;
};

/* Claims 8 ports from base on. chardev may be NULL: output is dropped. */
int serial_init(struct serial *s, unsigned index, struct bus *ports, struct hv_vm *vm, struct chardev *chardev, struct error *err);
void serial_fini(struct serial *s);
/* I/O port of port index 0 to 1, and its IRQ: COM1 0x3f8, 4; COM2 0x2f8, 3. */
unsigned serial_port(unsigned index);
unsigned serial_irq(unsigned index);

void serial_reset(struct serial *s);
void serial_save(struct serial *s, struct state_writer *w);
int serial_load(struct serial *s, struct state_reader *r, struct error *err);

#endif
