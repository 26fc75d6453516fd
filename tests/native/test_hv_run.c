/* hv/ on the real KVM: start states, exits, kicks, interrupts, start of other CPUs. Guests are a few bytes of code each. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/native/test_hv_guest.h"

START_TEST(a_guest_in_protected_mode_writes_to_a_port)
{
	struct guest g;
	guest_open(&g, 1);
	/* mov eax, ebx; out 0x10, eax; mov eax, esi; out 0x10, eax; mov eax, esp; out 0x10, eax */
	static const uint8_t code[] = {0x89, 0xd8, 0xe7, 0x10, 0x89, 0xf0, 0xe7, 0x10, 0x89, 0xe0, 0xe7, 0x10};
	guest_start_code(&g, false, code, sizeof(code));
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), 0xb0b);
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), 0x515);
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), GUEST_STACK);
	guest_close(&g);
}
END_TEST

START_TEST(a_guest_in_long_mode_reads_and_writes_device_memory)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	static const uint8_t code[] = {
		0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* movabs rax, 0x1122334455667788 */
		0x48, 0xa3, 0x10, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, /* mov [0x200010], rax */
		0x48, 0xa1, 0x20, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, /* mov rax, [0x200020] */
		0x48, 0xc1, 0xe8, 0x20,                                     /* shr rax, 32 */
		0xe7, 0x10,                                                 /* out 0x10, eax */
	};
	guest_start_code(&g, true, code, sizeof(code));
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_MMIO_WRITE);
	ck_assert_uint_eq(exit.address, 0x200010);
	ck_assert_uint_eq(exit.size, 8);
	uint64_t value;
	memcpy(&value, exit.data, 8);
	ck_assert_uint_eq(value, 0x1122334455667788);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_MMIO_READ);
	ck_assert_uint_eq(exit.address, 0x200020);
	value = 0xabcdef0000000000;
	memcpy(exit.data, &value, 8);
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), 0xabcdef00);
	guest_close(&g);
}
END_TEST

START_TEST(a_port_read_takes_the_answer)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	static const uint8_t code[] = {0x66, 0xe5, 0x33, 0x66, 0xe7, 0x34}; /* in ax, 0x33; out 0x34, ax */
	guest_start_code(&g, false, code, sizeof(code));
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_PORT_IN);
	ck_assert_uint_eq(exit.address, 0x33);
	ck_assert_uint_eq(exit.size, 2);
	ck_assert_uint_eq(exit.count, 1);
	memcpy(exit.data, "\x34\x12", 2);
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x34), 0x1234);
	guest_close(&g);
}
END_TEST

START_TEST(a_string_instruction_hands_over_all_its_items)
{
	struct guest g;
	struct hv_exit exit;
	char seen[8] = "";
	guest_open(&g, 1);
	/* mov esi, 0x9000; mov ecx, 5; mov edx, 0xe9; rep outsb */
	static const uint8_t code[] = {0xbe, 0x00, 0x90, 0, 0, 0xb9, 5, 0, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6e};
	guest_put(&g, 0x9000, "hello", 5);
	guest_start_code(&g, false, code, sizeof(code));
	for (size_t nr = 0; nr < 5; nr += exit.count) {
		hv_vcpu_run(g.vcpu[0], &exit);
		ck_assert_int_eq(exit.reason, HV_EXIT_PORT_OUT);
		ck_assert_uint_eq(exit.size, 1);
		ck_assert_uint_le(nr + exit.count, 5);
		memcpy(seen + nr, exit.data, exit.count);
	}
	ck_assert_str_eq(seen, "hello");
	guest_close(&g);
}
END_TEST

START_TEST(a_triple_fault_is_a_shutdown)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	guest_start_code(&g, false, "\x0f\x0b", 2); /* ud2, and no IDT */
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_SHUTDOWN);
	guest_close(&g);
}
END_TEST

