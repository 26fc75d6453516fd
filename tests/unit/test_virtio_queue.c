/* Split rings: what a good driver gets, and what a bad one gets. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "tests/unit/virtio_driver.h"
#include "virtio/queue.h"

#define RAM_SIZE (1u << 20)
#define HIGH_GPA 0x100000000ull /* a second region, far above */
#define RINGS 0x1000
#define BUFFERS 0x20000
#define MAX_IOV 256

static uint64_t seed;
static struct guest_ram *ram;
static struct virtq q;
static struct driver_queue dq;
static struct iovec iov[MAX_IOV];
static struct virtq_chain chain;

static void set_up(void)
{
	/* Two regions that touch, and one far away. */
	const struct guest_ram_region regions[] = {
		{.gpa = 0, .size = RAM_SIZE / 2},
		{.gpa = RAM_SIZE / 2, .size = RAM_SIZE / 2},
		{.gpa = HIGH_GPA, .size = 0x10000},
	};
	ck_assert_int_eq(guest_ram_create(regions, 3, &ram, NULL), 0);
	q = (struct virtq){.size_max = 256};
	virtq_reset(&q);
}

static void tear_down(void)
{
	guest_ram_destroy(ram);
}

static int enable(uint16_t size, bool event_idx)
{
	driver_queue_init(&dq, ram, RINGS, size);
	q.size = size;
	q.desc_gpa = dq.desc;
	q.avail_gpa = dq.avail;
	q.used_gpa = dq.used;
	return virtq_enable(&q, ram, event_idx);
}

static int pop(void)
{
	return virtq_pop(&q, iov, MAX_IOV, &chain);
}

static void *hva(uint64_t gpa)
{
	return guest_ram_at(ram, gpa, 1);
}

START_TEST(a_new_queue_has_its_largest_size_and_is_empty)
{
	ck_assert_uint_eq(q.size, 256);
	ck_assert(!q.enabled);
	ck_assert_int_eq(pop(), 0);
	ck_assert_int_eq(virtq_pending(&q), 0);
	ck_assert(!virtq_should_interrupt(&q));
	ck_assert(!virtq_notify_on(&q));
	virtq_notify_off(&q);
	virtq_push(&q, 0, 0);
}
END_TEST

START_TEST(a_chain_comes_with_its_buffers_in_order_and_goes_back_with_its_length)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 3, BUFFERS, 16, DRIVER_NEXT, 5);
	driver_desc(&dq, 5, BUFFERS + 0x100, 32, DRIVER_NEXT | DRIVER_WRITE, 1);
	driver_desc(&dq, 1, HIGH_GPA + 0xfff0, 16, DRIVER_WRITE, 0);
	driver_offer(&dq, 3);
	ck_assert_int_eq(virtq_pending(&q), 1);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.head, 3);
	ck_assert_uint_eq(chain.nr_out, 1);
	ck_assert_uint_eq(chain.nr_in, 2);
	ck_assert_uint_eq(chain.out_len, 16);
	ck_assert_uint_eq(chain.in_len, 48);
	ck_assert_ptr_eq(chain.out[0].iov_base, hva(BUFFERS));
	ck_assert_ptr_eq(chain.in[0].iov_base, hva(BUFFERS + 0x100));
	ck_assert_ptr_eq(chain.in[1].iov_base, hva(HIGH_GPA + 0xfff0));
	ck_assert_int_eq(pop(), 0);

	uint32_t id, len;
	ck_assert(!driver_take(&dq, &id, &len));
	virtq_push(&q, chain.head, 48);
	ck_assert(driver_take(&dq, &id, &len));
	ck_assert_uint_eq(id, 3);
	ck_assert_uint_eq(len, 48);
	ck_assert(!driver_take(&dq, &id, &len));
}
END_TEST

START_TEST(an_indirect_table_may_follow_direct_buffers_and_lie_at_any_address)
{
	ck_assert_int_eq(enable(4, false), 0);
	uint64_t table = BUFFERS + 0x1003;
	driver_desc(&dq, 0, BUFFERS, 8, DRIVER_NEXT, 2);
	driver_desc(&dq, 2, table, 3 * 16, DRIVER_INDIRECT | DRIVER_WRITE, 77); /* WRITE and next mean nothing here */
	driver_put_desc(ram, table, 0, BUFFERS + 16, 8, DRIVER_NEXT, 2);
	driver_put_desc(ram, table, 2, BUFFERS + 32, 8, DRIVER_WRITE | DRIVER_NEXT, 1);
	driver_put_desc(ram, table, 1, BUFFERS + 48, 8, DRIVER_WRITE, 0);
	driver_offer(&dq, 0);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.nr_out, 2);
	ck_assert_uint_eq(chain.nr_in, 2);
	ck_assert_ptr_eq(chain.out[1].iov_base, hva(BUFFERS + 16));
	ck_assert_ptr_eq(chain.in[0].iov_base, hva(BUFFERS + 32));
	ck_assert_ptr_eq(chain.in[1].iov_base, hva(BUFFERS + 48));
}
END_TEST

