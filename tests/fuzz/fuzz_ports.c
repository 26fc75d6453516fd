/* Fuzzes what answers at ports: serial ports, clock, power management, configuration space, reset; and what comes in from a terminal. */
#include "base/log.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/unit/fake_kvm.h"
#include "vmm/layout.h"
#include "vmm/pci.h"
#include "vmm/power.h"
#include "vmm/rtc.h"
#include "vmm/serial.h"

static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct chardev_user *user;
static size_t capacity; /* what the chardev takes now */

size_t chardev_write(struct chardev_user *self, const void *data, size_t len)
{
	(void)self;
	(void)data;
	size_t taken = len < capacity ? len : capacity;
	capacity -= taken;
	return taken;
}

int chardev_attach(struct chardev *chardev, struct chardev_user *self, struct error *err)
{
	(void)chardev;
	(void)err;
	user = self;
	return 0;
}

void chardev_detach(struct chardev_user *self)
{
	(void)self;
}

void chardev_accept_input_async(struct chardev_user *self)
{
	(void)self;
}

struct board {
	struct bus ports, memory;
	struct pci pci;
	struct rtc rtc;
	struct power power;
	struct power_owner owner;
	struct serial serials[2];
};

static void ask_nothing(struct power_owner *owner)
{
	(void)owner;
}

static void board_init(struct board *b)
{
	static char chardev;
	bus_init(&b->ports);
	bus_init(&b->memory);
	b->owner.power_off = b->owner.reset = ask_nothing;
	fuzz_need(pci_init(&b->pci, &b->ports, &b->memory, NULL) == 0);
	fuzz_need(rtc_init(&b->rtc, &b->ports, 1 << 30, NULL) == 0);
	fuzz_need(power_init(&b->power, &b->ports, vm, &b->owner, NULL) == 0);
	b->pci.reset_port = &b->power.reset_range;
	fuzz_need(serial_init(&b->serials[1], 1, &b->ports, vm, NULL, NULL) == 0);
	fuzz_need(serial_init(&b->serials[0], 0, &b->ports, vm, (struct chardev *)&chardev, NULL) == 0);
}

static void board_fini(struct board *b)
{
	serial_fini(&b->serials[0]);
	serial_fini(&b->serials[1]);
	power_fini(&b->power);
	rtc_fini(&b->rtc);
	pci_fini(&b->pci);
	bus_fini(&b->memory);
	bus_fini(&b->ports);
}

static struct state_writer *board_save(struct board *b)
{
	struct state_writer *w = state_writer_new();
	pci_save(&b->pci, w);
	rtc_save(&b->rtc, w);
	power_save(&b->power, w);
	serial_save(&b->serials[0], w);
	serial_save(&b->serials[1], w);
	return w;
}

/* Whatever a guest did: its machine can be saved, and loaded into a new one. */
static void move(struct board *b)
{
	struct state_writer *w = board_save(b);
	const void *data;
	size_t len;
	struct state_reader *r;
	fuzz_need(state_writer_end(w, &data, &len) == 0);
	board_fini(b);
	memset(b, 0, sizeof(*b));
	board_init(b);
	fuzz_need(state_reader_open(data, len, &r, NULL) == 0);
	fuzz_need(pci_load(&b->pci, r, NULL) == 0 && rtc_load(&b->rtc, r, NULL) == 0 && power_load(&b->power, r, NULL) == 0);
	fuzz_need(serial_load(&b->serials[0], r, NULL) == 0 && serial_load(&b->serials[1], r, NULL) == 0);
	fuzz_need(state_reader_finish(r, NULL) == 0);
	state_reader_free(r);
	state_writer_free(w);
}

static void check_lines(const struct board *b)
{
	fuzz_need(fake_kvm.line[4] == b->serials[0].irq_level && fake_kvm.line[3] == b->serials[1].irq_level);
	fuzz_need(fake_kvm.line[LAYOUT_SCI_IRQ] == b->power.sci);
	for (unsigned i = 0; i < 2; i++)
		fuzz_need(b->serials[i].fifo_count <= SERIAL_FIFO_SIZE && b->serials[i].backlog_count <= SERIAL_BACKLOG_SIZE);
}

static void act(struct board *b, struct fuzz_input *in)
{
	static const uint16_t bases[] = {0x3f8, 0x2f8, 0x70, LAYOUT_PM_PORT, 0xcf8, 0x3f8, 0x3f8, 0};
	uint8_t what = (uint8_t)fuzz_take(in, 1), where = (uint8_t)fuzz_take(in, 1);
	uint64_t port = where % 8 == 7 ? fuzz_take(in, 2) : bases[where % 8] + (where >> 3) % 12u;
	uint64_t value;
	unsigned size = 1u << (what >> 6);
	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		bus_read(&b->ports, port, &value, size);
		break;
	case 6:
		capacity = where;
		if (where & 1)
			user->ops->writable(user);
		else if (user->ops->room(user) > 0)
			user->ops->receive(user, &where, 1);
		break;
	case 7:
		if (what & 8)
			power_press_button(&b->power);
		else if (what & 16)
			move(b);
		else if (what & 32)
			serial_reset(&b->serials[0]);
		break;
	default:
		value = fuzz_take(in, size);
		bus_write(&b->ports, port, &value, size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct board board;
	if (!vm) {
		log_open("fuzz", LOG_LEVEL_ERROR);
		fuzz_need(fake_kvm_open(&kvm, &vm) == 0);
	}
	memset(fake_kvm.line, 0, sizeof(fake_kvm.line));
	memset(&board, 0, sizeof(board));
	capacity = 0;
	board_init(&board);
	while (in.left) {
		act(&board, &in);
		check_lines(&board);
	}
	board_fini(&board);
	return 0;
}