START_TEST(an_exit_can_be_finished_without_running_on)
{
	struct guest g;
	struct kvm_regs regs;
	guest_open(&g, 1);
	guest_start_code(&g, false, "\xe6\x10\xe6\x11", 4);
	guest_run_to_port(&g, 0, 0x10);
	ck_assert_int_eq(hv_vcpu_finish_exit(g.vcpu[0]), 0);
	ck_assert_int_eq(hv_vcpu_get_regs(g.vcpu[0], &regs), 0);
	ck_assert_uint_eq(regs.rip, GUEST_CODE + 2);
	guest_run_to_port(&g, 0, 0x11);
	/* A kick that came before is still there after. */
	struct hv_exit exit;
	hv_vcpu_kick(g.vcpu[0]);
	ck_assert_int_eq(hv_vcpu_finish_exit(g.vcpu[0]), 0);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_INTERRUPTED);
	guest_close(&g);
}
END_TEST

START_TEST(a_kick_before_the_run_returns_at_once)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	guest_start_code(&g, false, "\xe6\x10", 2);
	hv_vcpu_kick(g.vcpu[0]);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_INTERRUPTED);
	guest_run_to_port(&g, 0, 0x10); /* taken back */
	guest_close(&g);
}
END_TEST

struct kicked_runner {
	struct guest *g;
	atomic_uint wanted, seen;
	atomic_bool quit;
};

static void *run_until_quit(void *arg)
{
	struct kicked_runner *k = arg;
	struct hv_exit exit;
	hv_vcpu_attach_thread(k->g->vcpu[0]);
	while (!atomic_load(&k->quit)) {
		hv_vcpu_run(k->g->vcpu[0], &exit);
		if (exit.reason == HV_EXIT_INTERRUPTED)
			atomic_store(&k->seen, atomic_load(&k->wanted));
	}
	return NULL;
}

/* Guests that spin, that sleep, and that leave all the time: the kick meets the runner in different places. */
START_TEST(no_kick_is_lost)
{
	static const char *const codes[] = {"\xeb\xfe", "\xf4\xeb\xfd", "\xe6\x10\xeb\xfc"};
	const size_t lengths[] = {2, 3, 4};
	struct guest g;
	guest_open(&g, 1);
	guest_start_code(&g, false, codes[_i], lengths[_i]);
	struct kicked_runner k = {.g = &g};
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, run_until_quit, &k), 0);
	for (unsigned i = 1; i <= 2000; i++) {
		time_t limit = time(NULL) + 20;
		atomic_store(&k.wanted, i);
		hv_vcpu_kick(g.vcpu[0]);
		while (atomic_load(&k.seen) != i) {
			ck_assert_msg(time(NULL) < limit, "kick %u was lost", i);
			sched_yield();
		}
	}
	atomic_store(&k.quit, true);
	hv_vcpu_kick(g.vcpu[0]);
	pthread_join(thread, NULL);
	guest_close(&g);
}
END_TEST

static void *run_once(void *arg)
{
	struct guest *g = arg;
	struct hv_exit exit;
	hv_vcpu_attach_thread(g->vcpu[0]);
	hv_vcpu_run(g->vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_INTERRUPTED);
	return NULL;
}

START_TEST(another_cpu_waits_until_it_is_started_by_ipi)
{
	struct guest g;
	guest_open(&g, 2);
	static const uint8_t code[] = {
		0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x0c, 0x00, /* INIT to all but self */
		0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x08, 0x46, 0x0c, 0x00, /* SIPI to 0x8000 */
		0xf4,
	};
	guest_put(&g, GUEST_AP_CODE, "\xb0\x55\xe6\x10\xf4", 5); /* mov al, 0x55; out 0x10, al; hlt */
	ck_assert(!hv_vcpu_is_halted(g.vcpu[0]));
	ck_assert(hv_vcpu_is_halted(g.vcpu[1]));
	guest_start_code(&g, false, code, sizeof(code));
	pthread_t boot_cpu;
	ck_assert_int_eq(pthread_create(&boot_cpu, NULL, run_once, &g), 0);
	hv_vcpu_attach_thread(g.vcpu[1]);
	ck_assert_uint_eq(guest_run_to_port(&g, 1, 0x10), 0x55);
	hv_vcpu_kick(g.vcpu[0]);
	pthread_join(boot_cpu, NULL);
	/* And waits again after a reset. */
	ck_assert_int_eq(hv_vcpu_reset(g.vcpu[1]), 0);
	ck_assert(hv_vcpu_is_halted(g.vcpu[1]));
	guest_close(&g);
}
END_TEST