START_TEST(an_indirect_table_may_be_longer_than_the_queue)
{
	ck_assert_int_eq(enable(2, false), 0);
	for (uint16_t i = 0; i < 100; i++)
		driver_put_desc(ram, BUFFERS, i, BUFFERS + 0x4000 + i, 1, i < 99 ? DRIVER_NEXT : 0, (uint16_t)(i + 1));
	driver_desc(&dq, 1, BUFFERS, 100 * 16, DRIVER_INDIRECT, 0);
	driver_offer(&dq, 1);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.nr_out, 100);
	ck_assert_uint_eq(chain.out_len, 100);
}
END_TEST

START_TEST(a_buffer_across_two_regions_comes_in_two_pieces)
{
	ck_assert_int_eq(enable(4, false), 0);
	driver_desc(&dq, 0, RAM_SIZE / 2 - 8, 24, DRIVER_WRITE, 0);
	driver_offer(&dq, 0);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.nr_in, 2);
	ck_assert_uint_eq(chain.in[0].iov_len, 8);
	ck_assert_ptr_eq(chain.in[0].iov_base, hva(RAM_SIZE / 2 - 8));
	ck_assert_uint_eq(chain.in[1].iov_len, 16);
	ck_assert_ptr_eq(chain.in[1].iov_base, hva(RAM_SIZE / 2));
	ck_assert_uint_eq(chain.in_len, 24);
}
END_TEST

START_TEST(a_request_can_be_put_back_and_comes_again)
{
	ck_assert_int_eq(enable(4, false), 0);
	driver_desc(&dq, 0, BUFFERS, 24, 0, 0);
	driver_offer(&dq, 0);
	ck_assert_int_eq(pop(), 1);
	virtq_unpop(&q);
	ck_assert_int_eq(virtq_pending(&q), 1);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.head, 0);
	ck_assert_int_eq(pop(), 0);
}
END_TEST

START_TEST(several_requests_are_published_at_once)
{
	ck_assert_int_eq(enable(4, false), 0);
	uint32_t id, len;
	for (unsigned round = 0; round < 3; round++) {
		virtq_fill(&q, 2, 20, 0);
		virtq_fill(&q, 1, 10, 1);
		virtq_fill(&q, 3, 30, 2);
		ck_assert(!driver_take(&dq, &id, &len));
		virtq_flush(&q, 3);
		for (unsigned i = 0; i < 3; i++) {
			static const uint32_t ids[] = {2, 1, 3};
			ck_assert(driver_take(&dq, &id, &len));
			ck_assert_uint_eq(id, ids[i]);
			ck_assert_uint_eq(len, 10 * ids[i]);
		}
		ck_assert(!driver_take(&dq, &id, &len));
	}
}
END_TEST

/* --- what virtq_enable() refuses --- */

START_TEST(rings_of_a_bad_size_are_refused)
{
	static const uint16_t bad[] = {0, 3, 5, 100, 255, 257, 512, 1024, 32768, 65535};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		q.size = bad[i];
		q.desc_gpa = 0x1000;
		q.avail_gpa = 0x8000;
		q.used_gpa = 0x10000;
		ck_assert_int_eq(virtq_enable(&q, ram, false), -EPROTO);
		ck_assert(!q.enabled);
	}
}
END_TEST

START_TEST(rings_at_crooked_addresses_are_refused)
{
	static const struct {
		unsigned desc, avail, used;
	} bad[] = {{1, 0, 0}, {8, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, 2}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		q.size = 8;
		q.desc_gpa = 0x1000 + bad[i].desc;
		q.avail_gpa = 0x2000 + bad[i].avail;
		q.used_gpa = 0x3000 + bad[i].used;
		ck_assert_int_eq(virtq_enable(&q, ram, false), -EPROTO);
		ck_assert(!q.enabled);
	}
}
END_TEST

