/* A VM of a few pages for the tests of hv/ on the real /dev/kvm: RAM with a GDT, an IDT and page tables, and one or two vCPUs. */
#ifndef TESTS_NATIVE_TEST_HV_GUEST_H
#define TESTS_NATIVE_TEST_HV_GUEST_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/cpuid.h"
#include "hv/kvm.h"
#include "hv/vcpu.h"
#include "hv/vm.h"

#define GUEST_RAM_SIZE 0x100000u
#define GUEST_CODE 0x1000u
#define GUEST_HANDLER 0x1100u /* of GUEST_VECTOR */
#define GUEST_IDTR 0x2000u    /* operand of lidt */
#define GUEST_IDT 0x3000u
#define GUEST_GDT 0x4000u
#define GUEST_PML4 0x5000u /* maps the first 4 MiB */
#define GUEST_STACK 0x8000u
#define GUEST_AP_CODE 0x8000u
#define GUEST_VECTOR 0x40u

struct guest {
	struct hv_kvm *kvm;
	struct hv_vm *vm;
	struct hv_vcpu *vcpu[2];
	uint8_t *ram;
};

static inline void guest_put(struct guest *g, unsigned at, const void *bytes, size_t len)
{
	memcpy(g->ram + at, bytes, len);
}

static inline void guest_put_number(struct guest *g, unsigned at, uint64_t value, size_t len)
{
	memcpy(g->ram + at, &value, len);
}

static inline void guest_fill_tables(struct guest *g)
{
	guest_put_number(g, GUEST_GDT + 0x10, 0x00cf9b000000ffffull, 8);
	guest_put_number(g, GUEST_GDT + 0x18, 0x00cf93000000ffffull, 8);
	guest_put_number(g, GUEST_IDTR, 0x7ff, 2);
	guest_put_number(g, GUEST_IDTR + 2, GUEST_IDT, 4);
	guest_put_number(g, GUEST_IDT + GUEST_VECTOR * 8, 0x00008e0000100000ull | GUEST_HANDLER, 8);
	guest_put_number(g, GUEST_PML4, (GUEST_PML4 + 0x1000) | 3, 8);
	guest_put_number(g, GUEST_PML4 + 0x1000, (GUEST_PML4 + 0x2000) | 3, 8);
	guest_put_number(g, GUEST_PML4 + 0x2000, 0x83, 8);
	guest_put_number(g, GUEST_PML4 + 0x2008, 0x200083, 8);
}

/* Why a test cannot run here; NULL when it can. */
static inline const char *guest_skip_reason(void)
{
	static struct error err;
	struct hv_kvm *kvm;
	if (hv_kvm_open("/dev/kvm", &kvm, &err))
		return err.text;
	hv_kvm_close(kvm);
	return NULL;
}

/* Returns 0, or the first error with its sentence; what was made until then is freed by guest_close() all the same. */
static inline int guest_try_open_model(struct guest *g, const char *model, unsigned nr_vcpus, struct error *err)
{
	const struct hv_cpu_topology topology = {.sockets = 1, .dies = 1, .cores = nr_vcpus, .threads = 1};
	static struct hv_cpuid common, own;
	memset(g, 0, sizeof(*g));
	g->ram = mmap(NULL, GUEST_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(g->ram, MAP_FAILED);
	guest_fill_tables(g);
	int ret = hv_kvm_open("/dev/kvm", &g->kvm, err);
	if (!ret)
		ret = hv_vm_create(g->kvm, &g->vm, err);
	if (!ret)
		ret = hv_cpuid_build(g->kvm, model, &topology, &common, err);
	for (unsigned i = 0; !ret && i < nr_vcpus; i++) {
		hv_cpuid_for_vcpu(&common, &topology, i, 0, &own);
		ret = hv_vcpu_create(g->vm, i, hv_cpuid_apic_id(&topology, i), &own, &g->vcpu[i], err);
	}
	if (!ret) {
		ret = hv_vm_set_slot(g->vm, 0, 0, GUEST_RAM_SIZE, g->ram, HV_SLOT_PLAIN);
		if (ret)
			error_set(err, -ret, "no slot");
	}
	return ret;
}

static inline int guest_try_open(struct guest *g, unsigned nr_vcpus, struct error *err)
{
	return guest_try_open_model(g, "host", nr_vcpus, err);
}

static inline void guest_open(struct guest *g, unsigned nr_vcpus)
{
	struct error err = {0};
	ck_assert_msg(guest_try_open(g, nr_vcpus, &err) == 0, "%s", err.text);
}

static inline void guest_close(struct guest *g)
{
	hv_vcpu_destroy(g->vcpu[0]);
	hv_vcpu_destroy(g->vcpu[1]);
	hv_vm_destroy(g->vm);
	hv_kvm_close(g->kvm);
	munmap(g->ram, GUEST_RAM_SIZE);
}

static inline int guest_start(struct guest *g, bool is_long)
{
	const struct hv_start start = {
		.mode = is_long ? HV_START_LONG_MODE : HV_START_PROTECTED_MODE,
		.entry = GUEST_CODE,
		.stack = GUEST_STACK,
		.rbx = 0xb0b,
		.rsi = 0x515,
		.cr3 = GUEST_PML4,
		.gdt = GUEST_GDT,
		.gdt_limit = 0x1f,
	};
	hv_vcpu_attach_thread(g->vcpu[0]);
	return hv_vcpu_set_start(g->vcpu[0], &start);
}

static inline void guest_start_code(struct guest *g, bool is_long, const void *code, size_t len)
{
	guest_put(g, GUEST_CODE, code, len);
	ck_assert_int_eq(guest_start(g, is_long), 0);
}

/* Runs until the guest writes to a port, and returns what it wrote. */
static inline uint32_t guest_run_to_port(struct guest *g, unsigned vcpu, uint64_t port)
{
	struct hv_exit exit;
	uint32_t value = 0;
	hv_vcpu_run(g->vcpu[vcpu], &exit);
	ck_assert_msg(exit.reason == HV_EXIT_PORT_OUT, "exit %d %s", (int)exit.reason, exit.detail);
	ck_assert_uint_eq(exit.address, port);
	ck_assert_uint_le(exit.size, 4);
	memcpy(&value, exit.data, exit.size);
	return value;
}

/* Runs a suite as all of these tests do: skipped with the reason where there is no KVM. */
static inline int guest_run_suite(Suite *suite)
{
	const char *reason = guest_skip_reason();
	if (reason) {
		printf("skipped: %s\n", reason);
		return 0;
	}
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
