/* ACPI tables (ACPI specification 6.5, chapter 5), read as far as guests need them. */
#include "acpi.h"
#include "bytes.h"
#include "clock.h"
#include "io.h"
#include "memmap.h"
#include "paging.h"

enum { MOST_TABLES = 32 };

/* Offsets in the FADT. */
enum {
	FADT_DSDT = 40,
	FADT_SMI_COMMAND = 48,
	FADT_ACPI_ENABLE = 52,
	FADT_PM1A_CONTROL = 64,
	FADT_FLAGS = 112,
	FADT_X_DSDT = 140,
	FADT_X_PM1A_CONTROL = 172,
	FADT_SLEEP_CONTROL = 244,
};

struct generic_address {
	uint8_t space, width, offset, access;
	uint64_t address;
} __attribute__((packed));

static const struct acpi_header *tables[MOST_TABLES];
static size_t nr_tables;

static uint8_t sum_of(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *bytes++);
	return sum;
}

static uint64_t field(const struct acpi_header *table, size_t offset, size_t size)
{
	uint64_t value = 0;

	if (offset + size <= table->length)
		memcpy(&value, (const uint8_t *)table + offset, size);
	return value;
}

static void add_table(uint64_t gpa)
{
	const struct acpi_header *table = (const struct acpi_header *)gpa;

	if (!gpa || nr_tables == MOST_TABLES)
		return;
	paging_map(gpa, sizeof(*table));
	paging_map(gpa, table->length);
	tables[nr_tables++] = table;
}

static uint64_t find_rsdp(void)
{
	uint64_t gpa;

	if (memmap_rsdp())
		return memmap_rsdp();
	for (gpa = 0xe0000; gpa < 0x100000; gpa += 16)
		if (!memcmp((const void *)gpa, "RSD PTR ", 8) && !sum_of((const void *)gpa, 20))
			return gpa;
	return 0;
}

void acpi_open(void)
{
	const struct acpi_header *root, *fadt;
	uint64_t rsdp = find_rsdp(), root_gpa = 0;
	size_t width, i, dsdt_width;

	if (!rsdp)
		return;
	width = *(const uint8_t *)(rsdp + 15) >= 2 ? 8 : 4;
	memcpy(&root_gpa, (const void *)(rsdp + (width == 8 ? 24 : 16)), width);
	if (!root_gpa)
		return;
	root = (const struct acpi_header *)root_gpa;
	add_table(root_gpa);
	for (i = sizeof(*root); i + width <= root->length; i += width)
		add_table(field(root, i, width));
	fadt = acpi_table("FACP", 0);
	if (!fadt)
		return;
	dsdt_width = field(fadt, FADT_X_DSDT, 8) ? 8 : 4;
	add_table(field(fadt, dsdt_width == 8 ? FADT_X_DSDT : FADT_DSDT, dsdt_width));
}

const struct acpi_header *acpi_table(const char *signature, size_t index)
{
	size_t i;

	for (i = 0; i < nr_tables; i++)
		if (!memcmp(tables[i]->signature, signature, 4) && !sum_of(tables[i], tables[i]->length) && !index--)
			return tables[i];
	return NULL;
}

size_t acpi_check(void (*report)(const struct acpi_header *table, bool good))
{
	size_t i, bad = 0;
	bool good;

	for (i = 0; i < nr_tables; i++) {
		good = !sum_of(tables[i], tables[i]->length);
		bad += !good;
		report(tables[i], good);
	}
	return bad;
}

bool acpi_cpu(size_t index, uint32_t *apic_id)
{
	const struct acpi_header *madt = acpi_table("APIC", 0);
	size_t at;
	uint64_t type, length;

	if (!madt)
		return false;
	for (at = 44; at + 2 <= madt->length; at += length) {
		type = field(madt, at, 1);
		length = field(madt, at + 1, 1);
		if (length < 2)
			return false;
		/* Flags: enabled, or online capable. */
		if (type == 0 && field(madt, at + 4, 4) & 1 && !index--) {
			*apic_id = (uint32_t)field(madt, at + 3, 1);
			return true;
		}
		if (type == 9 && field(madt, at + 8, 4) & 1 && !index--) {
			*apic_id = (uint32_t)field(madt, at + 4, 4);
			return true;
		}
	}
	return false;
}

bool acpi_ecam(uint64_t *gpa, uint8_t *first_bus, uint8_t *last_bus)
{
	const struct acpi_header *mcfg = acpi_table("MCFG", 0);
	size_t at;

	for (at = 44; mcfg && at + 16 <= mcfg->length; at += 16) {
		if (field(mcfg, at + 8, 2))
			continue;
		*gpa = field(mcfg, at, 8);
		*first_bus = (uint8_t)field(mcfg, at + 10, 1);
		*last_bus = (uint8_t)field(mcfg, at + 11, 1);
		return true;
	}
	return false;
}

/* SLP_TYP for S5: the first number of the package that the DSDT names _S5_. 0 where there is none. */
static uint8_t sleep_type(void)
{
	const struct acpi_header *dsdt = acpi_table("DSDT", 0);
	const uint8_t *aml = (const uint8_t *)dsdt, *at;
	size_t i;

	for (i = sizeof(*dsdt); dsdt && i + 12 < dsdt->length; i++) {
		if (memcmp(aml + i, "_S5_", 4) || aml[i + 4] != 0x12)
			continue;
		at = aml + i + 5;
		at += 1 + (*at >> 6); /* package length */
		at++;                 /* number of elements */
		if (*at == 0x0a)      /* byte prefix; ZeroOp and OneOp are themselves */
			at++;
		return *at & 7;
	}
	return 0;
}

void acpi_power_off(void)
{
	const struct acpi_header *fadt = acpi_table("FACP", 0);
	struct generic_address sleep = {0};
	uint8_t type = sleep_type();
	uint16_t port;

	if (!fadt)
		return;
	if (fadt->length >= FADT_SLEEP_CONTROL + sizeof(sleep))
		memcpy(&sleep, (const uint8_t *)fadt + FADT_SLEEP_CONTROL, sizeof(sleep));
	if (sleep.address && sleep.space == 0) {
		paging_map(sleep.address, 1);
		mmio_write8(sleep.address, (uint8_t)(1u << 5 | type << 2));
	} else if (sleep.address && sleep.space == 1) {
		io_out8((uint16_t)sleep.address, (uint8_t)(1u << 5 | type << 2));
	}
	port = (uint16_t)field(fadt, FADT_PM1A_CONTROL, 4);
	if (!port && field(fadt, FADT_X_PM1A_CONTROL, 1) == 1)
		port = (uint16_t)field(fadt, FADT_X_PM1A_CONTROL + 4, 8);
	if (port) {
		if (field(fadt, FADT_SMI_COMMAND, 4) && !(io_in16(port) & 1))
			io_out8((uint16_t)field(fadt, FADT_SMI_COMMAND, 4), (uint8_t)field(fadt, FADT_ACPI_ENABLE, 1));
		io_out16(port, (uint16_t)(1u << 13 | type << 10 | 1));
	}
	clock_delay_us(10000);
}
