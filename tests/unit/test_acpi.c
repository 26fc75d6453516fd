/* The ACPI tables, read back by a parser of their own, and by iasl where it is installed. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/acpi.h"
#include "vmm/layout.h"

static uint8_t area[LAYOUT_ACPI_SIZE];
static size_t area_len;
static struct error err;
static struct acpi_cpu cpus[CONFIG_MAX_CPUS];
static struct guest_ram_region regions[GUEST_RAM_MAX_REGIONS];
static struct config_node nodes[CONFIG_MAX_NODES];

static int build(unsigned nr_cpus, size_t nr_regions, unsigned nr_nodes, size_t size)
{
	struct acpi_params params = {
		.cpus = cpus,
		.nr_cpus = nr_cpus,
		.regions = regions,
		.nr_regions = nr_regions,
		.nodes = nodes,
		.nr_nodes = nr_nodes,
	};
	return acpi_build(&params, area, size, &area_len, &err);
}

static void describe(unsigned id_step)
{
	for (unsigned i = 0; i < CONFIG_MAX_CPUS; i++)
		cpus[i] = (struct acpi_cpu){.apic_id = i * id_step, .node = i % CONFIG_MAX_NODES};
	for (size_t i = 0; i < GUEST_RAM_MAX_REGIONS; i++)
		regions[i] = (struct guest_ram_region){
			.gpa = i ? LAYOUT_HIGH_RAM + (i - 1) * (1ull << 30) : 0,
			.size = 1ull << 30,
			.node = (unsigned)i % CONFIG_MAX_NODES,
		};
	for (unsigned i = 0; i < CONFIG_MAX_NODES; i++)
		for (unsigned j = 0; j < CONFIG_MAX_NODES; j++)
			nodes[i].distance[j] = (uint8_t)(i == j ? 10 : 20 + i + j);
}

static void set_up(void)
{
	memset(area, 0xcc, sizeof(area));
	describe(1);
}

/* --- the parser --- */

static uint64_t number(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;
	memcpy(&value, at, bytes);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t len)
{
	uint8_t total = 0;
	while (len--)
		total += *at++;
	return total;
}

/* The table at a guest-physical address: inside the area, whole, and its checksum right. */
static const uint8_t *table_at(uint64_t gpa, const char *signature)
{
	ck_assert_uint_ge(gpa, LAYOUT_ACPI);
	ck_assert_uint_le(gpa + 36, LAYOUT_ACPI + area_len);
	const uint8_t *table = area + (gpa - LAYOUT_ACPI);
	uint64_t length = number(table + 4, 4);
	ck_assert_uint_eq(gpa % 16, 0);
	if (signature)
		ck_assert_mem_eq(table, signature, 4);
	ck_assert_uint_ge(length, 36);
	ck_assert_uint_le(gpa + length, LAYOUT_ACPI + area_len);
	ck_assert_uint_eq(sum(table, length), 0);
	ck_assert_mem_eq(table + 10, "PAGODA", 6);
	return table;
}

/* The table that the XSDT names; NULL when it names none. */
static const uint8_t *find(const char *signature)
{
	ck_assert_mem_eq(area, "RSD PTR ", 8);
	ck_assert_uint_eq(sum(area, 20), 0);
	ck_assert_uint_eq(sum(area, 36), 0);
	ck_assert_uint_eq(area[15], 2);
	ck_assert_uint_eq(number(area + 20, 4), 36);
	const uint8_t *xsdt = table_at(number(area + 24, 8), "XSDT"), *found = NULL;
	uint64_t length = number(xsdt + 4, 4);
	ck_assert_uint_eq((length - 36) % 8, 0);
	for (uint64_t at = 36; at < length; at += 8) {
		const uint8_t *table = table_at(number(xsdt + at, 8), NULL);
		if (memcmp(table, signature, 4) == 0) {
			ck_assert_ptr_null(found);
			found = table;
		}
	}
	return found;
}