/* Sets up LAPIC, IDT and the IOAPIC's pin 5 for GUEST_VECTOR, says so at port 0x11, and waits; the handler writes to port 0x12. */
static void start_interruptible_guest(struct guest *g)
{
	static const uint8_t code[] = {
		0x0f, 0x01, 0x1d, 0x00, 0x20, 0x00, 0x00,                   /* lidt [0x2000] */
		0xb0, 0xff, 0xe6, 0x21,                                     /* mask the PIC */
		0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, /* LAPIC on */
		0xc7, 0x05, 0x00, 0x00, 0xc0, 0xfe, 0x1a, 0x00, 0x00, 0x00, /* IOAPIC: select entry of pin 5 */
		0xc7, 0x05, 0x10, 0x00, 0xc0, 0xfe, 0x40, 0x00, 0x00, 0x00, /* edge, to CPU 0 */
		0xe6, 0x11, 0xfb, 0xf4, 0xeb, 0xfc,                         /* out 0x11, al; sti; hlt; again */
	};
	static const uint8_t handler[] = {
		0xe6, 0x12, 0xc7, 0x05, 0xb0, 0x00, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x00, /* out 0x12, al; EOI */
		0x83, 0xc4, 0x0c, 0xfb, 0xf4, 0xeb, 0xfc, /* add esp, 12; sti; hlt; again: some KVMs cannot do iret */
	};
	guest_put(g, GUEST_HANDLER, handler, sizeof(handler));
	guest_start_code(g, false, code, sizeof(code));
	guest_run_to_port(g, 0, 0x11);
}

START_TEST(interrupts_arrive_by_pin_by_message_and_by_descriptor)
{
	struct guest g;
	unsigned gsi, other;
	guest_open(&g, 1);
	start_interruptible_guest(&g);
	ck_assert_int_eq(hv_vm_set_irq(g.vm, 5, true), 0);
	ck_assert_int_eq(hv_vm_set_irq(g.vm, 5, false), 0);
	guest_run_to_port(&g, 0, 0x12);

	ck_assert_int_eq(hv_vm_signal_msi(g.vm, 0xfee00000, GUEST_VECTOR), 0);
	guest_run_to_port(&g, 0, 0x12);

	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(hv_vm_msi_route_add(g.vm, 0xfee00000, GUEST_VECTOR, &gsi), 0);
	ck_assert_uint_eq(gsi, 24);
	ck_assert_int_eq(hv_vm_irqfd_add(g.vm, fd, gsi), 0);
	ck_assert_int_eq(eventfd_write(fd, 1), 0);
	guest_run_to_port(&g, 0, 0x12);

	/* Pins lead where they led, after the table was replaced; a changed route is followed by the descriptor. */
	ck_assert_int_eq(hv_vm_msi_route_add(g.vm, 0xfee00000, GUEST_VECTOR + 1, &other), 0);
	ck_assert_uint_eq(other, 25);
	ck_assert_int_eq(hv_vm_set_irq(g.vm, 5, true), 0);
	ck_assert_int_eq(hv_vm_set_irq(g.vm, 5, false), 0);
	guest_run_to_port(&g, 0, 0x12);
	ck_assert_int_eq(hv_vm_irqfd_del(g.vm, fd, gsi), 0);
	ck_assert_int_eq(hv_vm_irqfd_add(g.vm, fd, other), 0);
	ck_assert_int_eq(hv_vm_msi_route_set(g.vm, other, 0xfee00000, GUEST_VECTOR), 0);
	ck_assert_int_eq(eventfd_write(fd, 1), 0);
	guest_run_to_port(&g, 0, 0x12);
	ck_assert_int_eq(hv_vm_irqfd_del(g.vm, fd, other), 0);
	ck_assert_int_eq(hv_vm_msi_route_del(g.vm, other), 0);
	ck_assert_int_eq(hv_vm_msi_route_del(g.vm, other), -EINVAL);
	ck_assert_int_eq(hv_vm_msi_route_set(g.vm, other, 0, 0), -EINVAL);
	ck_assert_int_eq(hv_vm_set_irq(g.vm, 24, true), -EINVAL);
	close(fd);
	guest_close(&g);
}
END_TEST

