/*
 * Uses all of its memory for a given time, by all vCPUs and by a disk, and verifies every byte: a soak for the memory manager.
 *
 * A page's content is known by where it comes from: the pattern of an address and a generation. Pages are dealt to vCPUs in stripes; only
 * a page's owner rewrites it, or has the disk read it from its place, or has the disk's blocks put into it; all others verify it. The lock of
 * its stripe orders them. The first pages are not locked: each vCPU counts up a word of its own in every one of them.
 *
 * A disk's blocks of one page each are dealt to lanes, a request at a time each, and every vCPU has lanes of its own on a queue of its own.
 * What is done is drawn from the seed; how far it gets is up to the clock: rounds end by it, those in which all vCPUs sleep included.
 *
 * Options: seed= (1), ms= (10000: how long), pages= (0: all free ones), filled= (75: percent of them written at the start; the others are zeros
 * until drawn), write= (30: percent of the owner's touches that rewrite the page), skew= (110: the Zipf exponent in hundredths), idle_ms= (600: the
 * longest sleep; 0: none), depth= (4: requests in flight a vCPU; 0: no disk), common= (0: percent of rewrites whose content is one of kinds= (2000)
 * that all guests have, for hosts that let guests share pages).
 */
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/lock.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"
#include "lib/smp.h"
#include "lib/virtio.h"
#include "lib/zipf.h"

enum {
	MOST_CPUS = 16,
	MOST_DEPTH = 8,
	MOST_WRONG = 20,    /* that are named */
	STRIPE = 8,         /* pages */
	STRIPES = 256,      /* locks */
	COUNTED_PAGES = 64, /* with a word of each vCPU's own */
	LANE_BLOCKS = 128,  /* pages of a lane's part of the disk */
	REQUEST_PAGES = 6,  /* of a request at most */
	SECTORS_A_PAGE = 8,
	POLL_TOUCHES = 4, /* between two looks at the disk */
	TIMEOUT_US = 60000000,
};
enum type { READ = 0, WRITE = 1, FLUSH = 4 };
enum { CONFIG_CAPACITY = 0, CONFIG_SEG_MAX = 12, CONFIG_QUEUES = 34 };
#define F_SEG_MAX (1ull << 2)
#define F_FLUSH (1ull << 9)
#define F_QUEUES (1ull << 12)

/* What a page, or a block of the disk, holds: that page's pattern of that generation, or of all guests' pattern. Generation 0: zeros. */
#define COMMON 0x80000000u /* of an origin: all guests' */
struct content {
	uint32_t origin, generation;
};

/* Who else is at a page. */
enum device { DEVICE_AWAY, DEVICE_READS, DEVICE_WRITES };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

/* A request, and the part of the disk that it goes to. */
struct lane {
	struct request *request;
	uint8_t *status;
	uint64_t first; /* block */
	enum type type;
	uint32_t at, nr; /* blocks of the request in flight, from first on; nr 0: of a flush */
	uint32_t pages[REQUEST_PAGES];
	uint64_t since_ns;
	bool in_flight;
};

struct cpu {
	struct prng prng;
	struct virtq queue;
	struct lane lanes[MOST_DEPTH];
	unsigned nr_lanes;
	uint32_t generation; /* the last that it gave: no two pages of it have the same, but for common ones */
	uint32_t counts[COUNTED_PAGES];
	uint64_t touches, rewrites, slowest_ns;
	uint64_t disk_reads, disk_writes, flushes; /* pages, and requests */
} __attribute__((aligned(64)));

static struct pattern pattern, common_pattern;
static struct content *contents, *blocks;
static uint8_t *devices; /* enum device of each page */
static uint8_t *counted; /* COUNTED_PAGES pages */
static uint64_t nr_pages, nr_blocks, wrong, begin_ns, duration_ns, report_ns;
static unsigned nr_cpus, nr_queues, write_percent, idle_ms, common_percent, kinds;
static struct zipf zipf;
static struct lock locks[STRIPES];
static struct virtio_device disk;
static struct cpu cpus[MOST_CPUS];

