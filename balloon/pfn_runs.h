/* Page numbers as a guest gives them, in any order, as runs that can be given back in single calls. Pure. */
#ifndef BALLOON_PFN_RUNS_H
#define BALLOON_PFN_RUNS_H

#include <stddef.h>
#include <stdint.h>

struct pfn_run {
	uint32_t first; /* guest page number */
	uint64_t nr;
};

/* Sorts the numbers, drops those that come twice, and joins neighbours. runs has room for nr (> 0). Returns how many there are. */
size_t pfn_runs(uint32_t *pfns, size_t nr, struct pfn_run *runs);

#endif
