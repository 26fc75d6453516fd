/* The few things that need ring 0; boot.S serves them behind an invalid opcode. Each costs two changes of ring: seldom, please. */
#ifndef GUEST_RING0_H
#define GUEST_RING0_H

#include <stdint.h>

enum ring0_service {
	RING0_HALT = 0x52305300, /* a mark that tells services from accidents */
	RING0_READ_MSR,
	RING0_WRITE_MSR,
	RING0_INVALIDATE,
	RING0_FLUSH,
	RING0_STOP,
	RING0_READ_CR,
};

/* Sleeps until the next interrupt of this vCPU, whichever it is. */
static inline void ring0_halt(void)
{
	uint64_t service = RING0_HALT;

	__asm__ volatile("ud2" : "+a"(service) : : "memory", "cc");
}

/* Stops this vCPU for good. */
static inline _Noreturn void ring0_stop(void)
{
	for (;;)
		__asm__ volatile("ud2" : : "a"(RING0_STOP) : "memory", "cc");
}

static inline uint64_t ring0_read_msr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("ud2" : "=a"(low), "=d"(high) : "a"(RING0_READ_MSR), "c"(msr) : "memory", "cc");
	return (uint64_t)high << 32 | low;
}

static inline void ring0_write_msr(uint32_t msr, uint64_t value)
{
	uint64_t service = RING0_WRITE_MSR;

	__asm__ volatile("ud2" : "+a"(service) : "c"(msr), "S"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory", "cc");
}

/* Forgets the translation of one address, and of all. Only needed where a present entry was changed. */
static inline void ring0_invalidate(uint64_t address)
{
	uint64_t service = RING0_INVALIDATE;

	__asm__ volatile("ud2" : "+a"(service) : "D"(address) : "memory", "cc");
}

static inline void ring0_flush(void)
{
	uint64_t service = RING0_FLUSH;

	__asm__ volatile("ud2" : "+a"(service) : : "memory", "cc");
}

static inline void ring0_read_cr(uint64_t *cr0, uint64_t *cr4)
{
	__asm__ volatile("ud2" : "=a"(*cr0), "=d"(*cr4) : "a"(RING0_READ_CR) : "memory", "cc");
}

#endif
