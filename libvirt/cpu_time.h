/* CPU time of a guest's VMM and of its vCPUs, as the kernel counts it (proc(5), stat). */
#ifndef LIBVIRT_CPU_TIME_H
#define LIBVIRT_CPU_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "host/guest.h"

struct cpu_time {
	uint64_t user_ns, system_ns;
	int cpu;      /* where it ran last */
	bool running; /* now */
	int thread;
};

/* All of a VMM. Zero when it has none. */
void cpu_time_of_guest(const struct guest *guest, struct cpu_time *time);
/* Its vCPUs by number, most at most. Returns how many were found; others are zero. */
unsigned cpu_time_of_vcpus(const struct guest *guest, struct cpu_time times[], unsigned most);

#endif
