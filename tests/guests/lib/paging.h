/* The identity mapping beyond the 4 GiB that boot.S maps. */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include <stdint.h>

/* Maps the RAM of the memory map. */
void paging_open(void);
/* Makes sure that the range can be touched (a PCI BAR). gpa below 2^47. */
void paging_map(uint64_t gpa, uint64_t size);

#endif