START_TEST(rings_that_leave_ram_by_a_single_byte_are_refused)
{
	/* Each ring in turn at the last place that fits, then one alignment step further. */
	const uint64_t len[3] = {16 * 8, 6 + 2 * 8, 6 + 8 * 8};
	const uint64_t step[3] = {16, 2, 4};
	for (unsigned ring = 0; ring < 3; ring++) {
		uint64_t gpa[3] = {0x1000, 0x2000, 0x3000};
		for (unsigned over = 0; over < 2; over++) {
			gpa[ring] = ((RAM_SIZE - len[ring]) & ~(step[ring] - 1)) + over * step[ring];
			virtq_reset(&q);
			q.size = 8;
			q.desc_gpa = gpa[0];
			q.avail_gpa = gpa[1];
			q.used_gpa = gpa[2];
			ck_assert_int_eq(virtq_enable(&q, ram, true), over ? -EPROTO : 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			static const uint64_t outside[] = {RAM_SIZE, HIGH_GPA - 16, ~0xfull, 1ull << 63};
			gpa[ring] = outside[i];
			virtq_reset(&q);
			q.size = 8;
			q.desc_gpa = gpa[0];
			q.avail_gpa = gpa[1];
			q.used_gpa = gpa[2];
			ck_assert_int_eq(virtq_enable(&q, ram, true), -EPROTO);
		}
	}
}
END_TEST

/* --- what virtq_pop() refuses --- */

static void refused(void)
{
	uint16_t before = q.last_avail;
	chain.head = 0xabcd;
	ck_assert_int_eq(pop(), -EPROTO);
	ck_assert_uint_eq(chain.head, 0xabcd);
	ck_assert_uint_eq(q.last_avail, before);
	ck_assert_int_eq(pop(), -EPROTO);
}

START_TEST(an_available_index_that_jumps_past_the_ring_is_refused)
{
	for (unsigned jump = 9; jump < 65536; jump += 97) {
		virtq_reset(&q);
		ck_assert_int_eq(enable(8, false), 0);
		driver_publish(&dq, (uint16_t)jump);
		refused();
		ck_assert_int_eq(virtq_pending(&q), -EPROTO);
		ck_assert(virtq_notify_on(&q));
	}
}
END_TEST

START_TEST(an_available_index_that_goes_back_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, 0, 0);
	driver_offer(&dq, 0);
	driver_offer(&dq, 0);
	ck_assert_int_eq(pop(), 1);
	ck_assert_int_eq(pop(), 1);
	driver_publish(&dq, 1);
	refused();
}
END_TEST

START_TEST(a_head_past_the_table_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_offer(&dq, 8);
	refused();
}
END_TEST

