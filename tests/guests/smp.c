/*
 * All vCPUs verify and rewrite one memory at once. A page has one writer per round, and all the others read it between rounds.
 *
 * Options: seed= (1), pages= (8192), rounds= (4).
 */
#include "lib/smp.h"
#include "lib/clock.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/lock.h"
#include "lib/memmap.h"
#include "lib/pattern.h"
#include "lib/print.h"

static struct pattern pattern;
static struct barrier barrier;
static struct lock lock;
static uint64_t nr_pages, wrong_pages, locked_sum, atomic_sum;
static unsigned rounds;

static void verify(uint64_t index, unsigned round, unsigned cpu)
{
	uint64_t gpa = memmap_free_gpa(index);
	struct pattern_mismatch m;

	if (pattern_verify(&pattern, gpa, round, (const void *)gpa, &m))
		return;
	if (__atomic_fetch_add(&wrong_pages, 1, __ATOMIC_RELAXED) < 10)
		print("smp: wrong byte: cpu %u round %u gpa 0x%lx offset %u expected 0x%02x got 0x%02x, %u wrong in the page\n",
		      cpu, round, gpa, m.offset, m.expected, m.got, m.wrong_bytes);
}

static void arrive(unsigned cpu)
{
	(void)cpu;
}

static void work(unsigned cpu)
{
	unsigned nr_cpus = smp_cpus(), round;
	uint64_t i, gpa;

	for (round = 1; round <= rounds; round++) {
		/* Another share each round, so that each page changes its writer. */
		for (i = (cpu + round) % nr_cpus; i < nr_pages; i += nr_cpus) {
			gpa = memmap_free_gpa(i);
			pattern_fill(&pattern, gpa, round, (void *)gpa);
			__atomic_fetch_add(&atomic_sum, i, __ATOMIC_RELAXED);
			lock_take(&lock);
			locked_sum += i;
			lock_drop(&lock);
		}
		barrier_wait(&barrier, nr_cpus);
		/* Each starts elsewhere. */
		for (i = 0; i < nr_pages; i++)
			verify((i + cpu * nr_pages / nr_cpus) % nr_pages, round, cpu);
		barrier_wait(&barrier, nr_cpus);
	}
}

int guest_main(void)
{
	uint64_t start, expected;

	pattern.seed = cmdline_number("seed", 1);
	pattern.mix = pattern_even_mix;
	rounds = (unsigned)cmdline_number("rounds", 4);
	/* The vCPUs' stacks come out of free memory: start all first. */
	smp_run(arrive);
	nr_pages = cmdline_number("pages", 8192);
	if (nr_pages > memmap_free_pages())
		nr_pages = memmap_free_pages();
	start = tsc_read();
	smp_run(work);
	expected = nr_pages * (nr_pages - 1) / 2 * rounds;
	print("smp: %u cpus, %lu pages, %u rounds in %lu us, %lu wrong pages, sums %s\n", smp_cpus(), nr_pages, rounds,
	      clock_ns(tsc_read() - start) / 1000, wrong_pages,
	      locked_sum == expected && atomic_sum == expected ? "right" : "wrong");
	return wrong_pages || locked_sum != expected || atomic_sum != expected ? 2 : 0;
}
