/*
 * Exercises a virtio disk and verifies every sector that it reads.
 *
 * The region is cut into lanes, one for each request in flight; a lane owns its sectors, so that requests never overlap and each sector's
 * content is known: never written (checked only with "fresh", as zeros), a generation of its pattern, zeros, or anything (discarded).
 *
 * Options: disk= (0), seed= (1), ops= (400), depth= (8, requests in flight a queue), queues= (all), max_kib= (256, the largest request),
 * mib= (64, how much of the disk), fresh (the disk starts as zeros), seal (ends by writing all sectors with generation 1 and a flush),
 * check (only verifies what seal wrote), indirect= (50, percent of requests), events= (1: negotiate EVENT_IDX).
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/virtio.h"

enum { SECTOR = 512, MOST_QUEUES = 16, MOST_DEPTH = 64, TIMEOUT_US = 20000000 };
enum type { READ = 0, WRITE = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_UNSUPPORTED = 2 };
enum {
	CONFIG_CAPACITY = 0,
	CONFIG_SEG_MAX = 12,
	CONFIG_BLOCK_SIZE = 20,
	CONFIG_QUEUES = 34,
	CONFIG_DISCARD_MOST = 36,
	CONFIG_ZEROES_MOST = 48,
};
#define F_SEG_MAX (1ull << 2)
#define F_READ_ONLY (1ull << 5)
#define F_BLOCK_SIZE (1ull << 6)
#define F_FLUSH (1ull << 9)
#define F_QUEUES (1ull << 12)
#define F_DISCARD (1ull << 13)
#define F_ZEROES (1ull << 14)

/* What a sector holds, beside the generations from 1 on. */
enum { UNKNOWN = 0, ZEROS = 0xffff };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t count, flags;
};

struct lane {
	struct request *request;
	struct range *range;
	uint8_t *status, *buffer;
	uint64_t first, sectors; /* its part of the disk */
	uint64_t at, count;      /* of the request in flight */
	enum type type;
	bool in_flight;
	unsigned queue;
};

static struct virtio_device dev;
static struct virtq queues[MOST_QUEUES];
static struct lane lanes[MOST_QUEUES * MOST_DEPTH];
static unsigned nr_queues, nr_lanes, depth, seg_max = 1, indirect_percent;
static uint64_t capacity, region, unit = 1, most_sectors; /* in sectors */
static uint64_t seed, wrong_sectors, done[16], bytes;
static uint16_t *contents;
static struct prng prng;

static void fill_sector(uint64_t sector, unsigned generation, uint8_t *data)
{
	struct prng words = {prng_mix(seed ^ sector << 16 ^ generation)};
	uint64_t *quads = (uint64_t *)data;
	unsigned i;

	if (generation == ZEROS) {
		memset(data, 0, SECTOR);
		return;
	}
	quads[0] = sector;
	quads[1] = generation;
	for (i = 2; i < SECTOR / 8; i++)
		quads[i] = prng_next(&words);
}

static void verify(uint64_t first, uint64_t count, const uint8_t *data)
{
	uint64_t expected[SECTOR / 8], sector;
	const uint8_t *bytes_expected = (const uint8_t *)expected;
	unsigned i;

	for (sector = first; sector < first + count; sector++, data += SECTOR) {
		if (contents[sector] == UNKNOWN)
			continue;
		fill_sector(sector, contents[sector], (uint8_t *)expected);
		if (!memcmp(expected, data, SECTOR))
			continue;
		for (i = 0; data[i] == bytes_expected[i]; i++)
			;
		if (wrong_sectors++ < 10)
			print("blk: wrong byte: sector %lu offset %u expected 0x%02x got 0x%02x, content %u\n", sector, i,
			      bytes_expected[i], data[i], contents[sector]);
	}
}