START_TEST(a_next_index_past_the_table_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, DRIVER_NEXT, 8);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(a_loop_of_descriptors_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, DRIVER_NEXT, 1);
	driver_desc(&dq, 1, BUFFERS, 8, DRIVER_NEXT, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(a_loop_in_an_indirect_table_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_put_desc(ram, BUFFERS, 0, BUFFERS + 0x1000, 8, DRIVER_NEXT, 1);
	driver_put_desc(ram, BUFFERS, 1, BUFFERS + 0x1000, 8, DRIVER_NEXT, 1);
	driver_desc(&dq, 0, BUFFERS, 32, DRIVER_INDIRECT, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(a_buffer_outside_ram_is_refused)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{RAM_SIZE, 1},
		{RAM_SIZE - 8, 9},
		{HIGH_GPA - 1, 2},
		{HIGH_GPA + 0x10000, 1},
		{~0ull, 1},
		{~0ull, 2},
		{1ull << 63, 4096},
		{0, UINT32_MAX},
		{HIGH_GPA, UINT32_MAX},
		{RAM_SIZE / 2 - 1, RAM_SIZE},
		{~0ull - 0xfff, 0x2000},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (unsigned write = 0; write < 2; write++) {
			virtq_reset(&q);
			ck_assert_int_eq(enable(8, false), 0);
			driver_desc(&dq, 0, bad[i].addr, bad[i].len, write ? DRIVER_WRITE : 0, 0);
			driver_offer(&dq, 0);
			refused();
		}
	}
}
END_TEST

START_TEST(an_empty_buffer_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, DRIVER_NEXT, 1);
	driver_desc(&dq, 1, BUFFERS, 0, DRIVER_WRITE, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(a_readable_buffer_after_a_writable_one_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, DRIVER_WRITE | DRIVER_NEXT, 1);
	driver_desc(&dq, 1, BUFFERS, 8, 0, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(an_indirect_table_inside_an_indirect_table_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_put_desc(ram, BUFFERS, 0, BUFFERS + 0x1000, 16, DRIVER_INDIRECT, 0);
	driver_put_desc(ram, BUFFERS + 0x1000, 0, BUFFERS + 0x2000, 16, 0, 0);
	driver_desc(&dq, 0, BUFFERS, 16, DRIVER_INDIRECT, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(an_indirect_table_that_goes_on_in_the_ring_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_put_desc(ram, BUFFERS, 0, BUFFERS + 0x1000, 16, 0, 0);
	driver_desc(&dq, 0, BUFFERS, 16, DRIVER_INDIRECT | DRIVER_NEXT, 1);
	driver_desc(&dq, 1, BUFFERS, 16, 0, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(an_indirect_table_of_a_bad_length_or_place_is_refused)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {{BUFFERS, 0},        {BUFFERS, 15},  {BUFFERS, 17}, {BUFFERS, 40},
		   {RAM_SIZE - 16, 32}, {RAM_SIZE, 16}, {~0ull, 16},   {BUFFERS, 0xfffffff0}};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		virtq_reset(&q);
		ck_assert_int_eq(enable(8, false), 0);
		driver_put_desc(ram, BUFFERS, 0, BUFFERS + 0x1000, 16, 0, 0);
		driver_desc(&dq, 0, bad[i].addr, bad[i].len, DRIVER_INDIRECT, 0);
		driver_offer(&dq, 0);
		refused();
	}
}
END_TEST

START_TEST(a_next_index_past_an_indirect_table_is_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_put_desc(ram, BUFFERS, 0, BUFFERS + 0x1000, 16, DRIVER_NEXT, 1);
	driver_put_desc(ram, BUFFERS, 1, BUFFERS + 0x1000, 16, 0, 0);
	driver_desc(&dq, 0, BUFFERS, 16, DRIVER_INDIRECT, 0);
	driver_offer(&dq, 0);
	refused();
}
END_TEST

START_TEST(more_buffers_than_the_caller_has_room_for_are_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	for (uint16_t i = 0; i < 4; i++)
		driver_desc(&dq, i, BUFFERS, 8, i < 3 ? DRIVER_NEXT : 0, (uint16_t)(i + 1));
	driver_offer(&dq, 0);
	ck_assert_int_eq(virtq_pop(&q, iov, 3, &chain), -EPROTO);
	ck_assert_int_eq(virtq_pop(&q, iov, 0, &chain), -EPROTO);
	ck_assert_int_eq(virtq_pop(&q, iov, 4, &chain), 1);
}
END_TEST

START_TEST(buffers_that_add_up_to_more_than_four_gib_are_refused)
{
	/* Needs a region of more than 2 GiB: mapped, never touched. */
	struct guest_ram *big;
	const struct guest_ram_region region = {.gpa = 0, .size = 3ull << 30};
	ck_assert_int_eq(guest_ram_create(&region, 1, &big, NULL), 0);
	struct guest_ram *small = ram;
	ram = big;
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, 0, 0x80000000, DRIVER_NEXT, 1);
	driver_desc(&dq, 1, 0, 0x7fffffff, 0, 0);
	driver_offer(&dq, 0);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(chain.out_len, UINT32_MAX);
	driver_desc(&dq, 1, 0, 0x80000000, 0, 0);
	driver_offer(&dq, 0);
	refused();
	ram = small;
	guest_ram_destroy(big);
}
END_TEST

/* --- notifications --- */

START_TEST(without_event_indices_flags_decide_about_interrupts)
{
	ck_assert_int_eq(enable(8, false), 0);
	virtq_push(&q, 0, 0);
	ck_assert(virtq_should_interrupt(&q));
	ck_assert_msg(!virtq_should_interrupt(&q), "nothing was pushed since");
	driver_set_avail_flags(&dq, 1);
	virtq_push(&q, 0, 0);
	ck_assert(!virtq_should_interrupt(&q));
	driver_set_avail_flags(&dq, 0);
	ck_assert(!virtq_should_interrupt(&q));
	virtq_push(&q, 0, 0);
	ck_assert(virtq_should_interrupt(&q));
}
END_TEST

START_TEST(with_event_indices_an_interrupt_comes_exactly_when_the_event_is_passed)
{
	ck_assert_int_eq(enable(8, true), 0);
	virtq_push(&q, 0, 0);
	ck_assert(virtq_should_interrupt(&q)); /* the first one always */
	uint16_t now = 1;
	/* All the way around the 16-bit counter. */
	struct dice dice = {seed};
	for (unsigned i = 0; i < 100000; i++) {
		uint16_t n = (uint16_t)(1 + dice_roll(&dice, 8));
		uint16_t event = (uint16_t)(now + dice_roll(&dice, 20) - 10);
		driver_set_used_event(&dq, event);
		driver_set_avail_flags(&dq, 1); /* counts for nothing */
		bool expected = false;
		for (uint16_t k = 0; k < n; k++) {
			expected |= (uint16_t)(now + k) == event;
			virtq_push(&q, 0, 0);
		}
		ck_assert_int_eq(virtq_should_interrupt(&q), expected);
		ck_assert(!virtq_should_interrupt(&q));
		now = (uint16_t)(now + n);
	}
}
END_TEST

START_TEST(a_whole_turn_of_the_counter_without_a_decision_interrupts)
{
	ck_assert_int_eq(enable(8, true), 0);
	virtq_push(&q, 0, 0);
	ck_assert(virtq_should_interrupt(&q));
	driver_set_used_event(&dq, 30000);
	for (unsigned i = 0; i < 65536; i++)
		virtq_push(&q, 0, 0);
	ck_assert(virtq_should_interrupt(&q));
}
END_TEST

START_TEST(notifications_are_switched_by_flags_without_event_indices)
{
	ck_assert_int_eq(enable(8, false), 0);
	virtq_notify_off(&q);
	ck_assert_uint_eq(driver_used_flags(&dq), 1);
	ck_assert(!virtq_notify_on(&q));
	ck_assert_uint_eq(driver_used_flags(&dq), 0);
}
END_TEST

START_TEST(notifications_are_asked_for_by_index_with_event_indices)
{
	ck_assert_int_eq(enable(8, true), 0);
	driver_desc(&dq, 0, BUFFERS, 8, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		driver_offer(&dq, 0);
		ck_assert_int_eq(pop(), 1);
	}
	virtq_notify_off(&q);
	ck_assert_uint_eq(driver_used_flags(&dq), 0);
	ck_assert(!virtq_notify_on(&q));
	ck_assert_uint_eq(driver_avail_event(&dq), 3);
	driver_offer(&dq, 0);
	ck_assert_msg(virtq_notify_on(&q), "a request came in between");
}
END_TEST

/* --- copies --- */

START_TEST(copies_cross_buffers_and_end_with_the_chain)
{
	char a[3] = "abc", b[1] = "d", c[4] = "efgh", out[16];
	struct iovec v[] = {{a, 3}, {b, 1}, {c, 4}};
	for (size_t offset = 0; offset < 10; offset++) {
		for (size_t len = 0; len < 12; len++) {
			size_t expected = offset >= 8 ? 0 : (len < 8 - offset ? len : 8 - offset);
			memset(out, '.', sizeof(out));
			ck_assert_uint_eq(iov_read(v, 3, offset, out, len), expected);
			ck_assert(memcmp(out, &"abcdefgh"[offset < 8 ? offset : 0], expected) == 0);
			ck_assert_int_eq(out[expected], '.');
		}
	}
	ck_assert_uint_eq(iov_write(v, 3, 2, "CDEF", 4), 4);
	ck_assert(memcmp(a, "abC", 3) == 0 && b[0] == 'D' && memcmp(c, "EFgh", 4) == 0);
	ck_assert_uint_eq(iov_write(v, 3, 7, "HIJ", 3), 1);
	ck_assert_int_eq(c[3], 'H');
}
END_TEST

/* --- saved state --- */

static struct state_reader *round_trip(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	return r;
}

START_TEST(a_queue_comes_back_from_saved_state_as_it_was)
{
	ck_assert_int_eq(enable(8, false), 0);
	driver_desc(&dq, 0, BUFFERS, 8, 0, 0);
	for (unsigned i = 0; i < 5; i++) {
		driver_offer(&dq, 0);
		ck_assert_int_eq(pop(), 1);
		if (i < 3)
			virtq_push(&q, 0, 0);
	}
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "x", 1);
	virtq_save(&q, 7, w);
	state_leave_new(w);
	struct state_reader *r = round_trip(w);
	ck_assert_uint_eq(state_enter(r, "x", 1), 1);
	struct virtq copy = {.size_max = 256};
	virtq_load(&copy, 7, r);
	ck_assert_int_eq(state_leave(r, NULL), 0);
	ck_assert(copy.enabled);
	ck_assert_int_eq(virtq_enable(&copy, ram, false), 0);
	ck_assert_uint_eq(copy.size, 8);
	ck_assert_uint_eq(copy.last_avail, 5);
	ck_assert_uint_eq(copy.used_idx, 3);
	driver_offer(&dq, 0);
	ck_assert_int_eq(virtq_pop(&copy, iov, MAX_IOV, &chain), 1);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(saved_indices_that_contradict_the_size_are_refused)
{
	ck_assert_int_eq(enable(8, false), 0);
	q.last_avail = 20;
	q.used_idx = 11;
	struct state_writer *w = state_writer_new();
	state_enter_new(w, "x", 1);
	virtq_save(&q, 0, w);
	state_leave_new(w);
	struct state_reader *r = round_trip(w);
	state_enter(r, "x", 1);
	struct virtq copy = {.size_max = 256};
	virtq_load(&copy, 0, r);
	ck_assert_int_eq(state_leave(r, NULL), -EINVAL);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

/* --- seeded random driving against a model --- */

#define MODEL_BUFFERS 12

struct model_request {
	bool in_flight; /* the driver's descriptors are in use */
	bool popped;
	unsigned nr_out, nr;
	uint64_t gpa[MODEL_BUFFERS];
	uint32_t len[MODEL_BUFFERS];
	unsigned nr_descs;
	uint16_t descs[MODEL_BUFFERS + 1];
	uint32_t written;
};

struct model {
	struct dice dice;
	uint16_t size;
	bool desc_used[256];
	struct model_request requests[256]; /* by head */
	uint16_t offered[256], nr_offered;  /* heads not yet popped, in order */
	uint16_t popped[256], nr_popped;
	uint16_t returned[256], nr_returned;
};

static int free_desc(struct model *m)
{
	uint16_t from = (uint16_t)dice_roll(&m->dice, m->size);
	for (uint16_t i = 0; i < m->size; i++) {
		uint16_t d = (uint16_t)((from + i) % m->size);
		if (!m->desc_used[d])
			return d;
	}
	return -1;
}

static void model_offer(struct model *m)
{
	unsigned free_descs = 0;
	for (unsigned i = 0; i < m->size; i++)
		free_descs += !m->desc_used[i];
	if (!free_descs)
		return;
	struct model_request r = {.in_flight = true};
	r.nr = 1 + dice_roll(&m->dice, MODEL_BUFFERS);
	bool indirect = dice_roll(&m->dice, 2);
	unsigned direct = indirect ? dice_roll(&m->dice, free_descs < r.nr ? free_descs : r.nr) : r.nr;
	if (!indirect && r.nr > free_descs)
		r.nr = direct = free_descs;
	r.nr_out = dice_roll(&m->dice, r.nr + 1);
	r.nr_descs = direct + indirect;
	for (unsigned i = 0; i < r.nr_descs; i++) {
		r.descs[i] = (uint16_t)free_desc(m);
		m->desc_used[r.descs[i]] = true;
	}
	uint64_t table = BUFFERS + 0x40000 + 0x200ull * r.descs[0] + dice_roll(&m->dice, 32);
	for (unsigned i = 0; i < r.nr; i++) {
		r.gpa[i] = BUFFERS + dice_roll(&m->dice, 0x10000);
		r.len[i] = 1 + dice_roll(&m->dice, 5000);
		uint16_t flags = (uint16_t)((i >= r.nr_out ? DRIVER_WRITE : 0) | (i + 1 < r.nr ? DRIVER_NEXT : 0));
		if (i < direct) {
			driver_desc(&dq, r.descs[i], r.gpa[i], r.len[i], flags,
				    i + 1 < r.nr_descs ? r.descs[i + 1] : (uint16_t)dice_roll(&m->dice, 65536));
		} else {
			driver_put_desc(ram, table, i - direct, r.gpa[i], r.len[i], flags, (uint16_t)(i - direct + 1));
		}
	}
	if (indirect)
		driver_desc(&dq, r.descs[direct], table, 16 * (r.nr - direct), DRIVER_INDIRECT, 0);
	m->requests[r.descs[0]] = r;
	m->offered[m->nr_offered++] = r.descs[0];
	driver_offer(&dq, r.descs[0]);
}

static void model_pop(struct model *m)
{
	int ret = pop();
	ck_assert_int_eq(ret, m->nr_offered != 0);
	if (!ret)
		return;
	uint16_t head = m->offered[0];
	const struct model_request *r = &m->requests[head];
	ck_assert_uint_eq(chain.head, head);
	ck_assert_uint_eq(chain.nr_out, r->nr_out);
	ck_assert_uint_eq(chain.nr_out + chain.nr_in, r->nr);
	size_t out_len = 0, in_len = 0;
	for (unsigned i = 0; i < r->nr; i++) {
		ck_assert_ptr_eq(iov[i].iov_base, hva(r->gpa[i]));
		ck_assert_uint_eq(iov[i].iov_len, r->len[i]);
		*(i < r->nr_out ? &out_len : &in_len) += r->len[i];
	}
	ck_assert_uint_eq(chain.out_len, out_len);
	ck_assert_uint_eq(chain.in_len, in_len);
	if (dice_roll(&m->dice, 8) == 0) {
		virtq_unpop(&q);
		return;
	}
	memmove(m->offered, m->offered + 1, --m->nr_offered * sizeof(m->offered[0]));
	m->popped[m->nr_popped++] = head;
}

static void model_return(struct model *m)
{
	uint16_t n = (uint16_t)dice_roll(&m->dice, m->nr_popped + 1u);
	for (uint16_t i = 0; i < n; i++) {
		uint16_t pick = (uint16_t)dice_roll(&m->dice, m->nr_popped);
		uint16_t head = m->popped[pick];
		m->popped[pick] = m->popped[--m->nr_popped];
		m->requests[head].written = dice_roll(&m->dice, 1000000);
		virtq_fill(&q, head, m->requests[head].written, i);
		m->returned[m->nr_returned++] = head;
	}
	if (n)
		virtq_flush(&q, n);
}

static void model_take(struct model *m)
{
	uint32_t id, len;
	bool got = driver_take(&dq, &id, &len);
	ck_assert_int_eq(got, m->nr_returned != 0);
	if (!got)
		return;
	uint16_t head = m->returned[0];
	memmove(m->returned, m->returned + 1, --m->nr_returned * sizeof(m->returned[0]));
	ck_assert_uint_eq(id, head);
	ck_assert_uint_eq(len, m->requests[head].written);
	for (unsigned i = 0; i < m->requests[head].nr_descs; i++)
		m->desc_used[m->requests[head].descs[i]] = false;
	m->requests[head].in_flight = false;
}

START_TEST(random_traffic_matches_the_model)
{
	static struct model m;
	memset(&m, 0, sizeof(m));
	m.dice.state = seed + (uint64_t)_i;
	m.size = (uint16_t)(1u << dice_roll(&m.dice, 9));
	ck_assert_int_eq(enable(m.size, dice_roll(&m.dice, 2)), 0);
	/* Begin shortly before the counters wrap, as a queue that was loaded would. */
	uint16_t start = (uint16_t)(65536 - dice_roll(&m.dice, 2000));
	q.last_avail = q.avail_seen = q.used_idx = start;
	driver_publish(&dq, start);
	dq.last_used = start;
	*driver_word(&dq, dq.used + 2) = start;
	for (unsigned i = 0; i < 20000; i++) {
		switch (dice_roll(&m.dice, 4)) {
		case 0:
			model_offer(&m);
			break;
		case 1:
			model_pop(&m);
			break;
		case 2:
			model_return(&m);
			break;
		default:
			model_take(&m);
			break;
		}
	}
}
END_TEST

/* Any bytes at all in the rings: pops end, and hand out nothing that is not RAM. */
START_TEST(random_garbage_in_the_rings_yields_only_buffers_in_ram)
{
	struct dice dice = {seed + (uint64_t)_i};
	for (unsigned round = 0; round < 2000; round++) {
		virtq_reset(&q);
		ck_assert_int_eq(enable((uint16_t)(1u << dice_roll(&dice, 6)), dice_roll(&dice, 2)), 0);
		for (unsigned i = 0; i < dq.size; i++) {
			uint64_t addr = dice_roll(&dice, 4) ? dice_roll(&dice, RAM_SIZE) : dice_roll(&dice, UINT32_MAX) * 977ull;
			driver_desc(&dq, i, addr, dice_roll(&dice, 3) ? dice_roll(&dice, 200) * 16 : dice_roll(&dice, UINT32_MAX),
				    (uint16_t)dice_roll(&dice, 8), (uint16_t)dice_roll(&dice, dq.size + 1u));
			*driver_word(&dq, dq.avail + 4 + 2 * i) = (uint16_t)dice_roll(&dice, dq.size + 1u);
		}
		driver_publish(&dq, (uint16_t)dice_roll(&dice, dq.size + 2u));
		for (unsigned i = 0; i < 8; i++) {
			uint16_t max = (uint16_t)dice_roll(&dice, MAX_IOV + 1);
			if (virtq_pop(&q, iov, max, &chain) != 1)
				break;
			ck_assert_uint_le(chain.nr_out + chain.nr_in, max);
			for (unsigned k = 0; k < chain.nr_out + (unsigned)chain.nr_in; k++) {
				size_t nr;
				const struct guest_ram_region *regions = guest_ram_regions(ram, &nr);
				bool inside = false;
				for (size_t n = 0; n < nr; n++) {
					const uint8_t *base = iov[k].iov_base;
					inside |=
						base >= regions[n].hva && base + iov[k].iov_len <= regions[n].hva + regions[n].size;
				}
				ck_assert(inside && iov[k].iov_len);
			}
			virtq_push(&q, chain.head, 0);
		}
	}
}
END_TEST

/* --- two threads: no notification is ever lost --- */

#define PINGS 20000

struct two_threads {
	int kick, irq;
	bool event_idx;
};

static bool wait_event(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, 10000) != 1)
		return false;
	uint64_t count;
	return read(fd, &count, sizeof(count)) == sizeof(count);
}

static void signal_event(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));
	(void)n;
}

static void *serve(void *arg)
{
	const struct two_threads *t = arg;
	unsigned served = 0;
	while (served < PINGS) {
		virtq_notify_off(&q);
		int ret;
		while ((ret = pop()) == 1) {
			virtq_push(&q, chain.head, 1);
			served++;
		}
		if (ret < 0)
			return (void *)(uintptr_t)1;
		if (virtq_should_interrupt(&q))
			signal_event(t->irq);
		if (served < PINGS && !virtq_notify_on(&q) && !wait_event(t->kick))
			return (void *)(uintptr_t)2;
	}
	return NULL;
}

/* A locked instruction, which the thread sanitizer understands better than a fence. */
static void full_barrier(void)
{
	static _Atomic unsigned turn;
	atomic_fetch_add(&turn, 1);
}

/* The driver's barriers as the standard asks for them. */
static void drive(const struct two_threads *t)
{
	struct dice dice = {seed};
	unsigned offered = 0, taken = 0;
	while (taken < PINGS) {
		unsigned room = dq.size - (offered - taken);
		unsigned n = room < PINGS - offered ? room : PINGS - offered;
		if (n)
			n = 1 + dice_roll(&dice, n);
		uint16_t before = dq.avail_idx;
		for (unsigned i = 0; i < n; i++)
			driver_offer(&dq, (uint16_t)(dq.avail_idx % dq.size));
		offered += n;
		full_barrier();
		uint16_t event = driver_avail_event(&dq);
		bool want = t->event_idx ? (uint16_t)(dq.avail_idx - event - 1) < (uint16_t)(dq.avail_idx - before)
					 : !(driver_used_flags(&dq) & 1);
		if (n && want)
			signal_event(t->kick);
		uint32_t id, len;
		bool got = false;
		while (driver_take(&dq, &id, &len)) {
			taken++;
			got = true;
		}
		if (got || taken == PINGS)
			continue;
		driver_set_used_event(&dq, dq.last_used);
		driver_set_avail_flags(&dq, 0);
		full_barrier();
		if (driver_used_idx(&dq) == dq.last_used)
			ck_assert_msg(wait_event(t->irq), "an interrupt was lost after %u", taken);
		driver_set_avail_flags(&dq, 1);
	}
}

START_TEST(two_threads_never_lose_a_notification)
{
	struct two_threads t = {.kick = eventfd(0, 0), .irq = eventfd(0, 0), .event_idx = _i};
	ck_assert_int_eq(enable(16, t.event_idx), 0);
	for (uint16_t i = 0; i < 16; i++)
		driver_desc(&dq, i, BUFFERS + i, 1, 0, 0);
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, &t), 0);
	drive(&t);
	void *ret;
	pthread_join(thread, &ret);
	ck_assert_ptr_null(ret);
	close(t.kick);
	close(t.irq);
}
END_TEST