START_TEST(a_write_that_an_event_descriptor_matches_does_not_leave_the_guest)
{
	struct guest g;
	uint64_t count;
	guest_open(&g, 1);
	int port_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), memory_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(hv_vm_ioeventfd_add(g.vm, port_fd, HV_SPACE_PORT, 0x30, 2), 0);
	ck_assert_int_eq(hv_vm_ioeventfd_add(g.vm, memory_fd, HV_SPACE_MEMORY, 0x200000, 0), 0);
	ck_assert_int_eq(hv_vm_ioeventfd_add(g.vm, port_fd, HV_SPACE_PORT, 0x10000, 2), -EINVAL);
	ck_assert_int_eq(hv_vm_ioeventfd_add(g.vm, port_fd, HV_SPACE_MEMORY, 0x300000, 3), -EINVAL);
	/* out 0x30, ax; mov [0x200000], eax; out 0x30, al */
	static const uint8_t code[] = {0x66, 0xe7, 0x30, 0xa3, 0x00, 0x00, 0x20, 0x00, 0xe6, 0x30};
	guest_start_code(&g, false, code, sizeof(code));
	guest_run_to_port(&g, 0, 0x30); /* one byte: another width */
	ck_assert_int_eq(eventfd_read(port_fd, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(eventfd_read(memory_fd, &count), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_int_eq(hv_vm_ioeventfd_del(g.vm, port_fd, HV_SPACE_PORT, 0x30, 2), 0);
	ck_assert_int_eq(hv_vm_ioeventfd_del(g.vm, memory_fd, HV_SPACE_MEMORY, 0x200000, 0), 0);
	close(port_fd);
	close(memory_fd);
	guest_close(&g);
}
END_TEST

START_TEST(the_dirty_log_names_the_pages_that_were_written)
{
	struct guest g;
	uint64_t bitmap[GUEST_RAM_SIZE / 4096 / 64];
	guest_open(&g, 1);
	ck_assert_int_eq(hv_vm_set_slot(g.vm, 0, 0, GUEST_RAM_SIZE, g.ram, HV_SLOT_LOG_DIRTY), 0);
	/* mov [0x42000], eax; out 0x10, al; mov [0x43000], eax; out 0x10, al */
	static const uint8_t code[] = {0xa3, 0x00, 0x20, 0x04, 0x00, 0xe6, 0x10, 0xa3, 0x00, 0x30, 0x04, 0x00, 0xe6, 0x10};
	guest_start_code(&g, false, code, sizeof(code));
	guest_run_to_port(&g, 0, 0x10);
	ck_assert_int_eq(hv_vm_get_dirty_log(g.vm, 0, bitmap, GUEST_RAM_SIZE / 4096), 0);
	ck_assert_uint_eq(bitmap[1], 1ull << 2);
	guest_run_to_port(&g, 0, 0x10);
	ck_assert_int_eq(hv_vm_get_dirty_log(g.vm, 0, bitmap, GUEST_RAM_SIZE / 4096), 0);
	ck_assert_uint_eq(bitmap[1], 1ull << 3);
	ck_assert_int_eq(hv_vm_get_dirty_log(g.vm, 0, bitmap, 64), -EINVAL);
	ck_assert_int_eq(hv_vm_get_dirty_log(g.vm, 1, bitmap, 64), -EINVAL);
	guest_close(&g);
}
END_TEST

START_TEST(slots_can_be_read_only_and_removed)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	uint8_t *rom = g.ram + 0x50000;
	ck_assert_int_eq(hv_vm_set_slot(g.vm, 1, 0x200000, 0x1000, rom, HV_SLOT_READONLY), 0);
	ck_assert_int_eq(hv_vm_set_slot(g.vm, 2, 0x300000, 0x800, rom, HV_SLOT_PLAIN), -EINVAL);
	ck_assert_int_eq(hv_vm_set_slot(g.vm, 100000, 0x300000, 0x1000, rom, HV_SLOT_PLAIN), -EINVAL);
	rom[0] = 0x77;
	/* mov al, [0x200000]; out 0x10, al; mov [0x200000], al */
	static const uint8_t code[] = {0xa0, 0x00, 0x00, 0x20, 0x00, 0xe6, 0x10, 0xa2, 0x00, 0x00, 0x20, 0x00, 0xeb, 0xf2};
	guest_start_code(&g, false, code, sizeof(code));
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), 0x77);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_MMIO_WRITE);
	ck_assert_int_eq(hv_vm_set_slot(g.vm, 1, 0x200000, 0, NULL, HV_SLOT_PLAIN), 0);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_MMIO_READ);
	guest_close(&g);
}
END_TEST

