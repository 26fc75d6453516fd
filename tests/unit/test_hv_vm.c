/* What hv/ asks of KVM, and what it says when KVM is not there or refuses. KVM is played by hv_ioctl() below. No /dev/kvm needed. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/kvm.h"
#include "hv/os.h"
#include "hv/vm.h"
#include "tests/unit/suite.h"

static int api_version;
static unsigned missing_capability;
static unsigned long refused_request;
static unsigned nr_tables;
static struct {
	struct kvm_irq_routing head;
	struct kvm_irq_routing_entry room[4096];
} table;

int hv_ioctl(int fd, unsigned long request, void *arg)
{
	(void)fd;
	if (request == refused_request)
		return -EIO;
	switch (request) {
	case KVM_GET_API_VERSION:
		return api_version;
	case KVM_CHECK_EXTENSION:
		return (uintptr_t)arg == missing_capability ? 0 : 1;
	case KVM_CREATE_VM:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case KVM_SET_GSI_ROUTING: {
		const struct kvm_irq_routing *routing = arg;
		ck_assert_uint_le(routing->nr, 4096);
		nr_tables++;
		table.head = *routing;
		memcpy(table.room, routing->entries, routing->nr * sizeof(table.room[0]));
		return 0;
	}
	default:
		return 0;
	}
}

/* The seed of the random tests, which PAGODA_SEED fixes. */
static unsigned seed(void)
{
	const char *fixed = getenv("PAGODA_SEED");
	return fixed ? (unsigned)strtoul(fixed, NULL, 10) : 1;
}

static struct error err;
static struct hv_kvm *kvm;
static struct hv_vm *vm;

static void set_up(void)
{
	api_version = KVM_API_VERSION;
	missing_capability = UINT_MAX; /* no such one */
	refused_request = 0;
	nr_tables = 0;
	memset(&err, 0, sizeof(err));
	ck_assert_int_eq(hv_kvm_open("/dev/null", &kvm, &err), 0);
	ck_assert_int_eq(hv_vm_create(kvm, &vm, &err), 0);
}

static void tear_down(void)
{
	hv_vm_destroy(vm);
	hv_kvm_close(kvm);
}

static void open_fails(const char *path, int code, const char *said)
{
	struct hv_kvm *none = NULL;
	ck_assert_int_eq(hv_kvm_open(path, &none, &err), -code);
	ck_assert_ptr_null(none);
	ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text);
	ck_assert_ptr_null(strchr(err.text, '\n'));
}

START_TEST(a_missing_device_says_what_to_load)
{
	open_fails("/nonexistent/kvm", ENOENT, "modprobe");
	open_fails("/dev", EISDIR, "/dev");
}
END_TEST

START_TEST(a_device_that_is_not_kvm_is_refused)
{
	api_version = -ENOTTY;
	open_fails("/dev/null", ENOSYS, "not the KVM device");
	api_version = 11;
	open_fails("/dev/null", ENOSYS, "version 11");
}
END_TEST

START_TEST(a_missing_capability_is_named)
{
	missing_capability = KVM_CAP_IMMEDIATE_EXIT;
	open_fails("/dev/null", ENOSYS, "KVM_CAP_IMMEDIATE_EXIT");
	missing_capability = KVM_CAP_XSAVE2;
	open_fails("/dev/null", ENOSYS, "Linux 6.8");
}
END_TEST

START_TEST(a_vm_that_cannot_be_created_says_which_part)
{
	static const struct {
		unsigned long request;
		const char *said;
	} parts[] = {
		{KVM_CREATE_VM, "create a VM"},
		{KVM_SET_TSS_ADDR, "task state segment"},
		{KVM_CREATE_IRQCHIP, "interrupt chips"},
		{KVM_CREATE_PIT2, "interval timer"},
		{KVM_GET_IRQCHIP, "read an interrupt chip"},
		{KVM_ENABLE_CAP, "pending exceptions"},
	};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct hv_vm *none = NULL;
		refused_request = parts[i].request;
		ck_assert_int_eq(hv_vm_create(kvm, &none, &err), -EIO);
		ck_assert_ptr_null(none);
		ck_assert_msg(strstr(err.text, parts[i].said) != NULL, "%s", err.text);
	}
}
END_TEST

/* The table as KVM holds it must be the fixed part and, in any order, the routes of the model. */
struct model_route {
	bool used;
	uint64_t address;
	uint32_t data;
};

