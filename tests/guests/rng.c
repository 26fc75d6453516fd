/*
 * Reads the virtio entropy source in requests of random sizes and looks whether it could be random.
 *
 * Options: seed= (1, of the sizes), bytes= (65536).
 */
#include "lib/bytes.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/virtio.h"

enum { MOST = 8192, TIMEOUT_US = 10000000 };

int guest_main(void)
{
	struct prng prng = {cmdline_number("seed", 1)};
	uint64_t wanted = cmdline_number("bytes", 65536), got = 0, requests = 0, bits = 0, same = 0, i, least, most;
	struct virtio_device dev;
	struct virtq_buffer buffer;
	struct virtq q;
	uint8_t *data, *last;
	uint32_t written, len;

	if (!virtio_find(VIRTIO_RNG, 0, &dev))
		guest_fail("no virtio entropy source");
	virtio_negotiate(&dev, VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX);
	if (!virtq_open(&q, &dev, 0, 0))
		guest_fail("the entropy source has no queue");
	virtio_driver_ok(&dev);
	data = memmap_take(MOST / PAGE_SIZE + 1, 1);
	last = memmap_take(1, 1);
	for (; got < wanted; got += written, requests++) {
		len = 16 + (uint32_t)prng_below(&prng, MOST - 16);
		memset(data, 0, MOST + 1);
		buffer = (struct virtq_buffer){data, len};
		if (!virtq_add(&q, &buffer, 0, 1, requests & 1, &q))
			guest_fail("the queue is full");
		virtq_kick(&q);
		if (!virtq_wait(&q, &written, TIMEOUT_US))
			guest_fail("request %lu of %u bytes is not answered", requests, len);
		if (!written)
			guest_fail("request %lu was answered with nothing", requests);
		for (i = 0; i < written * 8; i++)
			bits += data[i / 8] >> i % 8 & 1;
		for (i = written; i < MOST; i++)
			if (data[i])
				guest_fail("byte %lu behind the answer was written", i);
		if (written >= 16) {
			same += !memcmp(data, last, 16);
			memcpy(last, data, 16);
		}
	}
	/* Half of the bits, give or take seven standard deviations. */
	for (i = 1; i * i < got * 8; i++)
		;
	least = got * 4 - i * 7 / 2;
	most = got * 4 + i * 7 / 2;
	print("rng: %lu bytes in %lu requests, %lu bits set, %lu repeated\n", got, requests, bits, same);
	if (bits < least || bits > most || same)
		guest_fail("that is not random");
	return 0;
}
