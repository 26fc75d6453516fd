/* COM1, a 16550 with FIFOs, polled. */
#include "io.h"
#include "print.h"

enum {
	COM1 = 0x3f8,
	DATA = COM1,
	DIVISOR_LOW = COM1,
	INTERRUPTS = COM1 + 1,
	DIVISOR_HIGH = COM1 + 1,
	FIFO_CONTROL = COM1 + 2,
	LINE_CONTROL = COM1 + 3,
	MODEM_CONTROL = COM1 + 4,
	LINE_STATUS = COM1 + 5,
};

enum { RECEIVED = 0x01, TRANSMITTER_EMPTY = 0x20, FIFO_SIZE = 16, MOST_POLLS = 100000 };

void serial_open(void)
{
	io_out8(INTERRUPTS, 0);
	io_out8(LINE_CONTROL, 0x80);
	io_out8(DIVISOR_LOW, 1);
	io_out8(DIVISOR_HIGH, 0);
	io_out8(LINE_CONTROL, 0x03);
	io_out8(FIFO_CONTROL, 0x07);
	io_out8(MODEM_CONTROL, 0x03);
}

void serial_write(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	unsigned polls;
	size_t i;

	for (i = 0; i < len; i++) {
		/* An empty transmitter takes a FIFO full without asking again: a port read costs as much as a write. */
		if (i % FIFO_SIZE == 0)
			for (polls = 0; polls < MOST_POLLS && !(io_in8(LINE_STATUS) & TRANSMITTER_EMPTY); polls++)
				cpu_relax();
		io_out8(DATA, bytes[i]);
	}
}

int serial_read(void)
{
	return io_in8(LINE_STATUS) & RECEIVED ? io_in8(DATA) : -1;
}
