/* MSI-X as a driver sees it: masks, pending bits, the table, saved state. KVM is played by fake_kvm.h. */
#include <check.h>
#include <linux/pci_regs.h>
#include <stdio.h>

#include "tests/unit/fake_kvm.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "vmm/msix.h"

#define BAR 1
#define NR_VECTORS 70
#define ADDRESS 0xfee00000u

static struct bus ports, memory;
static struct pci pci;
static struct hv_kvm *kvm;
static struct hv_vm *vm;
static struct error err;

struct card {
	struct pci_function pci; /* first */
	struct msix msix;
};
static struct card card;

static void card_read(struct pci_function *f, unsigned bar, uint64_t offset, void *data, unsigned size)
{
	(void)bar;
	msix_bar_read(&((struct card *)f)->msix, offset, data, size);
}

static void card_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *data, unsigned size)
{
	(void)bar;
	msix_bar_write(&((struct card *)f)->msix, offset, data, size);
}

static void card_config_written(struct pci_function *f, unsigned offset, unsigned size)
{
	(void)offset;
	(void)size;
	msix_config_written(&((struct card *)f)->msix, f);
}

static const struct pci_function_ops card_ops = {
	.bar_read = card_read,
	.bar_write = card_write,
	.config_written = card_config_written,
};

static void set_up(void)
{
	memset(&card, 0, sizeof(card));
	ck_assert_int_eq(fake_kvm_open(&kvm, &vm), 0);
	bus_init(&ports);
	bus_init(&memory);
	ck_assert_int_eq(pci_init(&pci, &ports, &memory, &err), 0);
	pci_function_init(&card.pci, &card_ops, 1, 1, 0, 0, 0);
	ck_assert_int_eq(msix_init(&card.msix, &card.pci, BAR, NR_VECTORS, vm, &err), 0);
	ck_assert_int_eq(pci_add(&pci, &card.pci, 3, 0, &err), 0);
}

static void tear_down(void)
{
	pci_fini(&pci);
	msix_fini(&card.msix);
	bus_fini(&memory);
	bus_fini(&ports);
	fake_kvm_close(kvm, vm);
}

static uint64_t base(void)
{
	return card.pci.bars[BAR].range.base;
}

static void put(unsigned offset, uint64_t value, unsigned size)
{
	bus_write(&memory, base() + offset, &value, size);
}

static uint64_t get(unsigned offset, unsigned size)
{
	uint64_t value = 0;
	bus_read(&memory, base() + offset, &value, size);
	return value;
}

static void control(uint16_t bits)
{
	pci_config_write(&pci, card.pci.devfn, card.msix.capability + PCI_MSIX_FLAGS, &bits, 2);
}

/* A message that tells its vector, and open or masked. */
static void arm(unsigned vector, bool masked)
{
	put(vector * 16, ADDRESS, 4);
	put(vector * 16 + 4, 0, 4);
	put(vector * 16 + 8, 0x4000 + vector, 4);
	put(vector * 16 + 12, masked, 4);
}

static bool pending(unsigned vector)
{
	return get(MSIX_PBA_OFFSET + vector / 64 * 8, 8) >> (vector % 64) & 1;
}

START_TEST(the_capability_says_what_is_there)
{
	unsigned at = card.pci.config[PCI_CAPABILITY_LIST];
	const uint8_t *cap = &card.pci.config[at];
	uint32_t word;
	ck_assert_uint_eq(at, card.msix.capability);
	ck_assert_uint_eq(cap[0], PCI_CAP_ID_MSIX);
	ck_assert_uint_eq((cap[2] | cap[3] << 8) & PCI_MSIX_FLAGS_QSIZE, NR_VECTORS - 1);
	memcpy(&word, cap + 4, 4);
	ck_assert_uint_eq(word, MSIX_TABLE_OFFSET | BAR);
	memcpy(&word, cap + 8, 4);
	ck_assert_uint_eq(word, MSIX_PBA_OFFSET | BAR);
	/* The table's size is not the guest's to choose. */
	control(0xffff);
	ck_assert_uint_eq(cap[2] | cap[3] << 8, (NR_VECTORS - 1) | PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	struct card other = {0};
	pci_function_init(&other.pci, &card_ops, 1, 1, 0, 0, 0);
	ck_assert_int_eq(msix_init(&other.msix, &other.pci, BAR, 0, vm, &err), -EINVAL);
	ck_assert_int_eq(msix_init(&other.msix, &other.pci, BAR, MSIX_MAX_VECTORS + 1, vm, &err), -EINVAL);
}
END_TEST

START_TEST(an_open_vector_sends_its_message)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert(msix_is_enabled(&card.msix));
	arm(NR_VECTORS - 1, false);
	msix_raise(&card.msix, NR_VECTORS - 1);
	ck_assert_uint_eq(fake_kvm.nr_messages, 1);
	ck_assert_uint_eq(fake_kvm.message.address_lo, ADDRESS);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4000 + NR_VECTORS - 1);
	ck_assert(!pending(NR_VECTORS - 1));
}
END_TEST

