/* Which guests move: over hosts of up to 8 nodes and 1,000 guests whose demands change, moves gain, come to an end, and are not undone. */
#include "tests/unit/placement_host.h"
#include "tests/unit/suite.h"

#include <stdio.h>

static uint64_t now_ms;

static void put(struct placement_guest guest, unsigned node)
{
	guest.at = (struct placement){.nr_vnodes = 1,
				      .vnodes = {{.node = node, .nr_pages = guest.nr_pages, .nr_vcpus = guest.nr_vcpus}}};
	guests[host.nr_guests++] = guest;
}

static int rebalance(struct placement_move *moves, size_t most)
{
	return placement_rebalance(&host, &settings, now_ms, moves, most);
}

static void make(const struct placement_move *move)
{
	ck_assert_uint_eq(guests[move->guest].at.vnodes[move->vnode].node, move->from);
	guests[move->guest].at.vnodes[move->vnode].node = move->to;
	guests[move->guest].since_ms = now_ms;
}

/* Moves until nothing moves. Returns how many moves it took; each must lower badness, and keep what must hold. */
static unsigned settle(void)
{
	struct placement_move move;
	uint64_t pages[TOPOLOGY_MOST_NODES];
	unsigned nr = 0;
	double mean = 0, badness = placement_badness(&host, &settings);
	for (unsigned n = 0; n < topology.nr_nodes; n++)
		mean += (double)most_of(n) / topology.nr_nodes;
	double least = mean * settings.least_gain_permille / 1000, first = badness;
	for (now_ms += settings.rest_ms; rebalance(&move, 1) == 1; now_ms += settings.rest_ms, nr++) {
		ck_assert(!guests[move.guest].fixed);
		make(&move);
		double after = placement_badness(&host, &settings);
		ck_assert_msg(badness - after > least, "a move gained %f, from %f", badness - after, badness);
		badness = after;
		model_load(pages);
		ck_assert_uint_le(pages[move.to], most_of(move.to));
		const struct placement_guest *g = &guests[move.guest];
		ck_assert(!g->nodes || g->nodes >> topology.nodes[move.to].id & 1);
		check_placement(g, &g->at);
		ck_assert_uint_le(nr, (uint64_t)(first / least));
	}
	return nr;
}

