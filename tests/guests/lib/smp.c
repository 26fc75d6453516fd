/*
 * Starting vCPUs by INIT and SIPI (Intel SDM 3A, 9.4), one after the other, and giving them work.
 *
 * Each newcomer reads boot_cpu for its stacks and TSS (boot.S), arrives in smp_entry(), says so in arrived, and waits for the next
 * round of work.
 */
#include "smp.h"
#include "acpi.h"
#include "bytes.h"
#include "clock.h"
#include "guest.h"
#include "io.h"
#include "lock.h"
#include "memmap.h"
#include "ring0.h"

#define APIC_BASE_MSR 0x1bu
#define APIC_ID 0xfee00020ull
#define APIC_SPURIOUS 0xfee000f0ull
#define APIC_ICR_LOW 0xfee00300ull
#define APIC_ICR_HIGH 0xfee00310ull

enum { ICR_INIT = 0x4500, ICR_STARTUP = 0x4600, ICR_PENDING = 0x1000, STACK_PAGES = 16, FIRST_TSS = 0x40, WAIT_US = 2000000 };

struct boot_cpu {
	uint64_t stack0, stack3, entry, tss;
};

struct tss {
	uint32_t reserved;
	uint64_t rsp0;
	uint8_t unused[90];
	uint16_t bitmap;
	uint8_t pad[24];
} __attribute__((packed));

extern volatile struct boot_cpu boot_cpu;
extern uint64_t boot_gdt[];
extern struct tss boot_tss[SMP_MOST_CPUS]; /* the bitmap of 8 KiB follows */
extern char boot_ap[], boot_ap_end[];
void smp_entry(void);

static uint32_t arrived = 1;         /* vCPUs running, ourselves counted; the newcomer's number is what it was before */
static uint32_t round_started;       /* counts calls of smp_run() */
static uint32_t round_done;          /* vCPUs that finished the round, without the boot CPU */
static void (*round_work)(unsigned); /* written before round_started is */

unsigned smp_cpus(void)
{
	static unsigned nr_cpus;
	uint32_t apic_id;

	if (!nr_cpus) {
		while (nr_cpus < SMP_MOST_CPUS && acpi_cpu(nr_cpus, &apic_id))
			nr_cpus++;
		nr_cpus += !nr_cpus;
	}
	return nr_cpus;
}

/* Where the other vCPUs enter ring 3. */
void smp_entry(void)
{
	unsigned cpu = __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
	uint32_t round = 0;

	for (;;) {
		/* Pairs with the release in smp_run(). */
		while (__atomic_load_n(&round_started, __ATOMIC_ACQUIRE) == round)
			cpu_relax();
		round++;
		round_work(cpu);
		__atomic_add_fetch(&round_done, 1, __ATOMIC_RELEASE);
	}
}

static void send(uint32_t apic_id, uint32_t command)
{
	mmio_write32(APIC_ICR_HIGH, apic_id << 24);
	mmio_write32(APIC_ICR_LOW, command);
	while (mmio_read32(APIC_ICR_LOW) & ICR_PENDING)
		cpu_relax();
}

static bool wait_arrival(uint32_t before, uint64_t us)
{
	uint64_t end = clock_now_ns() + us * 1000;

	while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) == before) {
		if (clock_now_ns() > end)
			return false;
		cpu_relax();
	}
	return true;
}

static void start(unsigned cpu, uint32_t apic_id, uint64_t trampoline)
{
	uint64_t address = (uint64_t)&boot_tss[cpu];
	uint64_t bitmap = (SMP_MOST_CPUS - cpu) * sizeof(struct tss);
	uint8_t *stack = memmap_take(STACK_PAGES, 1);
	uint32_t before = __atomic_load_n(&arrived, __ATOMIC_ACQUIRE);

	boot_tss[cpu].rsp0 = (uint64_t)stack + PAGE_SIZE;
	boot_tss[cpu].bitmap = (uint16_t)bitmap;
	boot_gdt[FIRST_TSS / 8 + cpu * 2] =
		(bitmap + 8192) | (address & 0xffffff) << 16 | 0x89ull << 40 | (address >> 24 & 0xff) << 56;
	boot_gdt[FIRST_TSS / 8 + cpu * 2 + 1] = address >> 32;
	boot_cpu.stack0 = (uint64_t)stack + PAGE_SIZE;
	boot_cpu.stack3 = (uint64_t)stack + STACK_PAGES * PAGE_SIZE - 8;
	boot_cpu.entry = (uint64_t)smp_entry;
	boot_cpu.tss = FIRST_TSS + cpu * 16;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);

	send(apic_id, ICR_INIT);
	clock_delay_us(200);
	send(apic_id, ICR_STARTUP | (uint32_t)(trampoline / PAGE_SIZE));
	if (wait_arrival(before, 10000))
		return;
	send(apic_id, ICR_STARTUP | (uint32_t)(trampoline / PAGE_SIZE));
	if (!wait_arrival(before, WAIT_US))
		guest_fail("vCPU %u with APIC id %u does not start", cpu, apic_id);
}

static void start_all(void)
{
	uint64_t trampoline = memmap_low_page();
	uint32_t apic_id, own;
	unsigned i, cpu = 1;

	if (ring0_read_msr(APIC_BASE_MSR) & 1u << 10)
		guest_fail("the local APIC is in x2APIC mode already");
	/* Enabled by software, as it must be to send anything for sure; the BSP of a machine without firmware is not. */
	mmio_write32(APIC_SPURIOUS, 0x1ff);
	memcpy((void *)trampoline, boot_ap, (size_t)(boot_ap_end - boot_ap));
	own = mmio_read32(APIC_ID) >> 24;
	for (i = 0; i < smp_cpus(); i++)
		if (acpi_cpu(i, &apic_id) && apic_id != own)
			start(cpu++, apic_id, trampoline);
}

void smp_run(void (*work)(unsigned cpu))
{
	if (smp_cpus() > 1 && arrived == 1)
		start_all();
	__atomic_store_n(&round_done, 0, __ATOMIC_RELAXED);
	round_work = work;
	/* Pairs with the acquire in smp_entry(). */
	__atomic_add_fetch(&round_started, 1, __ATOMIC_RELEASE);
	work(0);
	while (__atomic_load_n(&round_done, __ATOMIC_ACQUIRE) != arrived - 1)
		cpu_relax();
}
