/*
 * Ethernet over virtio-net, against a peer that sends each frame back with its addresses exchanged: another guest with mode=echo, or a host program.
 *
 * Options: mode=send|echo (send), count= (200, frames; echo returns after as many), seed= (1), window= (8, frames under way), nic= (0),
 * timeout_ms= (10000, without any frame).
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/virtio.h"

enum { HEADER = 12, ETHERNET = 14, LEAST = 64, MOST = 1514, SLOT = 2048, MOST_SLOTS = 64, RECEIVE = 0, TRANSMIT = 1 };
#define TYPE_HIGH 0x88 /* local experimental ethertype 1 */
#define TYPE_LOW 0xb5
#define F_MAC (1ull << 5)
#define F_STATUS (1ull << 16)

static struct virtio_device dev;
static struct virtq receive, transmit;
static uint8_t *receive_slots, *transmit_slots, mac[6];
static bool is_busy[MOST_SLOTS]; /* transmit slots */
static uint64_t seed, last_ns, timeout_ns;

static void offer(uint8_t *slot)
{
	struct virtq_buffer buffer = {slot, SLOT};

	if (!virtq_add(&receive, &buffer, 0, 1, false, slot))
		guest_fail("the receive queue is full");
}

static void open_nic(void)
{
	unsigned i;

	if (!virtio_find(VIRTIO_NET, (unsigned)cmdline_number("nic", 0), &dev))
		guest_fail("no such virtio network card");
	virtio_negotiate(&dev, F_MAC | F_STATUS | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX);
	if (!virtq_open(&receive, &dev, RECEIVE, 0) || !virtq_open(&transmit, &dev, TRANSMIT, 0))
		guest_fail("the network card lacks a queue");
	virtio_driver_ok(&dev);
	for (i = 0; i < 6; i++)
		mac[i] = (uint8_t)virtio_config(&dev, i, 1);
	receive_slots = memmap_take(MOST_SLOTS * SLOT / PAGE_SIZE, 1);
	transmit_slots = memmap_take(MOST_SLOTS * SLOT / PAGE_SIZE, 1);
	for (i = 0; i < MOST_SLOTS && i < receive.size; i++)
		offer(receive_slots + i * SLOT);
	virtq_kick(&receive);
	print("net: mac %02x:%02x:%02x:%02x:%02x:%02x, features 0x%lx, queues of %u and %u\n", mac[0], mac[1], mac[2], mac[3],
	      mac[4], mac[5], dev.features, receive.size, transmit.size);
}

static void reap(void)
{
	uint8_t *slot;

	while ((slot = virtq_poll(&transmit, NULL)))
		is_busy[(slot - transmit_slots) / SLOT] = false;
}

/* A free transmit slot, waited for. */
static uint8_t *take_slot(void)
{
	unsigned i;

	for (;;) {
		reap();
		for (i = 0; i < MOST_SLOTS; i++)
			if (!is_busy[i])
				return transmit_slots + i * SLOT;
		if (clock_now_ns() - last_ns > timeout_ns)
			guest_fail("transmitted frames do not come back from the queue");
	}
}

/* The slot holds a frame behind room for the header. */
static void send(uint8_t *slot, uint32_t len)
{
	struct virtq_buffer pieces[2] = {{slot, HEADER}, {slot + HEADER, len}};

	memset(slot, 0, HEADER);
	if (!virtq_add(&transmit, pieces, 2, 0, len & 1, slot))
		guest_fail("the transmit queue is full");
	is_busy[(slot - transmit_slots) / SLOT] = true;
	virtq_kick(&transmit);
}

static uint32_t frame_length(uint64_t number)
{
	return LEAST + (uint32_t)(prng_mix(seed ^ number * 2654435761u) % (MOST - LEAST + 1));
}

/* Behind the addresses: type, number, then bytes made from both. */
static void fill(uint64_t number, uint8_t *frame)
{
	struct prng prng = {prng_mix(seed + number)};
	uint32_t len = frame_length(number), i;

	frame[12] = TYPE_HIGH;
	frame[13] = TYPE_LOW;
	memcpy(frame + ETHERNET, &number, 8);
	for (i = ETHERNET + 8; i < len; i++)
		frame[i] = (uint8_t)prng_next(&prng);
}