int main(void)
{
	seed = dice_seed();
	Suite *suite = suite_create("virtio_queue");
	TCase *tc = tcase_create("queue");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_new_queue_has_its_largest_size_and_is_empty);
	tcase_add_test(tc, a_chain_comes_with_its_buffers_in_order_and_goes_back_with_its_length);
	tcase_add_test(tc, an_indirect_table_may_follow_direct_buffers_and_lie_at_any_address);
	tcase_add_test(tc, an_indirect_table_may_be_longer_than_the_queue);
	tcase_add_test(tc, a_buffer_across_two_regions_comes_in_two_pieces);
	tcase_add_test(tc, a_request_can_be_put_back_and_comes_again);
	tcase_add_test(tc, several_requests_are_published_at_once);
	tcase_add_test(tc, rings_of_a_bad_size_are_refused);
	tcase_add_test(tc, rings_at_crooked_addresses_are_refused);
	tcase_add_test(tc, rings_that_leave_ram_by_a_single_byte_are_refused);
	tcase_add_test(tc, an_available_index_that_jumps_past_the_ring_is_refused);
	tcase_add_test(tc, an_available_index_that_goes_back_is_refused);
	tcase_add_test(tc, a_head_past_the_table_is_refused);
	tcase_add_test(tc, a_next_index_past_the_table_is_refused);
	tcase_add_test(tc, a_loop_of_descriptors_is_refused);
	tcase_add_test(tc, a_loop_in_an_indirect_table_is_refused);
	tcase_add_test(tc, a_buffer_outside_ram_is_refused);
	tcase_add_test(tc, an_empty_buffer_is_refused);
	tcase_add_test(tc, a_readable_buffer_after_a_writable_one_is_refused);
	tcase_add_test(tc, an_indirect_table_inside_an_indirect_table_is_refused);
	tcase_add_test(tc, an_indirect_table_that_goes_on_in_the_ring_is_refused);
	tcase_add_test(tc, an_indirect_table_of_a_bad_length_or_place_is_refused);
	tcase_add_test(tc, a_next_index_past_an_indirect_table_is_refused);
	tcase_add_test(tc, more_buffers_than_the_caller_has_room_for_are_refused);
	tcase_add_test(tc, buffers_that_add_up_to_more_than_four_gib_are_refused);
	tcase_add_test(tc, without_event_indices_flags_decide_about_interrupts);
	tcase_add_test(tc, with_event_indices_an_interrupt_comes_exactly_when_the_event_is_passed);
	tcase_add_test(tc, a_whole_turn_of_the_counter_without_a_decision_interrupts);
	tcase_add_test(tc, notifications_are_switched_by_flags_without_event_indices);
	tcase_add_test(tc, notifications_are_asked_for_by_index_with_event_indices);
	tcase_add_test(tc, copies_cross_buffers_and_end_with_the_chain);
	tcase_add_test(tc, a_queue_comes_back_from_saved_state_as_it_was);
	tcase_add_test(tc, saved_indices_that_contradict_the_size_are_refused);
	tcase_add_loop_test(tc, random_traffic_matches_the_model, 0, 8);
	tcase_add_loop_test(tc, random_garbage_in_the_rings_yields_only_buffers_in_ram, 0, 4);
	tcase_add_loop_test(tc, two_threads_never_lose_a_notification, 0, 2);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed)
		printf("to repeat: PAGODA_SEED=%llu\n", (unsigned long long)seed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
