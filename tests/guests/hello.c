/* Prints what kind of machine it runs on, and checks the little that every machine must have. */
#include "lib/acpi.h"
#include "lib/bytes.h"
#include "lib/clock.h"
#include "lib/guest.h"
#include "lib/io.h"
#include "lib/memmap.h"
#include "lib/print.h"
#include "lib/ring0.h"
#include "lib/smp.h"

static uint32_t seen;

static void count(unsigned cpu)
{
	__atomic_or_fetch(&seen, 1u << (cpu & 31), __ATOMIC_RELAXED);
}

static void report_table(const struct acpi_header *table, bool good)
{
	print("hello: table %.4s of %u bytes, checksum %s\n", table->signature, table->length, good ? "good" : "wrong");
}

static void report_memory(void)
{
	struct memmap_range range;
	size_t i;

	for (i = 0; memmap_range(i, &range); i++)
		print("hello: memory 0x%lx to 0x%lx type %u\n", range.gpa, range.gpa + range.size, range.type);
	for (i = 0; memmap_free_range(i, &range); i++)
		print("hello: free 0x%lx to 0x%lx\n", range.gpa, range.gpa + range.size);
	print("hello: ram %lu KiB\n", memmap_ram_bytes() / 1024);
}

static void report_cpu(void)
{
	struct cpuid id = cpuid_read(0, 0);
	uint64_t cr0, cr4, start, loops;
	char vendor[13] = {0};

	memcpy(vendor, &id.ebx, 4);
	memcpy(vendor + 4, &id.edx, 4);
	memcpy(vendor + 8, &id.ecx, 4);
	ring0_read_cr(&cr0, &cr4);
	print("hello: cpu %s, cr0 0x%lx, cr4 0x%lx\n", vendor, cr0, cr4);
	start = tsc_read();
	for (loops = 0; loops < 10000000; loops++)
		__asm__ volatile("");
	print("hello: tsc %lu kHz by %s, 10 million loops in %lu us\n", clock_tsc_khz(), clock_source(),
	      clock_ns(tsc_read() - start) / 1000);
}

int guest_main(void)
{
	uint64_t before, slept;
	size_t bad;

	print("hello: world\n");
	print("hello: cmdline \"%s\"\n", memmap_cmdline());
	report_memory();
	bad = acpi_check(report_table);
	report_cpu();
	before = clock_now_ns();
	clock_sleep_us(5000);
	slept = clock_now_ns() - before;
	print("hello: slept %lu us of 5000\n", slept / 1000);
	smp_run(count);
	print("hello: cpus %u, seen 0x%x\n", smp_cpus(), seen);
	if (bad)
		guest_fail("%lu ACPI tables with a wrong checksum", (unsigned long)bad);
	return 0;
}
