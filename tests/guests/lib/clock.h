/* Time: cycles, nanoseconds, and sleeping. */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H

#include <stdint.h>

#include "io.h"

/* Finds the rate of the TSC: CPUID leaves, kvmclock, the PIT, the APIC timer, in this order. */
void clock_open(void);
/* Who told the rate, for people. */
const char *clock_source(void);
uint64_t clock_tsc_khz(void);

/* Cycles to nanoseconds. */
uint64_t clock_ns(uint64_t cycles);
/* Nanoseconds since the TSC was zero. */
uint64_t clock_now_ns(void);
/* Spins. */
void clock_delay_us(uint64_t us);
/* Halts this vCPU by its local APIC's timer; the host's CPU is free meanwhile. */
void clock_sleep_us(uint64_t us);

#endif
