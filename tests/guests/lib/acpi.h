/* What guests read in ACPI's tables: processors, ECAM, and how to power off. */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

/* Finds the tables: by hvm_start_info, else in the BIOS area. Guests run without them, too. */
void acpi_open(void);
/* The index-th table of that signature, checksum right; NULL when there is none. */
const struct acpi_header *acpi_table(const char *signature, size_t index);
/* Checks the sums of everything that can be reached. Returns tables with a wrong sum. */
size_t acpi_check(void (*report)(const struct acpi_header *table, bool good));

/* APIC ids of the processors that may be started, in the MADT's order; false past the last. */
bool acpi_cpu(size_t index, uint32_t *apic_id);
/* The ECAM window of segment 0; false without MCFG. */
bool acpi_ecam(uint64_t *gpa, uint8_t *first_bus, uint8_t *last_bus);
/* Tries to power off; returns if that did not work. */
void acpi_power_off(void);

#endif