/* Cuts len bytes into pieces of odd sizes, as many as device and queue take. */
static unsigned cut(uint8_t *data, uint32_t len, struct virtq_buffer *pieces)
{
	unsigned most = seg_max < 8 ? seg_max : 8, wanted = 1 + (unsigned)prng_below(&prng, most), nr = 0;
	uint32_t piece;

	while (len) {
		piece = nr + 1 >= wanted ? len : 1 + (uint32_t)prng_below(&prng, len);
		pieces[nr++] = (struct virtq_buffer){data, piece};
		data += piece;
		len -= piece;
	}
	return nr;
}

static bool submit(struct lane *lane, enum type type, uint64_t sector, uint64_t count)
{
	struct virtq_buffer pieces[VIRTQ_MOST_BUFFERS];
	unsigned nr_out = 1, nr_in = 0;
	uint64_t i;

	*lane->request = (struct request){type, 0, type == READ || type == WRITE ? sector : 0};
	*lane->status = 0xee;
	pieces[0] = (struct virtq_buffer){lane->request, sizeof(*lane->request)};
	if (type == WRITE) {
		for (i = 0; i < count; i++)
			fill_sector(sector + i, contents[sector + i], lane->buffer + i * SECTOR);
		nr_out += cut(lane->buffer, (uint32_t)(count * SECTOR), pieces + 1);
	} else if (type == READ) {
		memset(lane->buffer, 0xa5, count * SECTOR);
		nr_in += cut(lane->buffer, (uint32_t)(count * SECTOR), pieces + 1);
	} else if (type == DISCARD || type == WRITE_ZEROES) {
		*lane->range = (struct range){sector, (uint32_t)count, 0};
		pieces[nr_out++] = (struct virtq_buffer){lane->range, sizeof(*lane->range)};
	} else if (type == GET_ID) {
		memset(lane->buffer, 0, 32);
		pieces[nr_out + nr_in++] = (struct virtq_buffer){lane->buffer, 20};
	}
	pieces[nr_out + nr_in++] = (struct virtq_buffer){lane->status, 1};
	if (!virtq_add(&queues[lane->queue], pieces, nr_out, nr_in, prng_below(&prng, 100) < indirect_percent, lane))
		return false;
	lane->type = type;
	lane->at = sector;
	lane->count = count;
	lane->in_flight = true;
	virtq_kick(&queues[lane->queue]);
	return true;
}

static void finish(struct lane *lane, uint32_t written)
{
	uint32_t expected = 1 + (lane->type == READ ? (uint32_t)lane->count * SECTOR : lane->type == GET_ID ? 20 : 0);

	lane->in_flight = false;
	if (*lane->status != STATUS_OK)
		guest_fail("request of type %d at sector %lu, %lu sectors: status %u", (int)lane->type, lane->at, lane->count,
			   *lane->status);
	if (written != expected)
		guest_fail("request of type %d at sector %lu: %u bytes written of %u", (int)lane->type, lane->at, written,
			   expected);
	if (lane->type == READ)
		verify(lane->at, lane->count, lane->buffer);
	done[lane->type]++;
	bytes += lane->type == READ || lane->type == WRITE ? lane->count * SECTOR : 0;
}

/* Runs one request of any kind to its end, and returns its status. */
static uint8_t run(struct lane *lane, enum type type, uint64_t sector, uint64_t count)
{
	uint32_t written;

	if (!submit(lane, type, sector, count) || virtq_wait(&queues[lane->queue], &written, TIMEOUT_US) != lane)
		guest_fail("request of type %d at sector %lu is not answered", (int)type, sector);
	lane->in_flight = false;
	return *lane->status;
}

