/* The ACPI tables of a machine (ACPI 6.5, 5.2): RSDP, XSDT, FADT, FACS, MADT, MCFG, DSDT; SRAT and SLIT for several NUMA nodes. */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "memmgr/guest_ram.h"
#include "vmm/config.h"

struct acpi_cpu {
	uint32_t apic_id;
	unsigned node;
};

/* What the tables depend on. Nodes come from the RAM regions. */
struct acpi_params {
	const struct acpi_cpu *cpus;
	unsigned nr_cpus;
	const struct guest_ram_region *regions;
	size_t nr_regions;
	const struct config_node *nodes; /* distances */
	unsigned nr_nodes;               /* 0: no SRAT, no SLIT */
};

/*
 * Builds the tables as they shall lie at guest-physical LAYOUT_ACPI, RSDP first. Writes at most size bytes to out and *len.
 * Returns 0, or -ENOSPC.
 */
int acpi_build(const struct acpi_params *params, uint8_t *out, size_t size, size_t *len, struct error *err);

#endif
