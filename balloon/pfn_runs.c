/* See pfn_runs.h. A guest takes pages off its free lists mostly upwards or downwards: both are seen without sorting. */
#include "balloon/pfn_runs.h"

#include <stdlib.h>

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void reverse(uint32_t *pfns, size_t nr)
{
	for (size_t i = 0; i < nr / 2; i++) {
		uint32_t kept = pfns[i];
		pfns[i] = pfns[nr - 1 - i];
		pfns[nr - 1 - i] = kept;
	}
}

static void sort(uint32_t *pfns, size_t nr)
{
	size_t up = 1, down = 1;
	while (up < nr && pfns[up - 1] <= pfns[up])
		up++;
	while (down < nr && pfns[down - 1] >= pfns[down])
		down++;
	if (up == nr)
		return;
	if (down == nr)
		reverse(pfns, nr);
	else
		qsort(pfns, nr, sizeof(*pfns), by_number);
}

size_t pfn_runs(uint32_t *pfns, size_t nr, struct pfn_run *runs)
{
	size_t found = 0;
	sort(pfns, nr);
	for (size_t i = 0; i < nr; i++) {
		struct pfn_run *last = found ? &runs[found - 1] : NULL;
		if (last && pfns[i] < last->first + last->nr)
			continue;
		if (last && pfns[i] == last->first + last->nr)
			last->nr++;
		else
			runs[found++] = (struct pfn_run){pfns[i], 1};
	}
	return found;
}
