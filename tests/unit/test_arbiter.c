/* The arbiter's parts, and its whole on single decisions: division by shares, states, sentences, admission, and random numbers. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/admission.h"
#include "host/arbiter.h"
#include "host/arbiter_demand.h"
#include "host/arbiter_shares.h"
#include "host/arbiter_state.h"
#include "host/arbiter_why.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { MIB = 256, SECOND = 1000000000 };

/* --- shares --- */

START_TEST(idle_pages_cost_what_the_tax_says)
{
	struct arbiter_work w = {.hot = 100};
	ck_assert_double_eq(arbiter_price(&w, 60, 4), 60);
	ck_assert_double_eq(arbiter_price(&w, 150, 4), 300);
	for (unsigned pages = 1; pages < 1000; pages += 7)
		ck_assert_double_eq_tol(arbiter_bought(&w, arbiter_price(&w, pages, 4), 4), pages, 1e-9);
}
END_TEST

START_TEST(of_two_guests_with_equal_shares_the_idle_one_pays)
{
	struct arbiter_work w[2] = {{.shares = 1, .hot = 1000, .want = 1000, .most = 1000},
				    {.shares = 1, .hot = 0, .want = 1000, .most = 1000}};
	double level;
	ck_assert_double_le(arbiter_divide(w, 2, 1000, 75, &level), 1000);
	ck_assert_double_eq_tol(w[0].goal, 800, 0.01); /* 4 to 1 */
	ck_assert_double_eq_tol(w[1].goal, 200, 0.01);
	ck_assert_double_gt(level, 0);
	arbiter_divide(w, 2, 1000, 0, &level);
	ck_assert_double_eq_tol(w[0].goal, w[1].goal, 0.01);
}
END_TEST

START_TEST(division_is_fair_within_bounds_whatever_the_numbers)
{
	random_start();
	for (int round = 0; round < 500; round++) {
		struct arbiter_work w[20] = {0};
		size_t nr = 1 + random_below(20);
		double supply = (double)random_below(100000), least = 0, level, sum = 0;
		for (size_t i = 0; i < nr; i++) {
			w[i].least = (double)random_below(2000);
			w[i].most = w[i].least + (double)random_below(20000);
			w[i].want = (double)random_below(22000);
			w[i].hot = (double)random_below(20000);
			w[i].shares = (double)random_below(5000);
			w[i].fixed = random_below(10) == 0;
			least += w[i].least;
		}
		arbiter_divide(w, nr, supply, 75, &level);
		for (size_t i = 0; i < nr; i++) {
			sum += w[i].goal;
			ck_assert(w[i].goal >= w[i].least && w[i].goal <= arbiter_max(w[i].most, w[i].least));
			double want = arbiter_clamp(w[i].want, w[i].least, w[i].most);
			if (level > 0 && !w[i].fixed && w[i].goal > w[i].least && w[i].goal < want)
				ck_assert_double_eq_tol(arbiter_price(&w[i], w[i].goal, 4), w[i].shares * level,
							1e-6 * w[i].shares * level);
		}
		ck_assert_double_le(sum, arbiter_max(supply, least) + 1);
	}
}
END_TEST

/* --- states --- */

START_TEST(a_state_gets_worse_at_once_and_better_step_by_step)
{
	struct arbiter_state_memory m = {0};
	struct arbiter_state_input in = {.elapsed_ms = 1000, .free_pages = 10, .reserve_pages = 100};
	bool by_psi;
	ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), ARBITER_LOW);
	in.free_pages = 1000;
	static const enum arbiter_state then[] = {ARBITER_LOW,  ARBITER_LOW,  ARBITER_HARD, ARBITER_HARD, ARBITER_HARD,
						  ARBITER_SOFT, ARBITER_SOFT, ARBITER_SOFT, ARBITER_HIGH, ARBITER_HIGH};
	for (size_t i = 0; i < sizeof(then) / sizeof(then[0]); i++)
		ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), then[i]);
}
END_TEST