START_TEST(the_fixed_description_names_the_machine_s_ports)
{
	ck_assert_int_eq(build(1, 1, 0, sizeof(area)), 0);
	const uint8_t *fadt = find("FACP");
	ck_assert_ptr_nonnull(fadt);
	ck_assert_uint_eq(number(fadt + 4, 4), 276);
	ck_assert_uint_eq(fadt[8], 6);
	ck_assert_uint_eq(number(fadt + 46, 2), LAYOUT_SCI_IRQ);
	ck_assert_uint_eq(number(fadt + 48, 4), 0); /* no SMI port: always in ACPI mode */
	ck_assert_uint_eq(number(fadt + 56, 4), LAYOUT_PM_PORT);
	ck_assert_uint_eq(number(fadt + 64, 4), LAYOUT_PM_PORT + 4);
	ck_assert_uint_eq(number(fadt + 76, 4), LAYOUT_PM_PORT + 8);
	ck_assert_uint_eq(fadt[88], 4); /* widths */
	ck_assert_uint_eq(fadt[89], 2);
	ck_assert_uint_eq(fadt[91], 4);
	ck_assert_uint_gt(number(fadt + 96, 2), 100); /* no C2, no C3 */
	ck_assert_uint_gt(number(fadt + 98, 2), 1000);
	ck_assert_uint_eq(fadt[108], 0x32);
	uint32_t flags = (uint32_t)number(fadt + 112, 4);
	ck_assert_uint_eq(flags & (1u << 4), 0);      /* the power button is fixed hardware */
	ck_assert_uint_ne(flags & (1u << 5), 0);      /* there is no sleep button */
	ck_assert_uint_ne(flags & (1u << 8), 0);      /* the timer has 32 bits */
	ck_assert_uint_ne(flags & (1u << 10), 0);     /* there is a reset register */
	ck_assert_uint_eq(flags & (1u << 20), 0);     /* not reduced hardware */
	ck_assert_mem_eq(fadt + 116, "\1\10\0\1", 4); /* a byte of I/O */
	ck_assert_uint_eq(number(fadt + 120, 8), 0xcf9);
	ck_assert_uint_eq(fadt[128], 0x06);
	ck_assert_uint_eq(number(fadt + 132, 8), number(fadt + 36, 4));
	ck_assert_uint_eq(number(fadt + 140, 8), number(fadt + 40, 4));
	ck_assert_mem_eq(fadt + 148, "\1\40\0", 3);
	ck_assert_uint_eq(number(fadt + 152, 8), LAYOUT_PM_PORT);
	ck_assert_mem_eq(fadt + 172, "\1\20\0", 3);
	ck_assert_uint_eq(number(fadt + 176, 8), LAYOUT_PM_PORT + 4);
	ck_assert_mem_eq(fadt + 208, "\1\40\0\3", 4);
	ck_assert_uint_eq(number(fadt + 212, 8), LAYOUT_PM_PORT + 8);

	table_at(number(fadt + 140, 8), "DSDT");
	uint64_t facs = number(fadt + 132, 8);
	ck_assert_uint_eq(facs % 64, 0);
	ck_assert_uint_le(facs + 64, LAYOUT_ACPI + area_len);
	ck_assert_mem_eq(area + (facs - LAYOUT_ACPI), "FACS", 4);
	ck_assert_uint_eq(number(area + (facs - LAYOUT_ACPI) + 4, 4), 64);
}
END_TEST

START_TEST(configuration_space_is_where_pci_puts_it)
{
	ck_assert_int_eq(build(1, 1, 0, sizeof(area)), 0);
	const uint8_t *mcfg = find("MCFG");
	ck_assert_ptr_nonnull(mcfg);
	ck_assert_uint_eq(number(mcfg + 4, 4), 60);
	ck_assert_uint_eq(number(mcfg + 44, 8), LAYOUT_ECAM);
	ck_assert_uint_eq(number(mcfg + 52, 2), 0);
	ck_assert_uint_eq(mcfg[54], 0);
	ck_assert_uint_eq(mcfg[55], 0); /* one bus */
}
END_TEST

