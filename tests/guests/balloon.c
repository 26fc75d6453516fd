/*
 * Gives memory to the balloon, takes it back and reports free pages, while it verifies every byte of what it has.
 *
 * What it gave up is zero when it has it again, whether it has taken it back (deflate), was never to keep it (report), or does not keep its
 * word (lie).
 *
 * Options: seed= (1), pages= (8192), steps= (2000), batch= (256, most pages of a request), lie= (0, percent of steps that use pages of the
 * balloon), follow (then it does what the device's configuration asks for instead, until a byte has come to the serial port).
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/io.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"
#include "lib/prng.h"
#include "lib/virtio.h"

#define F_REPORTING (1ull << 5)

enum { INFLATE = 0, DEFLATE = 1, REPORT = 4, TIMEOUT_US = 10000000, MOST = 256, SHOWN = 5 };

/* What a page holds: generation 0 is zeroes. */
struct page {
	uint32_t generation;
	bool given;
};

static struct virtio_device dev;
static struct virtq inflateq, deflateq, reportq;
static struct pattern pattern = {.mix = {{25, 25, 25, 25}}};
static struct prng prng;
static struct page *pages;
static uint8_t *region;
static uint32_t *pfns;
static uint64_t nr_pages, nr_given, wrong_pages, inflated, deflated, reported, lies, inflate_cycles, deflate_cycles;

static uint8_t *page_at(uint64_t page)
{
	return region + page * PAGE_SIZE;
}

static void verify(uint64_t page)
{
	struct pattern_mismatch m = {.offset = 0};
	const uint64_t *words = (const uint64_t *)page_at(page);
	uint64_t i;

	if (pages[page].generation) {
		if (pattern_verify(&pattern, page * PAGE_SIZE, pages[page].generation, words, &m))
			return;
	} else {
		for (i = 0; i < PAGE_SIZE / 8 && !words[i]; i++)
			;
		if (i == PAGE_SIZE / 8)
			return;
		m.offset = (uint32_t)(i * 8);
	}
	if (wrong_pages++ < SHOWN)
		print("balloon: wrong byte: page %lu of generation %u, offset %u\n", page, pages[page].generation, m.offset);
}

static void rewrite(uint64_t page)
{
	static uint32_t generation;

	pages[page].generation = ++generation;
	pattern_fill(&pattern, page * PAGE_SIZE, generation, page_at(page));
}

static void send(struct virtq *q, const struct virtq_buffer *buffers, unsigned nr_out, unsigned nr_in)
{
	uint32_t written;

	if (!virtq_add(q, buffers, nr_out, nr_in, false, q))
		guest_fail("a queue is full");
	virtq_kick(q);
	if (!virtq_wait(q, &written, TIMEOUT_US))
		guest_fail("a request of queue %u is not answered", q->index);
}

static void tell_actual(void)
{
	mmio_write32(dev.config + 4, (uint32_t)nr_given);
}

/* Up to nr pages that are, or are not, in the balloon, from a random one on; upwards, downwards or scattered. Returns how many. */
static uint32_t choose(uint32_t nr, bool given)
{
	uint64_t at = prng_below(&prng, nr_pages), way = prng_below(&prng, 3), tries, found = 0, i;

	for (tries = 0; tries < 4 * nr && found < nr; tries++) {
		if (pages[at].given == given) {
			for (i = 0; i < found && way == 2; i++)
				if (pfns[i] == at)
					break;
			if (way != 2 || i == found)
				pfns[found++] = (uint32_t)at;
		}
		at = way == 0 ? (at + 1) % nr_pages : way == 1 ? (at + nr_pages - 1) % nr_pages : prng_below(&prng, nr_pages);
	}
	return (uint32_t)found;
}