START_TEST(a_state_does_not_flutter_at_a_watermark)
{
	struct arbiter_state_memory m = {0};
	struct arbiter_state_input in = {.elapsed_ms = 1000, .reserve_pages = 1000};
	bool by_psi;
	for (unsigned i = 0; i < 100; i++) {
		in.free_pages = i % 2 ? 990 : 1010;
		ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), i == 0 ? ARBITER_HIGH : ARBITER_SOFT);
	}
}
END_TEST

START_TEST(pressure_of_the_host_counts_as_well_as_free_memory)
{
	struct arbiter_state_memory m = {0};
	struct arbiter_state_input in = {.elapsed_ms = 1, .free_pages = 1000, .reserve_pages = 10, .psi_some_permille = 100};
	bool by_psi = false;
	ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), ARBITER_SOFT);
	ck_assert(by_psi);
	in.psi_full_permille = 50;
	ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), ARBITER_HARD);
	in.psi_full_permille = 200;
	ck_assert_int_eq(arbiter_state_next(&m, &in, &by_psi), ARBITER_LOW);
}
END_TEST

START_TEST(a_large_host_keeps_a_smaller_part_free)
{
	ck_assert_uint_eq(arbiter_reserve_pages(100 * MIB, 0), 4 * MIB);
	ck_assert_uint_eq(arbiter_reserve_pages(100 * MIB, 10), 10 * MIB);
	ck_assert_uint_lt(arbiter_reserve_pages(1ull << 28, 0), (1ull << 28) / 50);
	ck_assert_uint_lt(arbiter_reserve_pages(UINT64_MAX, 0), UINT64_MAX / 50);
}
END_TEST

/* --- the whole --- */

static struct arbiter *made(size_t nr)
{
	struct arbiter *a = NULL;
	ck_assert_int_eq(arbiter_create(NULL, &a, NULL), 0);
	ck_assert_int_eq(arbiter_reserve(a, nr), 0);
	return a;
}

START_TEST(settings_and_guests_that_make_no_sense_are_refused)
{
	struct arbiter *a = made(2);
	struct arbiter_settings s = *arbiter_get_settings(a);
	struct error err = {0};
	s.idle_tax_percent = 100;
	ck_assert_int_eq(arbiter_configure(a, &s, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "idle-tax"));
	ck_assert_uint_eq(arbiter_get_settings(a)->idle_tax_percent, 75);
	ck_assert_int_eq(arbiter_reserve(a, ARBITER_MOST_GUESTS + 1), -EINVAL);
	struct arbiter_host host = {.budget_pages = 1000 * MIB, .free_pages = ARBITER_UNKNOWN};
	struct arbiter_guest guests[2] = {{.id = 2, .size_pages = MIB}, {.id = 2, .size_pages = MIB}};
	struct arbiter_guest_decision out[2];
	struct arbiter_decision d;
	ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), -EINVAL);
	ck_assert_int_eq(arbiter_decide(a, &host, guests, 1000, &d, out), -ENOSPC);
	ck_assert_int_eq(arbiter_decide(a, &host, NULL, 0, &d, NULL), 0);
	ck_assert_int_eq(d.state, ARBITER_HIGH);
	arbiter_destroy(a);
}
END_TEST

static uint64_t wild(uint64_t usual)
{
	switch (random_below(6)) {
	case 0:
		return UINT64_MAX - random_below(3);
	case 1:
		return 0;
	case 2:
		return random_bits();
	default:
		return random_below(usual);
	}
}