START_TEST(vectors_are_masked_after_reset_and_nothing_is_raised_while_disabled)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < NR_VECTORS; v++)
		ck_assert_uint_eq(get(v * 16 + 12, 4), 1);
	arm(3, false);
	control(0);
	msix_raise(&card.msix, 3);
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	msix_raise(&card.msix, 3);
	ck_assert_uint_eq(fake_kvm.nr_messages, 1);
	msix_reset(&card.msix);
	pci_reset(&pci);
	ck_assert(!msix_is_enabled(&card.msix));
	ck_assert_uint_eq(get(3 * 16 + 12, 4), 1);
	ck_assert_uint_eq(get(3 * 16 + 8, 4), 0);
}
END_TEST

START_TEST(a_masked_vector_is_pending_until_it_is_opened)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	arm(65, true);
	msix_raise(&card.msix, 65);
	msix_raise(&card.msix, 65);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	ck_assert(pending(65));
	put(65 * 16 + 8, 0x5555, 4); /* still masked */
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	put(65 * 16 + 12, 0, 4);
	ck_assert_uint_eq(fake_kvm.nr_messages, 1);
	ck_assert_uint_eq(fake_kvm.message.data, 0x5555);
	ck_assert(!pending(65));
}
END_TEST

START_TEST(the_function_mask_holds_all_back)
{
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	arm(1, false);
	arm(2, true);
	arm(69, false);
	for (unsigned v = 0; v < NR_VECTORS; v++)
		msix_raise(&card.msix, v);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	ck_assert(pending(1) && pending(2) && pending(69));
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(fake_kvm.nr_messages, 2);
	ck_assert(!pending(1) && pending(2) && !pending(69));
	/* Opening one under the function's mask sends nothing. */
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	put(2 * 16 + 12, 0, 4);
	ck_assert_uint_eq(fake_kvm.nr_messages, 2);
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(fake_kvm.nr_messages, 3);
}
END_TEST

START_TEST(vectors_that_do_not_exist_do_nothing)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	put(NR_VECTORS * 16, UINT64_MAX, 8);
	put(NR_VECTORS * 16 + 12, 0, 4);
	ck_assert_uint_eq(get(NR_VECTORS * 16, 8), 0);
	msix_raise(&card.msix, NR_VECTORS);
	msix_raise(&card.msix, MSIX_MAX_VECTORS);
	msix_raise(&card.msix, UINT32_MAX);
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	ck_assert_uint_eq(get(MSIX_PBA_OFFSET + 8, 8), 0);
}
END_TEST

START_TEST(the_table_is_read_and_written_by_words)
{
	put(16, UINT64_MAX, 8);
	put(24, UINT64_MAX, 8);
	ck_assert_uint_eq(get(16, 8), 0xfffffffffffffffcull); /* messages are aligned */
	ck_assert_uint_eq(get(24, 8), 0x1ffffffffull);        /* of control, the mask alone */
	ck_assert_uint_eq(get(28, 4), 1);
	/* Other widths do nothing. */
	put(16, 0, 1);
	put(16, 0, 2);
	put(18, 0, 4);
	put(20, 0, 8);
	ck_assert_uint_eq(get(16, 8), 0xfffffffffffffffcull);
	ck_assert_uint_eq(get(16, 1), 0);
	ck_assert_uint_eq(get(18, 4), 0);
	/* Pending bits are not the guest's to write. */
	put(MSIX_PBA_OFFSET, UINT64_MAX, 8);
	ck_assert_uint_eq(get(MSIX_PBA_OFFSET, 8), 0);
	/* Every other place in the BAR reads as zero. */
	for (unsigned at = MSIX_PBA_OFFSET + 16; at < MSIX_BAR_SIZE; at += 4)
		ck_assert_uint_eq(get(at, 4), 0);
	ck_assert_uint_eq(get(MSIX_BAR_SIZE - 8, 8), 0);
}
END_TEST

START_TEST(kvm_may_refuse_a_message)
{
	control(PCI_MSIX_FLAGS_ENABLE);
	arm(0, false);
	fake_kvm.refuse = KVM_SIGNAL_MSI;
	msix_raise(&card.msix, 0);
	ck_assert(!pending(0));
	fake_kvm.refuse = 0;
	msix_raise(&card.msix, 0);
	ck_assert_uint_eq(fake_kvm.nr_messages, 1);
}
END_TEST

START_TEST(random_traffic_follows_a_model)
{
	bool masked[NR_VECTORS], raised[NR_VECTORS] = {0}, enabled = true, all = false;
	unsigned sent = 0;
	random_start();
	control(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < NR_VECTORS; v++)
		arm(v, masked[v] = true);
	for (unsigned round = 0; round < 5000; round++) {
		unsigned v = (unsigned)random_below(NR_VECTORS);
		switch (random_below(8)) {
		case 0:
			enabled = random_below(4);
			all = random_below(2);
			control((enabled ? PCI_MSIX_FLAGS_ENABLE : 0) | (all ? PCI_MSIX_FLAGS_MASKALL : 0));
			break;
		case 1:
		case 2:
		case 3:
			masked[v] = random_below(2);
			put(v * 16 + 12, masked[v], 4);
			break;
		default:
			if (enabled)
				raised[v] = true;
			msix_raise(&card.msix, v);
		}
		for (v = 0; v < NR_VECTORS; v++) {
			if (raised[v] && enabled && !all && !masked[v]) {
				raised[v] = false;
				sent++;
			}
		}
		ck_assert_uint_eq(fake_kvm.nr_messages, sent);
		uint64_t bits[2] = {0, 0};
		for (v = 0; v < NR_VECTORS; v++)
			bits[v / 64] |= (uint64_t)raised[v] << (v % 64);
		ck_assert_uint_eq(get(MSIX_PBA_OFFSET, 8), bits[0]);
		ck_assert_uint_eq(get(MSIX_PBA_OFFSET + 8, 8), bits[1]);
	}
}
END_TEST

