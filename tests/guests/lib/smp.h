/* The other vCPUs. */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stddef.h>
#include <stdint.h>

enum { SMP_MOST_CPUS = 64 }; /* as in boot.S */

/* vCPUs that the MADT names; at least 1, at most SMP_MOST_CPUS. */
unsigned smp_cpus(void);
/*
 * Runs work(cpu) on all of them, the caller being cpu 0, and returns when all have returned. vCPUs are started on first use and then poll
 * for the next call.
 */
void smp_run(void (*work)(unsigned cpu));

#endif