START_TEST(nothing_moves_while_all_nodes_are_comfortable)
{
	struct placement_move move;
	add_node(100 * GIB_PAGES, 16);
	add_node(100 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 60; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	now_ms = 1000000;
	ck_assert_int_eq(rebalance(&move, 1), 0);
	for (unsigned i = 0; i < 30; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	ck_assert_int_eq(rebalance(&move, 1), 1);
	ck_assert_uint_eq(move.from, 0);
	ck_assert_uint_eq(move.to, 1);
	ck_assert_uint_gt(move.gain_pages, 0);
}
END_TEST

START_TEST(a_busy_node_is_relieved_of_vcpus)
{
	struct placement_move move;
	add_node(100 * GIB_PAGES, 8);
	add_node(100 * GIB_PAGES, 8);
	struct placement_guest guest = plain_guest(GIB_PAGES, 4);
	guest.vcpu_permille = 1000;
	for (unsigned i = 0; i < 4; i++)
		put(guest, 0);
	now_ms = 1000000;
	ck_assert_int_eq(rebalance(&move, 1), 1);
	make(&move);
	settle();
	unsigned on_first = 0;
	for (unsigned i = 0; i < 4; i++)
		on_first += guests[i].at.vnodes[0].node == 0;
	ck_assert_uint_eq(on_first, 2);
}
END_TEST

START_TEST(sharers_come_together_if_that_outweighs_the_move)
{
	struct placement_move move;
	add_node(100 * GIB_PAGES, 16);
	add_node(100 * GIB_PAGES, 16);
	put(plain_guest(4 * GIB_PAGES, 1), 0);
	put(plain_guest(4 * GIB_PAGES, 1), 1);
	now_ms = 1000000;
	sharing[0] = (struct placement_sharing){0, 1, GIB_PAGES / 3};
	host.nr_sharing = 1;
	ck_assert_int_eq(rebalance(&move, 1), 0);
	sharing[0].nr_pages = 2 * GIB_PAGES;
	ck_assert_int_eq(rebalance(&move, 1), 1);
	make(&move);
	ck_assert_uint_eq(settle(), 0);
	ck_assert_uint_eq(guests[0].at.vnodes[0].node, guests[1].at.vnodes[0].node);
	/* Pairs that are none, or of guests that are not there. */
	sharing[0] = (struct placement_sharing){0, 77, GIB_PAGES};
	sharing[1] = (struct placement_sharing){1, 1, GIB_PAGES};
	host.nr_sharing = 2;
	ck_assert_int_eq(rebalance(&move, 1), 0);
}
END_TEST

START_TEST(fixed_guests_stay_and_pinned_ones_keep_to_their_nodes)
{
	struct placement_move move;
	for (unsigned i = 0; i < 3; i++)
		add_node(10 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 9; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	for (unsigned i = 0; i < 9; i++)
		guests[i].fixed = true;
	now_ms = 1000000;
	ck_assert_int_eq(rebalance(&move, 1), 0);
	guests[7].fixed = false;
	guests[7].nodes = 1ull << 0 | 1ull << 2;
	ck_assert_int_eq(rebalance(&move, 1), 1);
	ck_assert_uint_eq(move.guest, 7);
	ck_assert_uint_eq(move.to, 2);
	guests[7].nodes = 1;
	ck_assert_int_eq(rebalance(&move, 1), 0);
	/* The user pins it elsewhere: it goes there, although nothing else speaks for it. */
	host.nr_guests = 0;
	put(plain_guest(GIB_PAGES, 1), 0);
	guests[0].nodes = 1 << 1;
	ck_assert_int_eq(rebalance(&move, 1), 1);
	ck_assert_uint_eq(move.to, 1);
	make(&move);
	ck_assert_uint_eq(settle(), 0);
}
END_TEST

START_TEST(moves_are_few_at_a_time_and_share_the_rate)
{
	struct placement_move moves[8];
	settings.most_moving = 3;
	settings.pages_per_second = 900;
	add_node(10 * GIB_PAGES, 16);
	add_node(100 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 12; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	now_ms = 1000000;
	int nr = rebalance(moves, 8);
	ck_assert_int_eq(nr, 3);
	for (int i = 0; i < nr; i++) {
		ck_assert_uint_eq(moves[i].pages_per_second, 300);
		ck_assert(i == 0 || moves[i].guest != moves[i - 1].guest);
	}
	make(&moves[0]);
	guests[moves[0].guest].behind_pages = 1;
	ck_assert_int_eq(rebalance(moves, 8), 2);
	ck_assert_int_eq(rebalance(moves, 1), 1);
	for (unsigned i = 0; i < 3; i++)
		guests[i].behind_pages = 1;
	ck_assert_int_eq(rebalance(moves, 8), 0);
	settings.most_moving = 0;
	ck_assert_int_eq(rebalance(moves, 8), 0);
}
END_TEST

/* What moves away already is not moved away once more. */
START_TEST(a_node_is_not_relieved_twice_of_the_same_load)
{
	struct placement_move moves[8];
	settings.most_moving = 8;
	add_node(10 * GIB_PAGES, 16);
	add_node(100 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 8; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	now_ms = 1000000;
	int nr = rebalance(moves, 8);
	ck_assert_int_eq(nr, 1);
	make(&moves[0]);
	guests[moves[0].guest].behind_node = 0;
	guests[moves[0].guest].behind_pages = GIB_PAGES;
	ck_assert_int_eq(rebalance(moves, 8), 0);
}
END_TEST

START_TEST(who_came_rests)
{
	struct placement_move move;
	add_node(10 * GIB_PAGES, 16);
	add_node(10 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 9; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	for (unsigned i = 0; i < 9; i++)
		guests[i].since_ms = 5000;
	now_ms = 5000 + settings.rest_ms - 1;
	ck_assert_int_eq(rebalance(&move, 1), 0);
	now_ms = 4999; /* a clock that jumped */
	ck_assert_int_eq(rebalance(&move, 1), 0);
	now_ms = 5000 + settings.rest_ms;
	ck_assert_int_eq(rebalance(&move, 1), 1);
}
END_TEST

static void random_guests(unsigned nr)
{
	uint64_t all = 0;
	for (unsigned n = 0; n < topology.nr_nodes; n++)
		all += topology.nodes[n].nr_pages;
	for (unsigned i = 0; i < nr; i++) {
		struct placement_guest guest = random_guest(2 * all / nr + 1);
		guest.fixed = random_below(10) == 0;
		guest.nodes = 0;
		for (unsigned n = random_below(10) == 0 ? 2 : 0; n; n--)
			guest.nodes |= 1ull << random_below(topology.nr_nodes);
		if (random_below(2)) {
			ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &guest.at, NULL), 0);
			guests[host.nr_guests++] = guest;
		} else {
			put(guest, (unsigned)random_below(topology.nr_nodes));
		}
	}
	host.nr_sharing = nr;
	for (unsigned i = 0; i < nr; i++) {
		sharing[i] = (struct placement_sharing){(uint32_t)random_below(nr), (uint32_t)random_below(nr), 0};
		uint64_t a = guests[sharing[i].a].nr_pages, b = guests[sharing[i].b].nr_pages;
		sharing[i].nr_pages = random_below((a < b ? a : b) + 1);
	}
}

START_TEST(moves_gain_and_come_to_an_end)
{
	unsigned moves = 0, again = 0;
	double before = 0, after = 0;
	random_start();
	for (unsigned round = 0; round < 12; round++) {
		set_up();
		random_topology(8);
		random_guests(round == 0 ? MOST_GUESTS : 5 + (unsigned)random_below(100));
		before += placement_badness(&host, &settings);
		moves += settle();
		after += placement_badness(&host, &settings);
		/* Demands that go up and down a little, as they do. */
		for (unsigned g = 0; g < host.nr_guests; g++) {
			uint64_t demand = guests[g].demand_pages, change = demand / 200;
			demand += random_below(2 * change + 1) - change;
			guests[g].demand_pages = demand > guests[g].nr_pages ? guests[g].nr_pages : demand ? demand : 1;
		}
		again += settle();
	}
	printf("%u moves; badness %.0f MiB before, %.0f after; %u moves more after demands changed by 0.5 %%\n", moves,
	       before / MIB_PAGES, after / MIB_PAGES, again);
	ck_assert_uint_gt(moves, 0);
	ck_assert(after < before);
	ck_assert_uint_lt(again, moves / 4 + 1);
}
END_TEST

/* A load that swings between two guests faster than a guest rests: each moves once in a rest at most. */
START_TEST(a_swinging_load_makes_no_guest_commute)
{
	struct placement_move move;
	unsigned moves = 0;
	add_node(10 * GIB_PAGES, 16);
	add_node(10 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 12; i++)
		put(plain_guest(2 * GIB_PAGES, 1), i % 2);
	for (now_ms = settings.rest_ms; now_ms < settings.rest_ms + 3600000; now_ms += 5000) {
		bool high = now_ms / 30000 % 2;
		for (unsigned i = 0; i < 12; i++)
			guests[i].demand_pages = GIB_PAGES * (i % 2 == (unsigned)high ? 31 : 18) / 20;
		if (rebalance(&move, 1) != 1)
			continue;
		ck_assert_uint_ge(now_ms - guests[move.guest].since_ms, settings.rest_ms);
		make(&move);
		moves++;
	}
	printf("%u moves in an hour\n", moves);
	ck_assert_uint_le(moves, 4);
}
END_TEST

START_TEST(the_same_numbers_move_the_same_guests)
{
	struct placement_move moves[10] = {{0}}, again[10] = {{0}};
	random_start();
	random_topology(8);
	while (topology.nr_nodes < 2)
		random_topology(8);
	random_guests(300);
	settings.most_moving = 10;
	now_ms = 1000000;
	int nr = rebalance(moves, 10);
	ck_assert_int_eq(rebalance(again, 10), nr);
	ck_assert_mem_eq(moves, again, sizeof(moves));
}
END_TEST

START_TEST(without_memory_nothing_is_decided)
{
	struct placement_move move;
	add_node(10 * GIB_PAGES, 16);
	add_node(10 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 9; i++)
		put(plain_guest(GIB_PAGES, 1), 0);
	now_ms = 1000000;
	for (long left = 0; left < 2; left++) {
		calls_left = left;
		int ret = rebalance(&move, 1);
		calls_left = -1;
		ck_assert_int_eq(ret, -ENOMEM);
		ck_assert_int_eq(live, 0);
	}
	ck_assert_int_eq(rebalance(&move, 1), 1);
	/* Nor without guests. */
	host.nr_guests = 0;
	ck_assert_int_eq(rebalance(&move, 1), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("placement_balance");
	TCase *tests = tcase_create("placement_balance");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, nothing_moves_while_all_nodes_are_comfortable);
	tcase_add_test(tests, a_busy_node_is_relieved_of_vcpus);
	tcase_add_test(tests, sharers_come_together_if_that_outweighs_the_move);
	tcase_add_test(tests, fixed_guests_stay_and_pinned_ones_keep_to_their_nodes);
	tcase_add_test(tests, moves_are_few_at_a_time_and_share_the_rate);
	tcase_add_test(tests, a_node_is_not_relieved_twice_of_the_same_load);
	tcase_add_test(tests, who_came_rests);
	tcase_add_test(tests, moves_gain_and_come_to_an_end);
	tcase_add_test(tests, a_swinging_load_makes_no_guest_commute);
	tcase_add_test(tests, the_same_numbers_move_the_same_guests);
	tcase_add_test(tests, without_memory_nothing_is_decided);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