/* Every CPU once, with its id, enabled; one IOAPIC; the SCI; NMI. */
static void check_madt(unsigned nr_cpus)
{
	const uint8_t *madt = find("APIC");
	bool seen[CONFIG_MAX_CPUS] = {false};
	unsigned nr_seen = 0, nr_ioapics = 0, nr_overrides = 0;
	ck_assert_ptr_nonnull(madt);
	uint64_t length = number(madt + 4, 4);
	ck_assert_uint_eq(number(madt + 36, 4), LAYOUT_LAPIC);
	ck_assert_uint_eq(number(madt + 40, 4), 1);
	for (uint64_t at = 44; at < length; at += madt[at + 1]) {
		const uint8_t *e = madt + at;
		ck_assert_uint_ge(e[1], 2);
		ck_assert_uint_le(at + e[1], length);
		uint32_t id, uid, enabled;
		switch (e[0]) {
		case 0:
			ck_assert_uint_eq(e[1], 8);
			uid = e[2];
			id = e[3];
			enabled = (uint32_t)number(e + 4, 4);
			ck_assert_uint_lt(id, 255);
			break;
		case 9:
			ck_assert_uint_eq(e[1], 16);
			id = (uint32_t)number(e + 4, 4);
			enabled = (uint32_t)number(e + 8, 4);
			uid = (uint32_t)number(e + 12, 4);
			ck_assert_uint_ge(id, 255);
			break;
		case 1:
			ck_assert_uint_eq(e[1], 12);
			ck_assert_uint_eq(number(e + 4, 4), LAYOUT_IOAPIC);
			ck_assert_uint_eq(number(e + 8, 4), 0);
			nr_ioapics++;
			continue;
		case 2:
			ck_assert_uint_eq(e[1], 10);
			ck_assert_uint_eq(e[3], LAYOUT_SCI_IRQ);
			ck_assert_uint_eq(number(e + 4, 4), LAYOUT_SCI_IRQ);
			ck_assert_uint_eq(number(e + 8, 2), 0x0d);
			nr_overrides++;
			continue;
		default:
			ck_assert_uint_eq(e[0], 4);
			ck_assert_uint_eq(e[1], 6);
			continue;
		}
		ck_assert_uint_lt(uid, nr_cpus);
		ck_assert(!seen[uid]);
		ck_assert_uint_eq(id, cpus[uid].apic_id);
		ck_assert_uint_eq(enabled, 1);
		seen[uid] = true;
		nr_seen++;
	}
	ck_assert_uint_eq(nr_seen, nr_cpus);
	ck_assert_uint_eq(nr_ioapics, 1);
	ck_assert_uint_eq(nr_overrides, 1);
}

START_TEST(every_cpu_has_its_entry)
{
	for (unsigned step = 1; step <= 4; step++) {
		describe(step);
		for (unsigned nr = 1; nr <= CONFIG_MAX_CPUS; nr += nr < 8 ? 1 : 19) {
			ck_assert_int_eq(build(nr, 1, 0, sizeof(area)), 0);
			check_madt(nr);
		}
		ck_assert_int_eq(build(CONFIG_MAX_CPUS, 1, 0, sizeof(area)), 0);
		check_madt(CONFIG_MAX_CPUS);
	}
}
END_TEST

START_TEST(one_node_is_not_announced)
{
	ck_assert_int_eq(build(4, 3, 0, sizeof(area)), 0);
	ck_assert_ptr_null(find("SRAT"));
	ck_assert_ptr_null(find("SLIT"));
}
END_TEST

static void check_srat(unsigned nr_cpus, size_t nr_regions)
{
	const uint8_t *srat = find("SRAT");
	ck_assert_ptr_nonnull(srat);
	uint64_t length = number(srat + 4, 4);
	unsigned cpu = 0;
	size_t region = 0;
	ck_assert_uint_eq(number(srat + 36, 4), 1);
	for (uint64_t at = 48; at < length; at += srat[at + 1]) {
		const uint8_t *e = srat + at;
		ck_assert_uint_ge(e[1], 2);
		ck_assert_uint_le(at + e[1], length);
		if (e[0] == 2) {
			ck_assert_uint_eq(e[1], 24);
			ck_assert_uint_eq(number(e + 4, 4), cpus[cpu].node);
			ck_assert_uint_eq(number(e + 8, 4), cpus[cpu].apic_id);
			ck_assert_uint_eq(number(e + 12, 4), 1);
			cpu++;
			continue;
		}
		ck_assert_uint_eq(e[0], 1);
		ck_assert_uint_eq(e[1], 40);
		ck_assert_uint_eq(number(e + 2, 4), regions[region].node);
		ck_assert_uint_eq(number(e + 8, 8), regions[region].gpa);
		ck_assert_uint_eq(number(e + 16, 8), regions[region].size);
		ck_assert_uint_eq(number(e + 28, 4), 1);
		region++;
	}
	ck_assert_uint_eq(cpu, nr_cpus);
	ck_assert_uint_eq(region, nr_regions);
}

START_TEST(nodes_have_processors_memory_and_distances)
{
	for (unsigned nr_nodes = 1; nr_nodes <= CONFIG_MAX_NODES; nr_nodes++) {
		ck_assert_int_eq(build(9, nr_nodes + 1, nr_nodes, sizeof(area)), 0);
		check_srat(9, nr_nodes + 1);
		const uint8_t *slit = find("SLIT");
		ck_assert_ptr_nonnull(slit);
		ck_assert_uint_eq(number(slit + 4, 4), 44 + nr_nodes * nr_nodes);
		ck_assert_uint_eq(number(slit + 36, 8), nr_nodes);
		for (unsigned i = 0; i < nr_nodes; i++)
			for (unsigned j = 0; j < nr_nodes; j++)
				ck_assert_uint_eq(slit[44 + i * nr_nodes + j], nodes[i].distance[j]);
	}
}
END_TEST