static void move(uint32_t nr, bool give)
{
	uint32_t found = choose(nr, !give), i;
	struct virtq_buffer buffer = {pfns, found * 4};
	uint64_t start;

	if (!found)
		return;
	for (i = 0; i < found; i++) {
		uint32_t page = pfns[i];
		pages[page].given = give;
		if (give)
			pages[page].generation = 0;
		pfns[i] = (uint32_t)((uint64_t)page_at(page) / PAGE_SIZE);
	}
	start = tsc_read();
	send(give ? &inflateq : &deflateq, &buffer, 1, 0);
	*(give ? &inflate_cycles : &deflate_cycles) += tsc_read() - start;
	*(give ? &inflated : &deflated) += found;
	nr_given += give ? found : -(uint64_t)found;
	tell_actual();
}

static void report(uint32_t most)
{
	uint64_t first = prng_below(&prng, nr_pages), nr = 0;
	struct virtq_buffer buffer;

	while (first + nr < nr_pages && nr < most && !pages[first + nr].given)
		nr++;
	if (!nr)
		return;
	buffer = (struct virtq_buffer){page_at(first), (uint32_t)(nr * PAGE_SIZE)};
	send(&reportq, &buffer, 0, 1);
	reported += nr;
	while (nr-- > 0)
		pages[first + nr].generation = 0;
}

static void use(uint64_t touches, bool lie)
{
	uint64_t page;

	while (touches-- > 0) {
		page = prng_below(&prng, nr_pages);
		if (pages[page].given && !lie)
			continue;
		lies += pages[page].given;
		verify(page);
		if (prng_below(&prng, 3) == 0)
			rewrite(page);
	}
}

static void follow(void)
{
	uint64_t target;

	while (serial_read() < 0) {
		target = virtio_config(&dev, 0, 4);
		if (target > nr_pages)
			target = nr_pages;
		if (target > nr_given)
			move((uint32_t)(target - nr_given < MOST ? target - nr_given : MOST), true);
		else if (target < nr_given)
			move((uint32_t)(nr_given - target < MOST ? nr_given - target : MOST), false);
		else
			clock_sleep_us(2000);
		use(20, false);
	}
}

int guest_main(void)
{
	uint64_t steps = cmdline_number("steps", 2000), lie = cmdline_number("lie", 0), i;
	uint32_t batch = (uint32_t)cmdline_number("batch", MOST);

	pattern.seed = prng.state = cmdline_number("seed", 1);
	nr_pages = cmdline_number("pages", 8192);
	if (!virtio_find(VIRTIO_BALLOON, 0, &dev))
		guest_fail("no balloon");
	virtio_negotiate(&dev, F_REPORTING | VIRTIO_F_EVENT_IDX);
	if (!virtq_open(&inflateq, &dev, INFLATE, 0) || !virtq_open(&deflateq, &dev, DEFLATE, 0) ||
	    !virtq_open(&reportq, &dev, REPORT, 0))
		guest_fail("the balloon lacks a queue");
	virtio_driver_ok(&dev);
	pfns = memmap_take(1, 1);
	pages = memmap_take((nr_pages * sizeof(*pages) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	region = memmap_take(nr_pages, 512);
	if (batch == 0 || batch > MOST)
		batch = MOST;
	for (i = 0; i < nr_pages; i++)
		rewrite(i);
	print("balloon: filled pages=%lu\n", nr_pages);
	if (cmdline_has("follow"))
		follow();
	for (i = 0; i < steps && !cmdline_has("follow"); i++) {
		uint32_t nr = 1 + (uint32_t)prng_below(&prng, batch);

		switch (prng_below(&prng, 8)) {
		case 0:
		case 1:
			move(nr, true);
			break;
		case 2:
		case 3:
			move(nr, false);
			break;
		case 4:
			report(prng_below(&prng, 4) ? nr : 2048);
			break;
		default:
			use(100, prng_below(&prng, 100) < lie);
		}
	}
	for (i = 0; i < nr_pages; i++)
		if (!pages[i].given)
			verify(i);
	print("balloon: inflated=%lu deflated=%lu reported=%lu lies=%lu, inflate_ns=%lu deflate_ns=%lu a page\n", inflated,
	      deflated, reported, lies, clock_ns(inflate_cycles) / (inflated ? inflated : 1),
	      clock_ns(deflate_cycles) / (deflated ? deflated : 1));
	print("balloon: %lu wrong pages\n", wrong_pages);
	return wrong_pages ? 2 : 0;
}