/* A frame of ours that arrived: its slot and length without header; NULL when there is none. Others are dropped. */
static uint8_t *arrived(uint32_t *len)
{
	uint32_t written;
	uint8_t *slot;

	while ((slot = virtq_poll(&receive, &written))) {
		if (written < HEADER + ETHERNET)
			guest_fail("a frame of %u bytes with its header", written);
		*len = written - HEADER;
		if (slot[HEADER + 12] == TYPE_HIGH && slot[HEADER + 13] == TYPE_LOW)
			return slot;
		offer(slot);
		virtq_kick(&receive);
	}
	return NULL;
}

static void echo(uint64_t count)
{
	uint8_t *slot, *out;
	uint64_t number;
	uint32_t len;

	last_ns = clock_now_ns();
	for (number = 0; number < count;) {
		slot = arrived(&len);
		if (!slot) {
			reap();
			if (clock_now_ns() - last_ns > timeout_ns)
				guest_fail("only %lu frames came", number);
			continue;
		}
		last_ns = clock_now_ns();
		out = take_slot();
		memcpy(out + HEADER, slot + HEADER + 6, 6);
		memcpy(out + HEADER + 6, mac, 6);
		memcpy(out + HEADER + 12, slot + HEADER + 12, len - 12);
		offer(slot);
		virtq_kick(&receive);
		send(out, len);
		number++;
	}
	/* The last ones must leave before the machine does. */
	for (number = 0; number < MOST_SLOTS; number++)
		while (is_busy[number] && clock_now_ns() - last_ns < timeout_ns)
			reap();
}

static void exchange(uint64_t count, uint64_t window)
{
	uint64_t sent = 0, back = 0, number, bytes = 0, start = clock_now_ns(), ns;
	uint8_t expected[SLOT], *slot;
	uint32_t len, i;

	last_ns = start;
	while (back < count) {
		if (sent < count && sent - back < window) {
			slot = take_slot();
			memset(slot + HEADER, 0xff, 6);
			memcpy(slot + HEADER + 6, mac, 6);
			fill(sent, slot + HEADER);
			send(slot, frame_length(sent));
			sent++;
			continue;
		}
		slot = arrived(&len);
		if (!slot) {
			if (clock_now_ns() - last_ns > timeout_ns)
				guest_fail("%lu frames sent, %lu came back", sent, back);
			continue;
		}
		last_ns = clock_now_ns();
		memcpy(&number, slot + HEADER + ETHERNET, 8);
		if (number != back)
			guest_fail("frame %lu came back, where %lu was due", number, back);
		fill(number, expected);
		if (len != frame_length(number))
			guest_fail("frame %lu of %u bytes came back with %u", number, frame_length(number), len);
		for (i = 12; i < len; i++)
			if (slot[HEADER + i] != expected[i])
				guest_fail("frame %lu, offset %u: expected 0x%02x, got 0x%02x", number, i, expected[i],
					   slot[HEADER + i]);
		offer(slot);
		virtq_kick(&receive);
		bytes += len;
		back++;
	}
	ns = clock_now_ns() - start;
	print("net: %lu frames of %lu bytes there and back in %lu us, %lu a second\n", count, bytes, ns / 1000,
	      count * 1000000000 / (ns ? ns : 1));
}

int guest_main(void)
{
	uint64_t count = cmdline_number("count", 200), window = cmdline_number("window", 8);
	char mode[8];

	seed = cmdline_number("seed", 1);
	timeout_ns = cmdline_number("timeout_ms", 10000) * 1000000;
	open_nic();
	if (!strcmp(cmdline_text("mode", "send", mode, sizeof(mode)), "echo"))
		echo(count);
	else
		exchange(count, window < 32 ? window : 32);
	if (virtio_status(&dev) & VIRTIO_NEEDS_RESET)
		guest_fail("the network card needs a reset");
	return 0;
}