START_TEST(the_largest_machine_fits)
{
	describe(4);
	ck_assert_int_eq(build(CONFIG_MAX_CPUS, GUEST_RAM_MAX_REGIONS, CONFIG_MAX_NODES, sizeof(area)), 0);
	check_madt(CONFIG_MAX_CPUS);
	check_srat(CONFIG_MAX_CPUS, GUEST_RAM_MAX_REGIONS);
	ck_assert_uint_lt(area_len, LAYOUT_ACPI_SIZE / 2);
}
END_TEST

START_TEST(too_little_room_is_refused_at_every_size)
{
	ck_assert_int_eq(build(3, 2, 2, sizeof(area)), 0);
	size_t need = area_len;
	for (size_t size = 0; size < need; size++) {
		memset(area, 0xcc, sizeof(area));
		ck_assert_int_eq(build(3, 2, 2, size), -ENOSPC);
		for (size_t i = size; i < size + 64; i++)
			if (area[i] != 0xcc)
				ck_abort_msg("written at %zu with room for %zu", i, size);
	}
	ck_assert_int_eq(build(3, 2, 2, need), 0);
	ck_assert_uint_eq(area_len, need);
}
END_TEST

/* Writes a table to a file and lets iasl take it apart. */
static void disassemble(const char *directory, const uint8_t *table)
{
	char path[200], command[700], line[512];
	snprintf(path, sizeof(path), "%s/%.4s.dat", directory, (const char *)table);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fwrite(table, 1, number(table + 4, 4), file);
	fclose(file);
	snprintf(command, sizeof(command), "timeout 20 iasl -d %s 2>&1", path);
	FILE *out = popen(command, "r"); /* NOLINT(cert-env33-c) */
	ck_assert_ptr_nonnull(out);
	while (fgets(line, sizeof(line), out))
		ck_assert_msg(!strstr(line, "Error") && !strstr(line, "Warning") && !strstr(line, "ncorrect") &&
				      !strstr(line, "nvalid"),
			      "%.4s: %s", (const char *)table, line);
	ck_assert_int_eq(pclose(out), 0);
}

START_TEST(iasl_understands_every_table)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG", "SRAT", "SLIT", "XSDT"};
	char directory[] = "/tmp/pagoda-acpi-XXXXXX", command[100];
	if (system("command -v iasl >/dev/null 2>&1") != 0) { /* NOLINT(cert-env33-c) */
		printf("skipped: iasl is not installed\n");
		return;
	}
	describe(3);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(build(100, 5, 3, sizeof(area)), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const uint8_t *table = i < 5 ? find(names[i]) : table_at(number(area + 24, 8), "XSDT");
		ck_assert_ptr_nonnull(table);
		disassemble(directory, table);
	}
	disassemble(directory, table_at(number(find("FACP") + 140, 8), "DSDT"));
	snprintf(command, sizeof(command), "rm -r %s", directory);
	ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
}
END_TEST

START_TEST(random_machines_have_sound_tables)
{
	random_start();
	for (unsigned round = 0; round < 20; round++) {
		unsigned nr_cpus = 1 + (unsigned)random_below(CONFIG_MAX_CPUS),
			 nr_nodes = (unsigned)random_below(CONFIG_MAX_NODES + 1);
		size_t nr_regions = 1 + random_below(GUEST_RAM_MAX_REGIONS);
		for (unsigned i = 0; i < nr_cpus; i++)
			cpus[i] = (struct acpi_cpu){i ? cpus[i - 1].apic_id + 1 + (uint32_t)random_below(9) : 0,
						    (unsigned)random_below(CONFIG_MAX_NODES)};
		ck_assert_int_eq(build(nr_cpus, nr_regions, nr_nodes, sizeof(area)), 0);
		check_madt(nr_cpus);
		if (nr_nodes)
			check_srat(nr_cpus, nr_regions);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("acpi");
	TCase *tests = tcase_create("acpi");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, the_fixed_description_names_the_machine_s_ports);
	tcase_add_test(tests, configuration_space_is_where_pci_puts_it);
	tcase_add_test(tests, every_cpu_has_its_entry);
	tcase_add_test(tests, one_node_is_not_announced);
	tcase_add_test(tests, nodes_have_processors_memory_and_distances);
	tcase_add_test(tests, the_largest_machine_fits);
	tcase_add_test(tests, too_little_room_is_refused_at_every_size);
	tcase_add_test(tests, iasl_understands_every_table);
	tcase_add_test(tests, random_machines_have_sound_tables);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