static void next(struct lane *lane)
{
	uint64_t count, sector, i, draw = prng_below(&prng, 100),
				   most = most_sectors < lane->sectors ? most_sectors : lane->sectors;
	enum type type = draw < 45 ? READ : draw < 85 ? WRITE : draw < 90 ? FLUSH : draw < 95 ? DISCARD : WRITE_ZEROES;

	if (dev.features & F_READ_ONLY || (type == DISCARD && !(dev.features & F_DISCARD)) ||
	    (type == WRITE_ZEROES && !(dev.features & F_ZEROES)) || (type == FLUSH && !(dev.features & F_FLUSH)))
		type = READ;
	/* Mostly small. */
	count = unit * (1 + prng_below(&prng, 1 + prng_below(&prng, most / unit)));
	sector = lane->first + unit * prng_below(&prng, (lane->sectors - count) / unit + 1);
	for (i = sector; i < sector + count; i++) {
		if (type == WRITE)
			contents[i] = (uint16_t)(contents[i] >= 0xfff0 ? 1 : contents[i] + 1);
		else if (type == DISCARD)
			contents[i] = UNKNOWN;
		else if (type == WRITE_ZEROES)
			contents[i] = ZEROS;
	}
	if (!submit(lane, type, sector, count))
		guest_fail("queue %u is full", lane->queue);
}

/* Random requests in all lanes until ops are done. */
static void torture(uint64_t ops)
{
	uint64_t started = 0, finished = 0, last = clock_now_ns();
	struct lane *lane;
	uint32_t written;
	unsigned i;

	for (i = 0; i < nr_lanes && started < ops; i++, started++)
		next(&lanes[i]);
	while (finished < started) {
		for (i = 0; i < nr_queues; i++) {
			while ((lane = virtq_poll(&queues[i], &written))) {
				finish(lane, written);
				finished++;
				last = clock_now_ns();
				if (started < ops) {
					next(lane);
					started++;
				}
			}
		}
		if (clock_now_ns() - last > TIMEOUT_US * 1000ull)
			guest_fail("%lu requests are not answered", started - finished);
	}
}

/* All sectors of all lanes, in order: written with generation 1, or read and verified. */
static void sweep(enum type type)
{
	uint64_t at, count, i;
	struct lane *lane;
	uint32_t written;
	unsigned l;

	for (l = 0; l < nr_lanes; l++) {
		lane = &lanes[l];
		for (at = lane->first; at < lane->first + lane->sectors; at += count) {
			count = lane->first + lane->sectors - at;
			count = count < most_sectors ? count : most_sectors;
			for (i = at; type == WRITE && i < at + count; i++)
				contents[i] = 1;
			if (!submit(lane, type, at, count) || virtq_wait(&queues[lane->queue], &written, TIMEOUT_US) != lane)
				guest_fail("sector %lu is not answered", at);
			finish(lane, written);
		}
	}
}

/* What must be refused is refused, and what follows still works. */
static void provoke(void)
{
	uint8_t beyond, huge, unknown, denied = STATUS_ERROR;

	beyond = run(&lanes[0], READ, capacity, unit);
	huge = run(&lanes[0], READ, ~0ull - 7, unit);
	unknown = run(&lanes[0], (enum type)77, 0, 0);
	if (dev.features & F_READ_ONLY)
		denied = run(&lanes[0], WRITE, 0, unit);
	print("blk: status of a read past the end %u, at the end of numbers %u, of an unknown request %u\n", beyond, huge, unknown);
	if (beyond != STATUS_ERROR || huge != STATUS_ERROR || unknown != STATUS_UNSUPPORTED || denied != STATUS_ERROR)
		guest_fail("a bad request was not refused");
}