START_TEST(no_numbers_however_wild_break_minimums_or_sums)
{
	enum { MOST = 12 };
	struct arbiter *a = made(MOST);
	struct arbiter_guest guests[MOST];
	struct arbiter_guest_decision out[MOST];
	struct arbiter_decision d;
	char text[4096];
	random_start();
	for (int round = 0; round < 3000; round++) {
		struct arbiter_point curve[3];
		struct arbiter_host host = {.now_ns = wild(1ull << 40),
					    .budget_pages = wild(1 << 20),
					    .pool_pages = wild(1 << 18),
					    .starting_pages = random_below(4) ? 0 : wild(1 << 18),
					    .free_pages = wild(1 << 20),
					    .psi_some_permille = (unsigned)wild(1000),
					    .psi_full_permille = (unsigned)wild(1000)};
		size_t nr = random_below(MOST + 1);
		uint64_t id = 0;
		for (size_t i = 0; i < 3; i++)
			curve[i] = (struct arbiter_point){wild(1 << 16), random_below(8) ? (double)wild(5000) : NAN};
		for (size_t i = 0; i < nr; i++) {
			struct arbiter_guest *g = &guests[i];
			id += 1 + random_below(3);
			*g = (struct arbiter_guest){
				.id = id,
				.size_pages = wild(1 << 18),
				.min_pages = wild(1 << 14),
				.max_pages = wild(1 << 18),
				.shares = (uint32_t)wild(4000),
				.pinned = random_below(12) == 0,
				.no_swap = random_below(2),
				.has_stats = random_below(8) != 0,
				.used_pages = wild(1 << 18),
				.active_pages = wild(1 << 17),
				.stored_pages = wild(1 << 16),
				.stored_taken_pages = wild(1 << 15),
				.shared_pages = wild(1 << 16),
				.faults = wild(1 << 20),
				.stall_ns = wild(1ull << 40),
				.divergence_pages = wild(1 << 16),
				.has_balloon = random_below(4) != 0,
				.balloon_pages = wild(1 << 17),
				.guest_available_pages = wild(1 << 17),
				.guest_swap_ins = wild(1 << 20),
				.curve = random_below(2) ? curve : NULL,
				.nr_points = 3,
			};
		}
		ck_assert_int_eq(arbiter_decide(a, &host, guests, nr, &d, out), 0);
		for (size_t i = 0; i < nr; i++) {
			uint64_t least = guests[i].min_pages < guests[i].size_pages ? guests[i].min_pages : guests[i].size_pages;
			if (least > 1ull << 40)
				least = 1ull << 40;
			ck_assert_uint_ge(out[i].target_pages, 1);
			ck_assert_uint_ge(out[i].target_pages, least);
			ck_assert_uint_le(out[i].balloon_pages, guests[i].size_pages - least);
			ck_assert(guests[i].has_balloon || out[i].balloon_pages == 0);
			ck_assert(!out[i].swap_allowed || !guests[i].no_swap);
			arbiter_explain_guest(arbiter_get_settings(a), &d, &guests[i], &out[i], text, random_below(sizeof(text)));
		}
		ck_assert_uint_ge(d.again_ms, 250);
		arbiter_explain_host(arbiter_get_settings(a), &host, &d, text, sizeof(text));
	}
	arbiter_destroy(a);
}
END_TEST