START_TEST(an_instruction_that_cannot_be_fetched_is_explained)
{
	struct guest g;
	struct hv_exit exit;
	guest_open(&g, 1);
	const struct hv_start start = {
		.mode = HV_START_PROTECTED_MODE, .entry = 0x80000000, .stack = GUEST_STACK, .gdt = GUEST_GDT};
	ck_assert_int_eq(hv_vcpu_set_start(g.vcpu[0], &start), 0);
	hv_vcpu_run(g.vcpu[0], &exit);
	ck_assert_int_eq(exit.reason, HV_EXIT_FAILED);
	ck_assert_msg(strstr(exit.detail, "0x80000000") != NULL, "%s", exit.detail);
	guest_close(&g);
}
END_TEST

START_TEST(the_clock_is_what_it_was_set_to)
{
	struct guest g;
	uint64_t ns;
	guest_open(&g, 1);
	ck_assert_int_eq(hv_vm_set_clock(g.vm, 5000000000000ull), 0);
	ck_assert_int_eq(hv_vm_get_clock(g.vm, &ns), 0);
	ck_assert_uint_ge(ns, 5000000000000ull);
	ck_assert_uint_lt(ns, 5060000000000ull);
	hv_vcpu_note_pause(g.vcpu[0]); /* no kvmclock in this guest: nothing happens */
	guest_close(&g);
}
END_TEST

START_TEST(a_guest_sees_its_apic_id_and_the_signature_of_kvm)
{
	struct guest g;
	guest_open(&g, 2);
	static const uint8_t code[] = {
		0xb8, 0x00, 0x00, 0x00, 0x40, 0x0f, 0xa2, 0x89, 0xd8, 0xe7, 0x10, /* leaf 0x40000000: ebx */
		0xb8, 0x10, 0x00, 0x00, 0x40, 0x0f, 0xa2, 0xe7, 0x10,             /* leaf 0x40000010: eax */
		0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0xa2, 0x89, 0xd8, 0xe7, 0x10, /* leaf 1: ebx */
	};
	guest_start_code(&g, false, code, sizeof(code));
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10), 0x4b4d564b);
	ck_assert_uint_gt(guest_run_to_port(&g, 0, 0x10), 100000); /* kHz */
	ck_assert_uint_eq(guest_run_to_port(&g, 0, 0x10) >> 16, 2);
	guest_close(&g);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hv on KVM");
	TCase *tests = tcase_create("run");
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, a_guest_in_protected_mode_writes_to_a_port);
	tcase_add_test(tests, a_guest_in_long_mode_reads_and_writes_device_memory);
	tcase_add_test(tests, a_port_read_takes_the_answer);
	tcase_add_test(tests, a_string_instruction_hands_over_all_its_items);
	tcase_add_test(tests, a_triple_fault_is_a_shutdown);
	tcase_add_test(tests, an_exit_can_be_finished_without_running_on);
	tcase_add_test(tests, a_kick_before_the_run_returns_at_once);
	tcase_add_loop_test(tests, no_kick_is_lost, 0, 3);
	tcase_add_test(tests, another_cpu_waits_until_it_is_started_by_ipi);
	tcase_add_test(tests, interrupts_arrive_by_pin_by_message_and_by_descriptor);
	tcase_add_test(tests, a_write_that_an_event_descriptor_matches_does_not_leave_the_guest);
	tcase_add_test(tests, the_dirty_log_names_the_pages_that_were_written);
	tcase_add_test(tests, slots_can_be_read_only_and_removed);
	tcase_add_test(tests, an_instruction_that_cannot_be_fetched_is_explained);
	tcase_add_test(tests, the_clock_is_what_it_was_set_to);
	tcase_add_test(tests, a_guest_sees_its_apic_id_and_the_signature_of_kvm);
	suite_add_tcase(suite, tests);
	return guest_run_suite(suite);
}