static void open_disk(void)
{
	uint64_t i, lane_sectors;
	uint8_t *page;
	unsigned wanted;

	if (!virtio_find(VIRTIO_BLK, (unsigned)cmdline_number("disk", 0), &dev))
		guest_fail("no such virtio disk");
	virtio_negotiate(&dev, F_SEG_MAX | F_READ_ONLY | F_BLOCK_SIZE | F_FLUSH | F_QUEUES | F_DISCARD | F_ZEROES |
				       VIRTIO_F_INDIRECT | (cmdline_number("events", 1) ? VIRTIO_F_EVENT_IDX : 0));
	capacity = virtio_config(&dev, CONFIG_CAPACITY, 8);
	if (dev.features & F_BLOCK_SIZE)
		unit = virtio_config(&dev, CONFIG_BLOCK_SIZE, 4) / SECTOR;
	if (dev.features & F_SEG_MAX)
		seg_max = (unsigned)virtio_config(&dev, CONFIG_SEG_MAX, 4);
	wanted = dev.features & F_QUEUES ? (unsigned)virtio_config(&dev, CONFIG_QUEUES, 2) : 1;
	if (cmdline_number("queues", wanted) < wanted)
		wanted = (unsigned)cmdline_number("queues", wanted);
	depth = (unsigned)cmdline_number("depth", 8);
	depth = depth < MOST_DEPTH ? depth : MOST_DEPTH;
	while (nr_queues < wanted && nr_queues < MOST_QUEUES && virtq_open(&queues[nr_queues], &dev, nr_queues, 0))
		nr_queues++;
	if (!nr_queues)
		guest_fail("the disk has no queue");
	virtio_driver_ok(&dev);

	most_sectors = cmdline_number("max_kib", 256) * 2;
	if (dev.features & F_DISCARD && virtio_config(&dev, CONFIG_DISCARD_MOST, 4) < most_sectors)
		most_sectors = virtio_config(&dev, CONFIG_DISCARD_MOST, 4);
	if (dev.features & F_ZEROES && virtio_config(&dev, CONFIG_ZEROES_MOST, 4) < most_sectors)
		most_sectors = virtio_config(&dev, CONFIG_ZEROES_MOST, 4);
	region = cmdline_number("mib", 64) * 2048;
	region = region < capacity ? region : capacity;
	nr_lanes = nr_queues * depth;
	lane_sectors = region / nr_lanes / unit * unit;
	if (!lane_sectors || !most_sectors)
		guest_fail("the disk of %lu sectors is too small for %u requests at once", capacity, nr_lanes);
	contents = memmap_take((region * sizeof(*contents) + PAGE_SIZE - 1) / PAGE_SIZE + 1, 1);
	for (i = 0; i < nr_lanes; i++) {
		page = memmap_take(1, 1);
		lanes[i] = (struct lane){
			.request = (struct request *)page,
			.range = (struct range *)(page + 64),
			.status = page + 128,
			.buffer = memmap_take(most_sectors * SECTOR / PAGE_SIZE + 2, 1),
			.first = i * lane_sectors,
			.sectors = lane_sectors,
			.queue = (unsigned)i % nr_queues,
		};
	}
	print("blk: %lu sectors of unit %lu, %u queues of %u, features 0x%lx, seg_max %u\n", capacity, unit, nr_queues,
	      queues[0].size, dev.features, seg_max);
}

int guest_main(void)
{
	uint64_t start, ns, i, ops = cmdline_number("ops", 400);

	seed = cmdline_number("seed", 1);
	prng.state = seed;
	indirect_percent = (unsigned)cmdline_number("indirect", 50);
	open_disk();
	if (run(&lanes[0], GET_ID, 0, 0) == STATUS_OK)
		print("blk: serial \"%.20s\"\n", (const char *)lanes[0].buffer);
	if (cmdline_has("check")) {
		for (i = 0; i < region; i++)
			contents[i] = 1;
	} else {
		for (i = 0; cmdline_has("fresh") && i < region; i++)
			contents[i] = ZEROS;
		provoke();
		start = tsc_read();
		torture(ops);
		ns = clock_ns(tsc_read() - start);
		print("blk: %lu reads, %lu writes, %lu flushes, %lu discards, %lu write-zeroes, %lu KiB in %lu us, %lu a second\n",
		      done[READ], done[WRITE], done[FLUSH], done[DISCARD], done[WRITE_ZEROES], bytes / 1024, ns / 1000,
		      ops * 1000000000 / (ns ? ns : 1));
	}
	if (cmdline_has("seal")) {
		sweep(WRITE);
		if (dev.features & F_FLUSH && run(&lanes[0], FLUSH, 0, 0) != STATUS_OK)
			guest_fail("flush failed");
	}
	sweep(READ);
	if (virtio_status(&dev) & VIRTIO_NEEDS_RESET)
		guest_fail("the disk needs a reset");
	print("blk: %lu wrong sectors\n", wrong_sectors);
	return wrong_sectors ? 2 : 0;
}