START_TEST(a_decision_is_told_in_sentences_with_numbers)
{
	struct arbiter *a = made(2);
	struct arbiter_host host = {.now_ns = SECOND, .budget_pages = 600 * MIB, .free_pages = ARBITER_UNKNOWN};
	struct arbiter_guest guests[2] = {
		{.id = 1,
		 .size_pages = 512 * MIB,
		 .shares = 1000,
		 .has_stats = true,
		 .used_pages = 400 * MIB,
		 .active_pages = 50 * MIB},
		{.id = 2,
		 .size_pages = 512 * MIB,
		 .shares = 1000,
		 .has_stats = true,
		 .used_pages = 300 * MIB,
		 .active_pages = 300 * MIB},
	};
	struct arbiter_guest_decision out[2];
	struct arbiter_decision d;
	char text[2048], small[16];
	for (int i = 0; i < 20; i++) {
		host.now_ns += SECOND;
		ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), 0);
	}
	ck_assert_int_eq(out[0].why, ARBITER_TAXED);
	size_t len = arbiter_explain_guest(arbiter_get_settings(a), &d, &guests[0], &out[0], text, sizeof(text));
	ck_assert_uint_eq(len, strlen(text));
	ck_assert_ptr_nonnull(strstr(text, "It uses 400.0 MiB"));
	ck_assert_ptr_nonnull(strstr(text, "idle memory costs 4.0 times as much"));
	ck_assert_uint_eq(arbiter_explain_guest(arbiter_get_settings(a), &d, &guests[0], &out[0], small, sizeof(small)), len);
	ck_assert_uint_eq(strlen(small), sizeof(small) - 1);
	arbiter_explain_host(arbiter_get_settings(a), &host, &d, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "budget of 600.0 MiB"));
	ck_assert_ptr_null(strstr(text, "about to start"));
	host.starting_pages = 30 * MIB;
	arbiter_explain_host(arbiter_get_settings(a), &host, &d, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "30.0 MiB are for guests that are about to start"));
	arbiter_destroy(a);
}
END_TEST

START_TEST(a_guest_found_running_keeps_the_memory_that_it_has)
{
	struct arbiter *a = made(1);
	struct arbiter_host host = {.now_ns = SECOND, .budget_pages = 400 * MIB, .free_pages = ARBITER_UNKNOWN};
	struct arbiter_guest guest = {.id = 9, .size_pages = 512 * MIB, .shares = 1000, .has_stats = true, .used_pages = 370 * MIB};
	struct arbiter_guest_decision out;
	struct arbiter_decision d;
	ck_assert_int_eq(arbiter_decide(a, &host, &guest, 1, &d, &out), 0);
	ck_assert_uint_ge(out.target_pages, 370 * MIB);
	arbiter_destroy(a);
}
END_TEST

START_TEST(curves_are_read_between_their_points)
{
	static const struct arbiter_point curve[] = {{1000, 0}, {500, 100}, {100, 900}};
	ck_assert_double_eq(arbiter_curve_at(curve, 3, 2000), 0);
	ck_assert_double_eq(arbiter_curve_at(curve, 3, 750), 50);
	ck_assert_double_eq(arbiter_curve_at(curve, 3, 300), 500);
	ck_assert_double_eq(arbiter_curve_at(curve, 3, 10), 900);
}
END_TEST

/* --- demand --- */

/* Two looks at a guest a quarter of a second apart, and what is made of the second. */
static struct arbiter_work looked_at_twice(struct arbiter_past *p, const struct arbiter_guest looks[2])
{
	struct arbiter_work w;
	*p = (struct arbiter_past){.target = 100 * MIB};
	arbiter_demand(p, &looks[0], SECOND, 0.25, 0, 2, &w);
	arbiter_demand(p, &looks[1], SECOND + SECOND / 4, 0.25, 0, 2, &w);
	return w;
}

START_TEST(a_guest_that_grows_within_its_target_is_seen_to_grow)
{
	struct arbiter_past p;
	struct arbiter_guest looks[2];
	looks[0] = (struct arbiter_guest){.size_pages = 512 * MIB,
					  .has_stats = true,
					  .used_pages = 100 * MIB,
					  .active_pages = 90 * MIB,
					  .guest_available_pages = ARBITER_UNKNOWN,
					  .guest_swap_ins = ARBITER_UNKNOWN};
	looks[1] = looks[0];
	ck_assert_double_lt(looked_at_twice(&p, looks).want, 105 * MIB);
	/* It uses no more, but 30 MiB more have content: it has touched new pages, and its own were evicted for them. */
	looks[1].stored_pages = 40 * MIB;
	looks[1].stored_taken_pages = 10 * MIB;
	struct arbiter_work w = looked_at_twice(&p, looks);
	ck_assert_double_gt(w.want, 150 * MIB);
	ck_assert_double_gt(w.hot, 120 * MIB);
}
END_TEST