static inline void *page_at(uint64_t index)
{
	return (void *)memmap_free_gpa(index);
}

static inline struct lock *lock_of(uint64_t index)
{
	return &locks[index / STRIPE % STRIPES];
}

static inline unsigned owner_of(uint64_t index)
{
	return (unsigned)(index / STRIPE % nr_cpus);
}

/* The page of this vCPU's that lies nearest. */
static uint64_t own(unsigned cpu, uint64_t index)
{
	uint64_t stripe = index / STRIPE;

	stripe = stripe - stripe % nr_cpus + cpu;
	if (stripe * STRIPE + index % STRIPE >= nr_pages)
		stripe = cpu;
	return stripe * STRIPE + index % STRIPE;
}

/* --- one page --- */

static const struct pattern *pattern_of(struct content content, uint64_t *origin)
{
	*origin = content.origin & COMMON ? (content.origin & ~COMMON) * PAGE_SIZE : memmap_free_gpa(content.origin);
	return content.origin & COMMON ? &common_pattern : &pattern;
}

static void verify(unsigned cpu, uint64_t index, const char *when)
{
	static const uint64_t zeros[PATTERN_PAGE / 8];
	struct content content = contents[index];
	uint64_t origin;
	const struct pattern *of = pattern_of(content, &origin);
	struct pattern_mismatch m = {0};
	const uint8_t *bytes = page_at(index);

	if (content.generation) {
		if (pattern_verify(of, origin, content.generation, bytes, &m))
			return;
	} else {
		if (!memcmp(bytes, zeros, PATTERN_PAGE))
			return;
		while (m.offset < PATTERN_PAGE - 1 && !bytes[m.offset])
			m.offset++;
		m.got = bytes[m.offset];
		m.wrong_bytes = 1;
	}
	if (__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED) < MOST_WRONG)
		print("soak: wrong byte: gpa 0x%lx offset %u expected 0x%02x got 0x%02x, %u wrong in the page, seen by vCPU %u %s; "
		      "it "
		      "holds generation %u of 0x%lx, kind %d\n",
		      (uint64_t)bytes, m.offset, m.expected, m.got, m.wrong_bytes, cpu, when, content.generation, origin,
		      (int)pattern_kind(of, origin));
}

static void rewrite(unsigned cpu, uint64_t index)
{
	struct content content = {(uint32_t)index, ++cpus[cpu].generation};
	const struct pattern *of;
	uint64_t origin;

	if (common_percent && prng_below(&cpus[cpu].prng, 100) < common_percent)
		content = (struct content){COMMON | (uint32_t)prng_below(&cpus[cpu].prng, kinds), 1};
	of = pattern_of(content, &origin);
	pattern_fill(of, origin, content.generation, page_at(index));
	contents[index] = content;
	cpus[cpu].rewrites++;
}

static void touch(unsigned cpu, uint64_t index)
{
	struct cpu *c = &cpus[cpu];
	bool write = prng_below(&c->prng, 100) < write_percent;
	uint64_t start, ns;

	if (write)
		index = own(cpu, index);
	lock_take(lock_of(index));
	start = tsc_read();
	if (devices[index] != DEVICE_WRITES)
		verify(cpu, index, "by a touch");
	if (write && devices[index] == DEVICE_AWAY)
		rewrite(cpu, index);
	ns = clock_ns(tsc_read() - start);
	lock_drop(lock_of(index));
	c->slowest_ns = ns > c->slowest_ns ? ns : c->slowest_ns;
	c->touches++;
}

