/* The TSC's rate, and a timer. */
#include "clock.h"
#include "guest.h"
#include "memmap.h"
#include "print.h"
#include "ring0.h"

#define MSR_KVM_SYSTEM_TIME 0x4b564d01u
#define APIC_SPURIOUS 0xfee000f0ull
#define APIC_LVT_TIMER 0xfee00320ull
#define APIC_INITIAL 0xfee00380ull
#define APIC_CURRENT 0xfee00390ull
#define APIC_DIVIDE 0xfee003e0ull
#define PIT_HZ 1193182ull

static uint64_t tsc_khz, multiplier; /* multiplier: nanoseconds per cycle, times 2^32 */
static const char *source = "nothing";

/* struct pvclock_vcpu_time_info of the kernel's Documentation/virt/kvm/x86/msr.rst */
struct kvmclock {
	uint32_t version, pad;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad2[2];
};

static uint32_t kvm_leaf(void)
{
	struct cpuid id;
	uint32_t leaf;

	if (!(cpuid_read(1, 0).ecx & 1u << 31))
		return 0;
	for (leaf = 0x40000000; leaf < 0x40000400; leaf += 0x100) {
		id = cpuid_read(leaf, 0);
		if (id.ebx == 0x4b4d564b && id.ecx == 0x564b4d56 && id.edx == 0x4d)
			return leaf;
	}
	return 0;
}

static uint64_t from_cpuid(void)
{
	struct cpuid id;

	if (cpuid_read(1, 0).ecx & 1u << 31) {
		/* Only some hypervisors have the timing leaf, and those that do count it in. */
		id = cpuid_read(0x40000000, 0);
		if (id.eax >= 0x40000010 && id.eax < 0x40000100 && cpuid_read(0x40000010, 0).eax) {
			source = "CPUID leaf 0x40000010";
			return cpuid_read(0x40000010, 0).eax;
		}
	}
	if (cpuid_read(0, 0).eax < 0x15)
		return 0;
	id = cpuid_read(0x15, 0);
	if (!id.eax || !id.ebx || !id.ecx)
		return 0;
	source = "CPUID leaf 0x15";
	return (uint64_t)id.ecx * id.ebx / id.eax / 1000;
}

static uint64_t from_kvmclock(void)
{
	uint32_t leaf = kvm_leaf();
	volatile struct kvmclock *kvmclock;
	uint64_t khz;

	if (!leaf || !(cpuid_read(leaf + 1, 0).eax & 1u << 3))
		return 0;
	kvmclock = memmap_take(1, 1);
	ring0_write_msr(MSR_KVM_SYSTEM_TIME, (uint64_t)kvmclock | 1);
	if (!kvmclock->version || !kvmclock->tsc_to_system_mul)
		return 0;
	/* ns = (cycles << shift) * mul >> 32, so cycles per ms are 10^6 << 32 over mul, less the shift. */
	khz = (1000000ull << 32) / kvmclock->tsc_to_system_mul;
	khz = kvmclock->tsc_shift < 0 ? khz << -kvmclock->tsc_shift : khz >> kvmclock->tsc_shift;
	ring0_write_msr(MSR_KVM_SYSTEM_TIME, 0);
	source = "kvmclock";
	return khz;
}

/* Counts cycles while channel 2 of the PIT runs 20 ms down. A machine without PIT seems to be done at once. */
static uint64_t from_pit(void)
{
	const uint16_t count = PIT_HZ / 50;
	uint64_t start, polls = 0;

	io_out8(0x61, (io_in8(0x61) & 0xfc) | 1);
	io_out8(0x43, 0xb0);
	io_out8(0x42, count & 0xff);
	io_out8(0x42, count >> 8);
	start = tsc_read();
	while (!(io_in8(0x61) & 0x20))
		if (++polls > 10000000)
			return 0;
	if (polls < 10)
		return 0;
	source = "PIT";
	return (tsc_read() - start) / 20;
}

/* Counts cycles while the local APIC's timer, masked, runs 20 ms down. */
static uint64_t from_apic(void)
{
	uint64_t start;

	mmio_write32(APIC_DIVIDE, 0xb);
	mmio_write32(APIC_LVT_TIMER, 0x10000);
	mmio_write32(APIC_INITIAL, 0xffffffff);
	start = tsc_read();
	while (0xffffffff - mmio_read32(APIC_CURRENT) < 20000000)
		if (tsc_read() - start > 1ull << 34)
			return 0;
	source = "APIC timer";
	return (tsc_read() - start) / 20;
}

void clock_open(void)
{
	tsc_khz = from_cpuid();
	if (!tsc_khz)
		tsc_khz = from_kvmclock();
	if (!tsc_khz)
		tsc_khz = from_pit();
	if (!tsc_khz)
		tsc_khz = from_apic();
	if (!tsc_khz) {
		source = "a guess";
		tsc_khz = 1000000;
	}
	multiplier = (1000000ull << 32) / tsc_khz;
}

const char *clock_source(void)
{
	return source;
}

uint64_t clock_tsc_khz(void)
{
	return tsc_khz;
}

uint64_t clock_ns(uint64_t cycles)
{
	return (uint64_t)((unsigned __int128)cycles * multiplier >> 32);
}

uint64_t clock_now_ns(void)
{
	return clock_ns(tsc_read());
}

void clock_delay_us(uint64_t us)
{
	uint64_t end = tsc_read() + us * tsc_khz / 1000;

	while (tsc_read() < end)
		cpu_relax();
}

/*
 * One shot of the local APIC's timer, on whose ticks KVM and QEMU agree: 1 ns, unless CPUID leaf 0x40000010 says otherwise. Sleeping shorter
 * because of another rate does no harm: the rest is slept again.
 */
void clock_sleep_us(uint64_t us)
{
	uint64_t end = tsc_read() + us * tsc_khz / 1000, now, ns;

	mmio_write32(APIC_SPURIOUS, 0x1ff);
	mmio_write32(APIC_DIVIDE, 0xb);
	mmio_write32(APIC_LVT_TIMER, 0x40);
	while ((now = tsc_read()) < end) {
		ns = clock_ns(end - now);
		mmio_write32(APIC_INITIAL, ns > 4000000000u ? 4000000000u : ns < 1000 ? 1000 : (uint32_t)ns);
		ring0_halt();
	}
	mmio_write32(APIC_LVT_TIMER, 0x10040);
	mmio_write32(APIC_INITIAL, 0);
}