START_TEST(compressed_pages_are_in_use_only_when_they_come_back_all_the_time)
{
	struct arbiter_past p;
	struct arbiter_guest looks[2];
	looks[0] = (struct arbiter_guest){.size_pages = 512 * MIB,
					  .has_stats = true,
					  .used_pages = 100 * MIB,
					  .stored_pages = 90 * MIB,
					  .stored_taken_pages = 30 * MIB,
					  .guest_available_pages = ARBITER_UNKNOWN,
					  .guest_swap_ins = ARBITER_UNKNOWN};
	looks[1] = looks[0];
	ck_assert_double_le(looked_at_twice(&p, looks).hot, 70 * MIB);
	looks[1].faults = 20000;
	looks[1].stall_ns = SECOND;
	struct arbiter_work w = looked_at_twice(&p, looks);
	ck_assert(w.pressed && w.lately);
	ck_assert_double_ge(w.hot, 100 * MIB);
}
END_TEST

/* Each uses 470 MiB of a GiB, nearly. */
static void two_guests(struct arbiter_guest guests[2], uint64_t active_pages)
{
	for (uint64_t i = 0; i < 2; i++)
		guests[i] = (struct arbiter_guest){.id = i + 1,
						   .size_pages = 1000 * MIB,
						   .shares = 1000,
						   .has_stats = true,
						   .used_pages = 470 * MIB,
						   .active_pages = active_pages,
						   .guest_available_pages = ARBITER_UNKNOWN,
						   .guest_swap_ins = ARBITER_UNKNOWN};
}

START_TEST(guests_that_lack_memory_are_lent_of_the_reserve)
{
	struct arbiter *a = made(2);
	struct arbiter_host host = {.budget_pages = 1000 * MIB, .free_pages = ARBITER_UNKNOWN};
	struct arbiter_guest guests[2];
	struct arbiter_guest_decision out[2];
	struct arbiter_decision d;
	two_guests(guests, 470 * MIB);
	for (int i = 0; i < 8; i++) {
		host.now_ns += SECOND / 4;
		ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), 0);
		ck_assert_uint_le(out[0].goal_pages + out[1].goal_pages, d.supply_pages + 1);
		for (int g = 0; g < 2; g++)
			guests[g].used_pages = out[g].target_pages;
	}
	/* The first waits for its memory a good part of its time. */
	for (int i = 0; i < 8; i++) {
		host.now_ns += SECOND / 4;
		guests[0].faults += 4000;
		guests[0].stall_ns += SECOND / 8;
		ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), 0);
	}
	uint64_t goals = out[0].goal_pages + out[1].goal_pages;
	ck_assert_uint_gt(goals, d.supply_pages + d.reserve_pages / 8);
	ck_assert_uint_le(goals, 1000 * MIB - d.reserve_pages / 2 + 1);
	arbiter_destroy(a);
}
END_TEST

START_TEST(guests_give_what_one_takes_that_is_about_to_start)
{
	struct arbiter *a = made(2);
	struct arbiter_host host = {.budget_pages = 1000 * MIB, .free_pages = ARBITER_UNKNOWN};
	struct arbiter_guest guests[2];
	struct arbiter_guest_decision out[2];
	struct arbiter_decision d;
	two_guests(guests, 0);
	/* Nobody starts, one is about to, and it has started: what is kept for it is its own. */
	for (unsigned phase = 0; phase < 3; phase++) {
		host.starting_pages = phase == 1 ? 200 * MIB : 0;
		for (int i = 0; i < 40; i++) {
			host.now_ns += SECOND / 4;
			ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), 0);
			for (int g = 0; g < 2; g++)
				guests[g].used_pages = out[g].target_pages < 470 * MIB ? out[g].target_pages : 470 * MIB;
		}
		uint64_t used = guests[0].used_pages + guests[1].used_pages;
		ck_assert_uint_le(used, 1000 * MIB - host.starting_pages);
		ck_assert_uint_eq(d.supply_pages, 1000 * MIB - d.reserve_pages - d.reserve_pages / 4 - host.starting_pages);
		if (phase == 1)
			ck_assert_uint_eq(d.again_ms, 250);
		else
			ck_assert_uint_ge(used, 930 * MIB);
	}
	/* More than there is asks for all, and for no more. */
	host.starting_pages = UINT64_MAX;
	host.now_ns += SECOND;
	ck_assert_int_eq(arbiter_decide(a, &host, guests, 2, &d, out), 0);
	ck_assert_uint_eq(d.supply_pages, 0);
	arbiter_destroy(a);
}
END_TEST