static int load(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = pci_load(&pci, r, &err);
	state_enter(r, "card", 1);
	msix_load(&card.msix, r);
	if (ret == 0)
		ret = state_leave(r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_table_is_loaded_with_what_was_pending)
{
	struct state_writer *w = state_writer_new();
	control(PCI_MSIX_FLAGS_ENABLE);
	arm(7, true);
	arm(8, false);
	msix_raise(&card.msix, 7);
	pci_save(&pci, w);
	state_enter_new(w, "card", 1);
	msix_save(&card.msix, w);
	state_leave_new(w);
	tear_down();
	set_up();
	ck_assert_msg(load(w) == 0, "%s", err.text);
	ck_assert(msix_is_enabled(&card.msix));
	ck_assert(pending(7));
	ck_assert_uint_eq(fake_kvm.nr_messages, 0);
	msix_raise(&card.msix, 8);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4008);
	put(7 * 16 + 12, 0, 4);
	ck_assert_uint_eq(fake_kvm.nr_messages, 2);
	ck_assert_uint_eq(fake_kvm.message.data, 0x4007);
	state_writer_free(w);
}
END_TEST

static int load_fields(size_t table_len, uint64_t pending_low, uint64_t pending_high)
{
	static const uint8_t table[MSIX_MAX_VECTORS * 16 + 16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
								  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint64_t bits[2] = {pending_low, pending_high};
	struct state_writer *w = state_writer_new();
	pci_save(&pci, w);
	state_enter_new(w, "card", 1);
	state_put_bytes(w, "msix-table", table, table_len);
	state_put_bytes(w, "msix-pending", bits, sizeof(bits));
	state_leave_new(w);
	int ret = load(w);
	state_writer_free(w);
	return ret;
}

START_TEST(a_state_of_another_table_is_refused)
{
	ck_assert_int_eq(load_fields(NR_VECTORS * 16, 1, 0x3f), 0);
	ck_assert_uint_eq(get(0, 8), 0xfffffffffffffffcull);
	ck_assert_uint_eq(get(8, 8), 0x1ffffffffull);
	ck_assert_int_eq(load_fields(NR_VECTORS * 16 - 16, 0, 0), -EINVAL);
	ck_assert_int_eq(load_fields(NR_VECTORS * 16 + 16, 0, 0), -EINVAL);
	ck_assert_int_eq(load_fields(NR_VECTORS * 16, 0, 1ull << (NR_VECTORS - 64)), -EINVAL);
	ck_assert_msg(strstr(err.text, "pending") != NULL, "%s", err.text);
}
END_TEST

static void *raiser(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 5000; i++)
		msix_raise(&card.msix, i % NR_VECTORS);
	return NULL;
}

START_TEST(devices_raise_while_the_guest_masks)
{
	pthread_t threads[2];
	control(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < NR_VECTORS; v++)
		arm(v, false);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, raiser, NULL);
	for (unsigned i = 0; i < 2000; i++) {
		put(i % NR_VECTORS * 16 + 12, i & 1, 4);
		control(PCI_MSIX_FLAGS_ENABLE | (i & 4 ? PCI_MSIX_FLAGS_MASKALL : 0));
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	control(PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < NR_VECTORS; v++)
		put(v * 16 + 12, 0, 4);
	ck_assert_uint_eq(get(MSIX_PBA_OFFSET, 8) | get(MSIX_PBA_OFFSET + 8, 8), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("msix");
	TCase *tests = tcase_create("msix");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_capability_says_what_is_there);
	tcase_add_test(tests, an_open_vector_sends_its_message);
	tcase_add_test(tests, vectors_are_masked_after_reset_and_nothing_is_raised_while_disabled);
	tcase_add_test(tests, a_masked_vector_is_pending_until_it_is_opened);
	tcase_add_test(tests, the_function_mask_holds_all_back);
	tcase_add_test(tests, vectors_that_do_not_exist_do_nothing);
	tcase_add_test(tests, the_table_is_read_and_written_by_words);
	tcase_add_test(tests, kvm_may_refuse_a_message);
	tcase_add_test(tests, random_traffic_follows_a_model);
	tcase_add_test(tests, a_saved_table_is_loaded_with_what_was_pending);
	tcase_add_test(tests, a_state_of_another_table_is_refused);
	tcase_add_test(tests, devices_raise_while_the_guest_masks);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