/* A word that nobody else writes, in a page that all write, without a lock. */
static void count_up(unsigned cpu)
{
	struct cpu *c = &cpus[cpu];
	uint64_t page = prng_below(&c->prng, COUNTED_PAGES);
	volatile uint32_t *word = (volatile uint32_t *)(counted + page * PAGE_SIZE) + (page * 61 + cpu) % (PAGE_SIZE / 4);
	uint32_t found = *word;

	*word = c->counts[page] + 1;
	if (found != c->counts[page] && __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED) < MOST_WRONG)
		print("soak: wrong byte: gpa 0x%lx expected 0x%x got 0x%x, the word that vCPU %u counts up\n", (uint64_t)word,
		      c->counts[page], found, cpu);
	c->counts[page]++;
}

/* --- the disk --- */

/* Draws pages of this vCPU's that the disk is not at, and gives them to it. */
static unsigned take_pages(unsigned cpu, unsigned nr, bool adjacent, enum device device, uint32_t *pages)
{
	struct prng *prng = &cpus[cpu].prng;
	unsigned got = 0, tries;
	uint64_t index = own(cpu, prng_below(prng, nr_pages));

	for (tries = 0; got < nr && tries < 4 * nr; tries++) {
		if (!adjacent)
			index = own(cpu, prng_below(prng, nr_pages));
		else if (tries && ++index % STRIPE == 0)
			break;
		if (index >= nr_pages)
			break;
		lock_take(lock_of(index));
		if (devices[index] == DEVICE_AWAY) {
			devices[index] = (uint8_t)device;
			pages[got++] = (uint32_t)index;
		}
		lock_drop(lock_of(index));
	}
	return got;
}

/* Buffers of the pages: neighbours as one, or a page in two parts. */
static unsigned make_buffers(struct prng *prng, const struct lane *lane, struct virtq_buffer *buffers)
{
	unsigned i, nr = 0, cut;
	const uint8_t *page;

	for (i = 0; i < lane->nr; i++) {
		page = page_at(lane->pages[i]);
		if (nr && (const uint8_t *)buffers[nr - 1].data + buffers[nr - 1].length == page && prng_below(prng, 4)) {
			buffers[nr - 1].length += (uint32_t)PAGE_SIZE;
			continue;
		}
		cut = prng_below(prng, 4) ? 0 : 512 * (unsigned)prng_below(prng, SECTORS_A_PAGE);
		if (cut)
			buffers[nr++] = (struct virtq_buffer){page, cut};
		buffers[nr++] = (struct virtq_buffer){page + cut, (uint32_t)PAGE_SIZE - cut};
	}
	return nr;
}

static void submit(unsigned cpu, struct lane *lane, enum type type)
{
	struct cpu *c = &cpus[cpu];
	struct virtq_buffer buffers[VIRTQ_MOST_BUFFERS];
	unsigned nr = 1, nr_data = make_buffers(&c->prng, lane, buffers + 1), i;

	*lane->request = (struct request){type, 0, type == FLUSH ? 0 : (lane->first + lane->at) * SECTORS_A_PAGE};
	*lane->status = 0xee;
	buffers[0] = (struct virtq_buffer){lane->request, sizeof(*lane->request)};
	nr += nr_data;
	buffers[nr++] = (struct virtq_buffer){lane->status, 1};
	/* The disk's blocks are this lane's alone: what they will hold is known now. */
	for (i = 0; type == WRITE && i < lane->nr; i++)
		blocks[lane->first + lane->at + i] = contents[lane->pages[i]];
	lane->type = type;
	lane->since_ns = clock_now_ns();
	lane->in_flight = true;
	if (!virtq_add(&c->queue, buffers, type == READ ? 1 : 1 + nr_data, type == READ ? 1 + nr_data : 1, prng_below(&c->prng, 2),
		       lane))
		guest_fail("queue %u is full", cpu);
	virtq_kick(&c->queue);
}