/* --- admission --- */

START_TEST(a_guest_whose_minimum_does_not_fit_is_refused_with_what_would)
{
	struct arbiter_settings s;
	struct arbiter_host host = {.budget_pages = 1000 * MIB};
	struct arbiter_guest there = {.size_pages = 512 * MIB, .min_pages = 400 * MIB, .divergence_pages = 200 * MIB};
	struct arbiter_guest guest = {.size_pages = 512 * MIB, .min_pages = 256 * MIB};
	struct admission admission;
	struct error err = {0};
	arbiter_settings_init(&s);
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), 0);
	ck_assert_uint_eq(admission.divergence_pages, 50 * MIB);
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_LOW, &there, 1, &guest, &admission, &err), -EAGAIN);
	guest.min_pages = 512 * MIB;
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "would fit"));
	/* With no minimum at all it is not the minimum that is too large. */
	there.min_pages = 512 * MIB;
	there.divergence_pages = 0;
	host.budget_pages = 540 * MIB;
	guest.min_pages = 0;
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "the least that any guest is promised"));
	ck_assert_ptr_null(strstr(err.text, "would fit"));
	there.min_pages = 400 * MIB;
	there.divergence_pages = 200 * MIB;
	host.budget_pages = 1000 * MIB;
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), 0);
	guest.min_pages = admission.left_pages - admission_overhead_pages(guest.size_pages);
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), 0);
	guest.min_pages = 513 * MIB;
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), -EINVAL);
	there.pinned = guest.pinned = true;
	guest.min_pages = 0;
	ck_assert_int_eq(admission_check(&s, &host, ARBITER_HIGH, &there, 1, &guest, &admission, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "pinned"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arbiter");
	TCase *tc = tcase_create("arbiter");
	tcase_add_test(tc, idle_pages_cost_what_the_tax_says);
	tcase_add_test(tc, of_two_guests_with_equal_shares_the_idle_one_pays);
	tcase_add_test(tc, division_is_fair_within_bounds_whatever_the_numbers);
	tcase_add_test(tc, a_state_gets_worse_at_once_and_better_step_by_step);
	tcase_add_test(tc, a_state_does_not_flutter_at_a_watermark);
	tcase_add_test(tc, pressure_of_the_host_counts_as_well_as_free_memory);
	tcase_add_test(tc, a_large_host_keeps_a_smaller_part_free);
	tcase_add_test(tc, settings_and_guests_that_make_no_sense_are_refused);
	tcase_add_test(tc, no_numbers_however_wild_break_minimums_or_sums);
	tcase_add_test(tc, a_decision_is_told_in_sentences_with_numbers);
	tcase_add_test(tc, a_guest_found_running_keeps_the_memory_that_it_has);
	tcase_add_test(tc, curves_are_read_between_their_points);
	tcase_add_test(tc, a_guest_that_grows_within_its_target_is_seen_to_grow);
	tcase_add_test(tc, compressed_pages_are_in_use_only_when_they_come_back_all_the_time);
	tcase_add_test(tc, guests_that_lack_memory_are_lent_of_the_reserve);
	tcase_add_test(tc, guests_give_what_one_takes_that_is_about_to_start);
	tcase_add_test(tc, a_guest_whose_minimum_does_not_fit_is_refused_with_what_would);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
