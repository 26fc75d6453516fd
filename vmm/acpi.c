/* See acpi.h. Tables are appended one behind the other; each is closed with its length and checksum. Numbers are little-endian. */
#include "vmm/acpi.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/layout.h"

/* Made by iasl from dsdt.asl. */
extern const unsigned char dsdt_aml_code[];
extern const unsigned int dsdt_aml_size;

#define RSDP_SIZE 36u
#define FACS_SIZE 64u

struct table_builder {
	uint8_t *out;
	size_t size, len;
	size_t start; /* of the open table */
	bool full;
};

static void add(struct table_builder *b, const void *data, size_t len)
{
	if (b->full || b->size - b->len < len) {
		b->full = true;
		return;
	}
	memcpy(b->out + b->len, data, len);
	b->len += len;
}

static void add_number(struct table_builder *b, uint64_t value, unsigned bytes)
{
	uint8_t out[8];
	for (unsigned i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
	add(b, out, bytes);
}

static void add8(struct table_builder *b, uint64_t v)
{
	add_number(b, v, 1);
}

static void add16(struct table_builder *b, uint64_t v)
{
	add_number(b, v, 2);
}

static void add32(struct table_builder *b, uint64_t v)
{
	add_number(b, v, 4);
}

static void add64(struct table_builder *b, uint64_t v)
{
	add_number(b, v, 8);
}

static void add_zeroes(struct table_builder *b, size_t count)
{
	while (count--)
		add8(b, 0);
}

static void align(struct table_builder *b, size_t to)
{
	while (!b->full && b->len % to)
		add8(b, 0);
}

static uint8_t sum(const uint8_t *data, size_t len)
{
	uint8_t total = 0;
	while (len--)
		total += *data++;
	return total;
}

/* Opens a table with its 36-byte header and returns its guest-physical address. */
static uint64_t begin(struct table_builder *b, const char signature[4], uint8_t revision)
{
	align(b, 64);
	b->start = b->len;
	add(b, signature, 4);
	add32(b, 0); /* length: end() */
	add8(b, revision);
	add8(b, 0); /* checksum: end() */
	add(b, "PAGODAPAGODA  ", 14);
	add32(b, 1);
	add(b, "PGDA", 4);
	add32(b, 1);
	return LAYOUT_ACPI + b->start;
}

static void end(struct table_builder *b)
{
	if (b->full)
		return;
	uint8_t *table = b->out + b->start;
	uint32_t length = (uint32_t)(b->len - b->start);
	memcpy(table + 4, &length, 4);
	table[9] = (uint8_t)-sum(table, length);
}

/* A generic address: system I/O, byte or register wide (5.2.3.2). */
static void add_port(struct table_builder *b, uint64_t port, unsigned bits, unsigned access)
{
	add8(b, 1);
	add8(b, bits);
	add8(b, 0);
	add8(b, access);
	add64(b, port);
}

static uint64_t build_dsdt(struct table_builder *b)
{
	align(b, 64);
	uint64_t at = LAYOUT_ACPI + b->len;
	add(b, dsdt_aml_code, dsdt_aml_size);
	return at;
}

static uint64_t build_facs(struct table_builder *b)
{
	align(b, 64);
	uint64_t at = LAYOUT_ACPI + b->len;
	add(b, "FACS", 4);
	add32(b, FACS_SIZE);
	add_zeroes(b, 24);
	add8(b, 2); /* version */
	add_zeroes(b, FACS_SIZE - 33);
	return at;
}

static uint64_t build_fadt(struct table_builder *b, uint64_t facs, uint64_t dsdt)
{
	enum {
		WBINVD = 1 << 0,
		PROC_C1 = 1 << 2,
		SLEEP_BUTTON_NONE = 1 << 5,
		FIX_RTC = 1 << 6,
		TIMER_32BIT = 1 << 8,
		RESET_REG = 1 << 10
	};
	enum { LEGACY_DEVICES = 1 << 0, VGA_NOT_PRESENT = 1 << 2 };
	uint64_t at = begin(b, "FACP", 6);
	add32(b, facs);
	add32(b, dsdt);
	add8(b, 0);
	add8(b, 0); /* profile: unspecified */
	add16(b, LAYOUT_SCI_IRQ);
	add32(b, 0); /* no SMI command port: always in ACPI mode */
	add_zeroes(b, 4);
	add32(b, LAYOUT_PM_PORT); /* PM1a event */
	add32(b, 0);
	add32(b, LAYOUT_PM_PORT + 4); /* PM1a control */
	add32(b, 0);
	add32(b, 0);
	add32(b, LAYOUT_PM_PORT + 8); /* timer */
	add_zeroes(b, 8);             /* no GPE */
	add8(b, 4);
	add8(b, 2);
	add8(b, 0);
	add8(b, 4);
	add_zeroes(b, 4);
	add16(b, 0xffff); /* C2 and C3: none */
	add16(b, 0xffff);
	add_zeroes(b, 4); /* cache flushing */
	add_zeroes(b, 4); /* throttling, RTC alarms */
	add8(b, 0x32);    /* the RTC's century register */
	add16(b, LEGACY_DEVICES | VGA_NOT_PRESENT);
	add8(b, 0);
	add32(b, WBINVD | PROC_C1 | SLEEP_BUTTON_NONE | FIX_RTC | TIMER_32BIT | RESET_REG);
	add_port(b, 0xcf9, 8, 1);
	add8(b, 0x06); /* the value that resets */
	add16(b, 0);
	add8(b, 5); /* minor revision */
	add64(b, facs);
	add64(b, dsdt);
	add_port(b, LAYOUT_PM_PORT, 32, 2);
	add_zeroes(b, 12);
	add_port(b, LAYOUT_PM_PORT + 4, 16, 2);
	add_zeroes(b, 12);
	add_zeroes(b, 12);
	add_port(b, LAYOUT_PM_PORT + 8, 32, 3);
	add_zeroes(b, 12 * 4); /* GPE0, GPE1, sleep control and status */
	add_zeroes(b, 8);      /* hypervisor vendor */
	end(b);
	return at;
}

static uint64_t build_madt(struct table_builder *b, const struct acpi_params *p)
{
	uint64_t at = begin(b, "APIC", 5);
	add32(b, LAYOUT_LAPIC);
	add32(b, 1); /* a PIC is there */
	for (unsigned i = 0; i < p->nr_cpus; i++) {
		uint32_t id = p->cpus[i].apic_id;
		if (id < 255) {
			add8(b, 0);
			add8(b, 8);
			add8(b, i);
			add8(b, id);
			add32(b, 1);
		} else {
			add8(b, 9);
			add8(b, 16);
			add16(b, 0);
			add32(b, id);
			add32(b, 1);
			add32(b, i);
		}
	}
	add8(b, 1); /* IOAPIC */
	add8(b, 12);
	add8(b, 0);
	add8(b, 0);
	add32(b, LAYOUT_IOAPIC);
	add32(b, 0);
	add8(b, 2); /* SCI: level, active high */
	add8(b, 10);
	add8(b, 0);
	add8(b, LAYOUT_SCI_IRQ);
	add32(b, LAYOUT_SCI_IRQ);
	add16(b, 0x000d);
	add8(b, 4); /* NMI: pin 1 of every LAPIC */
	add8(b, 6);
	add8(b, 0xff);
	add16(b, 0);
	add8(b, 1);
	end(b);
	return at;
}

static uint64_t build_mcfg(struct table_builder *b)
{
	uint64_t at = begin(b, "MCFG", 1);
	add_zeroes(b, 8);
	add64(b, LAYOUT_ECAM);
	add16(b, 0);
	add8(b, 0);
	add8(b, (LAYOUT_ECAM_SIZE >> 20) - 1);
	add32(b, 0);
	end(b);
	return at;
}

static uint64_t build_srat(struct table_builder *b, const struct acpi_params *p)
{
	uint64_t at = begin(b, "SRAT", 3);
	add32(b, 1);
	add_zeroes(b, 8);
	for (unsigned i = 0; i < p->nr_cpus; i++) {
		add8(b, 2); /* x2APIC affinity holds ids of any size */
		add8(b, 24);
		add16(b, 0);
		add32(b, p->cpus[i].node);
		add32(b, p->cpus[i].apic_id);
		add32(b, 1);
		add_zeroes(b, 8);
	}
	for (size_t i = 0; i < p->nr_regions; i++) {
		add8(b, 1);
		add8(b, 40);
		add32(b, p->regions[i].node);
		add16(b, 0);
		add64(b, p->regions[i].gpa);
		add64(b, p->regions[i].size);
		add32(b, 0);
		add32(b, 1);
		add_zeroes(b, 8);
	}
	end(b);
	return at;
}

static uint64_t build_slit(struct table_builder *b, const struct acpi_params *p)
{
	uint64_t at = begin(b, "SLIT", 1);
	add64(b, p->nr_nodes);
	for (unsigned i = 0; i < p->nr_nodes; i++)
		add(b, p->nodes[i].distance, p->nr_nodes);
	end(b);
	return at;
}

static void write_rsdp(uint8_t *out, uint64_t xsdt)
{
	memset(out, 0, RSDP_SIZE);
	memcpy(out, "RSD PTR ", 8);
	memcpy(out + 9, "PAGODA", 6);
	out[15] = 2;
	uint32_t length = RSDP_SIZE;
	memcpy(out + 20, &length, 4);
	memcpy(out + 24, &xsdt, 8);
	out[8] = (uint8_t)-sum(out, 20);
	out[32] = (uint8_t)-sum(out, RSDP_SIZE);
}

int acpi_build(const struct acpi_params *params, uint8_t *out, size_t size, size_t *len, struct error *err)
{
	struct table_builder b = {.out = out, .size = size};
	add_zeroes(&b, RSDP_SIZE);
	uint64_t tables[8];
	unsigned nr = 0;
	uint64_t dsdt = build_dsdt(&b);
	uint64_t facs = build_facs(&b);
	tables[nr++] = build_fadt(&b, facs, dsdt);
	tables[nr++] = build_madt(&b, params);
	tables[nr++] = build_mcfg(&b);
	if (params->nr_nodes) {
		tables[nr++] = build_srat(&b, params);
		tables[nr++] = build_slit(&b, params);
	}
	uint64_t xsdt = begin(&b, "XSDT", 1);
	for (unsigned i = 0; i < nr; i++)
		add64(&b, tables[i]);
	end(&b);
	if (b.full)
		return error_set(err, ENOSPC, "ACPI tables need more than %zu KiB", size >> 10);
	write_rsdp(out, xsdt);
	*len = b.len;
	return 0;
}