static void start_request(unsigned cpu, struct lane *lane)
{
	struct cpu *c = &cpus[cpu];
	uint64_t draw = prng_below(&c->prng, 100);
	enum type type = draw < 48 ? READ : draw < 97 || !(disk.features & F_FLUSH) ? WRITE : FLUSH;

	lane->nr = 0;
	lane->at = (uint32_t)prng_below(&c->prng, LANE_BLOCKS - REQUEST_PAGES + 1);
	if (type != FLUSH) {
		lane->nr = take_pages(cpu, 1 + (unsigned)prng_below(&c->prng, REQUEST_PAGES), prng_below(&c->prng, 3) == 0,
				      type == READ ? DEVICE_WRITES : DEVICE_READS, lane->pages);
		if (!lane->nr)
			return;
	}
	submit(cpu, lane, type);
}

static void finish_request(unsigned cpu, struct lane *lane, uint32_t written)
{
	struct cpu *c = &cpus[cpu];
	uint32_t expected = 1 + (lane->type == READ ? lane->nr * (uint32_t)PAGE_SIZE : 0), i, page;

	if (*lane->status || written != expected)
		guest_fail("a request of type %d at block %lu, %u pages: status %u, %u bytes written of %u", (int)lane->type,
			   lane->first + lane->at, lane->nr, *lane->status, written, expected);
	for (i = 0; i < lane->nr; i++) {
		page = lane->pages[i];
		lock_take(lock_of(page));
		if (lane->type == READ)
			contents[page] = blocks[lane->first + lane->at + i];
		devices[page] = DEVICE_AWAY;
		/* At once, or when it is touched next. */
		if (prng_below(&c->prng, 2))
			verify(cpu, page, lane->type == READ ? "after a read of the disk" : "after a write to the disk");
		lock_drop(lock_of(page));
	}
	c->disk_reads += lane->type == READ ? lane->nr : 0;
	c->disk_writes += lane->type == WRITE ? lane->nr : 0;
	c->flushes += lane->type == FLUSH;
	lane->in_flight = false;
}

/* Ends requests that are done. Returns whether some are not. */
static bool poll_disk(unsigned cpu)
{
	struct cpu *c = &cpus[cpu];
	struct lane *lane;
	uint32_t written;
	unsigned i, busy = 0;

	while (c->nr_lanes && (lane = virtq_poll(&c->queue, &written)))
		finish_request(cpu, lane, written);
	for (i = 0; i < c->nr_lanes; i++) {
		lane = &c->lanes[i];
		busy += lane->in_flight;
		if (lane->in_flight && clock_now_ns() - lane->since_ns > TIMEOUT_US * 1000ull)
			guest_fail("vCPU %u: a request of type %d at block %lu is not answered", cpu, (int)lane->type,
				   lane->first + lane->at);
	}
	return busy;
}

static void use_disk(unsigned cpu)
{
	struct cpu *c = &cpus[cpu];
	struct lane *lane = &c->lanes[c->nr_lanes ? prng_below(&c->prng, c->nr_lanes) : 0];

	poll_disk(cpu);
	if (c->nr_lanes && !lane->in_flight)
		start_request(cpu, lane);
}