static void compare_table(const struct model_route *model, size_t nr)
{
	size_t used = 0, pins = 0;
	for (size_t i = 0; i < nr; i++)
		used += model[i].used;
	ck_assert_uint_eq(table.head.nr, 40 + used);
	for (size_t i = 0; i < table.head.nr; i++) {
		const struct kvm_irq_routing_entry *e = &table.room[i];
		if (e->type == KVM_IRQ_ROUTING_IRQCHIP) {
			pins++;
			ck_assert_uint_lt(e->gsi, 24);
			if (e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
				ck_assert_uint_eq(e->u.irqchip.pin, e->gsi);
			else
				ck_assert_uint_eq(e->u.irqchip.pin + 8 * e->u.irqchip.irqchip, e->gsi);
			continue;
		}
		ck_assert_uint_eq(e->type, KVM_IRQ_ROUTING_MSI);
		ck_assert_uint_lt(e->gsi, nr);
		ck_assert(model[e->gsi].used);
		ck_assert_uint_eq((uint64_t)e->u.msi.address_hi << 32 | e->u.msi.address_lo, model[e->gsi].address);
		ck_assert_uint_eq(e->u.msi.data, model[e->gsi].data);
	}
	ck_assert_uint_eq(pins, 40);
}

START_TEST(routes_follow_a_plain_model)
{
	static struct model_route model[24 + 1024];
	const size_t room = sizeof(model) / sizeof(model[0]);
	size_t used = 0;
	srand(seed());
	for (unsigned round = 0; round < 4000; round++) {
		unsigned gsi = 24 + (unsigned)rand() % 80;
		uint64_t address = 0xfee00000ull + (unsigned)rand() % 256 * 4096 + ((uint64_t)(unsigned)rand() << 32);
		uint32_t data = (uint32_t)rand() % 256;
		int ret;
		/* Now and then KVM refuses: then nothing may have changed. */
		refused_request = rand() % 8 == 0 ? KVM_SET_GSI_ROUTING : 0;
		switch (rand() % 3) {
		case 0:
			ret = hv_vm_msi_route_add(vm, address, data, &gsi);
			ck_assert_int_eq(ret, refused_request ? -EIO : 0);
			if (ret)
				continue;
			ck_assert_uint_lt(gsi, room);
			ck_assert(gsi >= 24 && !model[gsi].used);
			model[gsi] = (struct model_route){true, address, data};
			used++;
			break;
		case 1:
			ret = hv_vm_msi_route_set(vm, gsi, address, data);
			ck_assert_int_eq(ret, !model[gsi].used ? -EINVAL : refused_request ? -EIO : 0);
			if (ret)
				continue;
			model[gsi] = (struct model_route){true, address, data};
			break;
		default:
			ret = hv_vm_msi_route_del(vm, gsi);
			ck_assert_int_eq(ret, !model[gsi].used ? -EINVAL : refused_request ? -EIO : 0);
			if (ret)
				continue;
			model[gsi].used = false;
			used--;
		}
		compare_table(model, room);
	}
	refused_request = 0;
	unsigned gsi;
	for (; used < 1024; used++)
		ck_assert_int_eq(hv_vm_msi_route_add(vm, 0xfee00000, 1, &gsi), 0);
	ck_assert_int_eq(hv_vm_msi_route_add(vm, 0xfee00000, 1, &gsi), -ENOSPC);
}
END_TEST

START_TEST(a_route_that_stays_the_same_is_not_sent_again)
{
	unsigned gsi;
	ck_assert_int_eq(hv_vm_msi_route_add(vm, 0xfee00000, 0x41, &gsi), 0);
	ck_assert_uint_eq(nr_tables, 1);
	ck_assert_int_eq(hv_vm_msi_route_set(vm, gsi, 0xfee00000, 0x41), 0);
	ck_assert_uint_eq(nr_tables, 1);
	ck_assert_int_eq(hv_vm_msi_route_set(vm, gsi, 0xfee00000, 0x42), 0);
	ck_assert_uint_eq(nr_tables, 2);
}
END_TEST

START_TEST(arguments_out_of_range_do_not_reach_kvm)
{
	uint64_t bitmap[1];
	static uint8_t memory[2 * 4096];
	uint8_t *page = memory + (4096 - (uintptr_t)memory % 4096) % 4096;
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1000, 0x1001, page, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1001, 0x1000, page, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1000, 0x1000, page + 1, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1000, 0x1000, NULL, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, UINT64_MAX - 0xfff, 0x2000, page, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1000, 0x1000, page, (enum hv_slot_flags)8), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(vm, 0, 0x1000, 0x1000, page, HV_SLOT_LOG_DIRTY), 0);
	ck_assert_int_eq(hv_vm_get_dirty_log(vm, 0, bitmap, 2), -EINVAL);
	ck_assert_int_eq(hv_vm_get_dirty_log(vm, 0, bitmap, 1), 0);
	ck_assert_int_eq(hv_vm_irqfd_add(vm, -1, 24), -EINVAL);
	ck_assert_int_eq(hv_vm_irqfd_add(vm, 0, 5000), -EINVAL);
	ck_assert_int_eq(hv_vm_ioeventfd_add(vm, 0, HV_SPACE_PORT, 0x20, 0), -EINVAL);
	ck_assert_int_eq(hv_vm_ioeventfd_add(vm, 0, HV_SPACE_PORT, 0x20, 8), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hv vm");
	TCase *tests = tcase_create("vm");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_missing_device_says_what_to_load);
	tcase_add_test(tests, a_device_that_is_not_kvm_is_refused);
	tcase_add_test(tests, a_missing_capability_is_named);
	tcase_add_test(tests, a_vm_that_cannot_be_created_says_which_part);
	tcase_add_test(tests, routes_follow_a_plain_model);
	tcase_add_test(tests, a_route_that_stays_the_same_is_not_sent_again);
	tcase_add_test(tests, arguments_out_of_range_do_not_reach_kvm);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