static void open_disk(void)
{
	unsigned depth = (unsigned)cmdline_number("depth", 4), wanted, cpu, i;
	uint64_t next = 0;

	if (!depth || !virtio_find(VIRTIO_BLK, 0, &disk))
		return;
	depth = depth < MOST_DEPTH ? depth : MOST_DEPTH;
	virtio_negotiate(&disk, F_SEG_MAX | F_FLUSH | F_QUEUES | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX);
	if (disk.features & F_SEG_MAX && virtio_config(&disk, CONFIG_SEG_MAX, 4) < 2 * REQUEST_PAGES)
		guest_fail("the disk takes only %lu segments", virtio_config(&disk, CONFIG_SEG_MAX, 4));
	wanted = disk.features & F_QUEUES ? (unsigned)virtio_config(&disk, CONFIG_QUEUES, 2) : 1;
	while (nr_queues < wanted && nr_queues < nr_cpus && virtq_open(&cpus[nr_queues].queue, &disk, nr_queues, 0))
		nr_queues++;
	virtio_driver_ok(&disk);
	for (cpu = 0; cpu < nr_queues; cpu++) {
		struct cpu *c = &cpus[cpu];
		for (i = 0; i < depth; i++, next += LANE_BLOCKS) {
			c->lanes[i].request = memmap_take(1, 1);
			c->lanes[i].status = (uint8_t *)c->lanes[i].request + sizeof(struct request);
			c->lanes[i].first = next;
		}
		c->nr_lanes = depth;
	}
	nr_blocks = next;
	if (virtio_config(&disk, CONFIG_CAPACITY, 8) < nr_blocks * SECTORS_A_PAGE)
		guest_fail("the disk has %lu sectors, and %lu are needed", virtio_config(&disk, CONFIG_CAPACITY, 8),
			   nr_blocks * SECTORS_A_PAGE);
	/* A new disk holds zeros, as blocks say that it does. */
	blocks = memmap_take((nr_blocks * sizeof(*blocks) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
}

/* --- vCPUs --- */

static void report(bool last)
{
	uint64_t touches = 0, rewrites = 0, reads = 0, writes = 0, flushes = 0, slowest_ns = 0;
	char each[MOST_CPUS * 12] = "";
	size_t len = 0;
	unsigned i;

	for (i = 0; i < nr_cpus; i++) {
		const struct cpu *c = &cpus[i];
		touches += c->touches;
		rewrites += c->rewrites;
		reads += c->disk_reads;
		writes += c->disk_writes;
		flushes += c->flushes;
		slowest_ns = c->slowest_ns > slowest_ns ? c->slowest_ns : slowest_ns;
		len += print_buffer(each + len, sizeof(each) - len, "%s%lu", i ? "+" : "", c->touches / 1000);
	}
	print("soak: %s %lu ms: %lu touches (%s thousand), %lu rewrites, disk: %lu pages read, %lu written, %lu flushes; slowest "
	      "touch %lu us; %lu wrong\n",
	      last ? "all in" : "at", (clock_now_ns() - begin_ns) / 1000000, touches, each, rewrites, reads, writes, flushes,
	      slowest_ns / 1000, wrong);
}

static void report_now_and_then(unsigned cpu)
{
	uint64_t now = clock_now_ns();

	if (cpu || now < report_ns)
		return;
	report(false);
	report_ns = now + 1000000000;
}

/* One kind of touches, until the round is over. */
static void work(unsigned cpu, uint64_t end_ns)
{
	struct cpu *c = &cpus[cpu];
	uint64_t kind = prng_below(&c->prng, 3), at = prng_below(&c->prng, nr_pages), salt = prng_below(&c->prng, 4), i,
		 window = nr_pages / (1 + prng_below(&c->prng, 8)) + 1;

	for (i = 0; i % POLL_TOUCHES || clock_now_ns() < end_ns; i++) {
		switch (kind) {
		case 0:
			touch(cpu, (at + i) % nr_pages);
			break;
		case 1:
			touch(cpu, (at + prng_below(&c->prng, window)) % nr_pages);
			break;
		default: /* few sets of popular pages, so that each becomes hot and cold again */
			touch(cpu, prng_mix(zipf_next(&zipf, &c->prng) ^ salt << 60) % nr_pages);
			break;
		}
		if (i % POLL_TOUCHES)
			continue;
		count_up(cpu);
		use_disk(cpu);
		report_now_and_then(cpu);
	}
}

static void soak(unsigned cpu)
{
	uint64_t end_ns = begin_ns + duration_ns, round, round_ns = begin_ns, now;

	for (round = 0; round_ns < end_ns; round++) {
		/* The same for all vCPUs: they work and sleep together. */
		struct prng together = {prng_mix(pattern.seed) + round};
		bool idle = idle_ms && prng_below(&together, 4) == 0;

		round_ns += (30 + prng_below(&together, idle ? idle_ms : 500)) * 1000000;
		now = clock_now_ns();
		if (!idle)
			work(cpu, round_ns);
		else if (now < round_ns)
			clock_sleep_us((round_ns - now) / 1000);
		report_now_and_then(cpu);
	}
	while (poll_disk(cpu))
		cpu_relax();
}

static void fill(unsigned cpu)
{
	uint64_t i, filled = cmdline_number("filled", 75);

	for (i = 0; i < nr_pages; i++)
		if (owner_of(i) == cpu && prng_below(&cpus[cpu].prng, 100) < filled)
			rewrite(cpu, i);
}

/* Each vCPU another's pages. */
static void verify_others(unsigned cpu)
{
	uint64_t i;

	for (i = 0; i < nr_pages; i++)
		if ((owner_of(i) + 1) % nr_cpus == cpu)
			verify(cpu, i, "at the end");
}

/* All blocks, read into pages of this vCPU's. */
static void read_blocks(unsigned cpu)
{
	struct cpu *c = &cpus[cpu];
	struct lane *lane = &c->lanes[0];
	uint64_t i, left = (uint64_t)c->nr_lanes * LANE_BLOCKS;
	uint32_t written;

	/* Lanes lie one after the other. */
	for (i = 0; left; i += lane->nr, left -= lane->nr) {
		lane->at = (uint32_t)i;
		lane->nr =
			take_pages(cpu, left < REQUEST_PAGES ? (unsigned)left : REQUEST_PAGES, false, DEVICE_WRITES, lane->pages);
		submit(cpu, lane, READ);
		if (virtq_wait(&c->queue, &written, TIMEOUT_US) != lane)
			guest_fail("vCPU %u: block %lu is not answered", cpu, lane->first + i);
		finish_request(cpu, lane, written);
	}
}

static void verify_own(unsigned cpu)
{
	uint64_t i;

	for (i = 0; i < nr_pages; i++)
		if (owner_of(i) == cpu)
			verify(cpu, i, "after all blocks were read");
	for (i = 0; i < COUNTED_PAGES * 4; i++)
		count_up(cpu);
}

static void arrive(unsigned cpu)
{
	(void)cpu;
}

int guest_main(void)
{
	unsigned cpu;

	pattern.seed = cmdline_number("seed", 1);
	pattern.mix = common_pattern.mix = pattern_even_mix;
	common_pattern.seed = 1;
	common_percent = (unsigned)cmdline_number("common", 0);
	kinds = (unsigned)cmdline_number("kinds", 2000);
	write_percent = (unsigned)cmdline_number("write", 30);
	idle_ms = (unsigned)cmdline_number("idle_ms", 600);
	duration_ns = cmdline_number("ms", 10000) * 1000000;
	nr_cpus = smp_cpus() < MOST_CPUS ? smp_cpus() : MOST_CPUS;
	/* The vCPUs' stacks come out of free memory: start all first. */
	smp_run(arrive);
	for (cpu = 0; cpu < nr_cpus; cpu++)
		cpus[cpu].prng.state = prng_mix(pattern.seed * MOST_CPUS + cpu);
	open_disk();
	counted = memmap_take(COUNTED_PAGES, 1);
	nr_pages = memmap_free_pages();
	contents = memmap_take((nr_pages * sizeof(*contents) + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	devices = memmap_take((nr_pages + PAGE_SIZE - 1) / PAGE_SIZE, 1);
	nr_pages = memmap_free_pages();
	if (cmdline_number("pages", 0) && cmdline_number("pages", 0) < nr_pages)
		nr_pages = cmdline_number("pages", 0);
	zipf_init(&zipf, nr_pages, (double)cmdline_number("skew", 110) / 100);
	print("soak: seed %lu, %u vCPUs, %lu pages, %lu blocks of a disk by %u queues\n", pattern.seed, nr_cpus, nr_pages,
	      nr_blocks, nr_queues);

	smp_run(fill);
	print("soak: filled\n");
	begin_ns = clock_now_ns();
	report_ns = begin_ns + 1000000000;
	smp_run(soak);
	print("soak: time is over\n");
	smp_run(verify_others);
	smp_run(read_blocks);
	smp_run(verify_own);
	report(true);
	return wrong ? 2 : 0;
}
