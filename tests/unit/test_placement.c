/* Where new guests go, over hosts of up to 8 nodes and 1,000 guests, beside a plain model of what fits; and the words for the VMM. */
#include "tests/unit/placement_host.h"

#include <stdio.h>

#include "host/placement_words.h"
#include "tests/unit/suite.h"
#include "vmm/config.h"

static void place(struct placement_guest guest)
{
	struct error err;
	int ret = placement_choose(&host, &settings, &guest, NULL, 0, &guest.at, &err);
	ck_assert_msg(ret == 0, "%s", err.text);
	check_placement(&guest, &guest.at);
	guests[host.nr_guests++] = guest;
}

static const struct placement *last(void)
{
	return &guests[host.nr_guests - 1].at;
}

START_TEST(guests_go_where_there_is_most_room)
{
	add_node(8 * GIB_PAGES, 8);
	add_node(16 * GIB_PAGES, 16);
	for (unsigned i = 0; i < 12; i++)
		place(plain_guest(GIB_PAGES, 1));
	unsigned on_first = 0;
	for (unsigned i = 0; i < 12; i++) {
		ck_assert_uint_eq(guests[i].at.nr_vnodes, 1);
		on_first += guests[i].at.vnodes[0].node == 0;
	}
	/* A third of the memory, a third of the guests. */
	ck_assert_uint_eq(on_first, 4);
}
END_TEST

START_TEST(a_guest_goes_near_those_that_it_shares_with)
{
	struct placement p;
	for (unsigned i = 0; i < 4; i++)
		add_node(16 * GIB_PAGES, 16);
	set_distance(2, 3, 12);
	guests[0] = plain_guest(2 * GIB_PAGES, 2);
	guests[0].at = (struct placement){.nr_vnodes = 1, .vnodes = {{.node = 2, .nr_pages = 2 * GIB_PAGES, .nr_vcpus = 2}}};
	host.nr_guests = 1;
	struct placement_guest guest = plain_guest(2 * GIB_PAGES, 2);
	struct placement_sharing with = {.a = 0, .nr_pages = GIB_PAGES};
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, NULL), 0);
	ck_assert_uint_eq(p.vnodes[0].node, 0);
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, &with, 1, &p, NULL), 0);
	ck_assert_uint_eq(p.vnodes[0].node, 2);
	/* That node is full: then its neighbour. */
	topology.nodes[2].nr_pages = 3 * GIB_PAGES;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, &with, 1, &p, NULL), 0);
	ck_assert_uint_eq(p.vnodes[0].node, 3);
	/* Who shares with a guest that is not there shares with nobody. */
	with.a = 77;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, &with, 1, &p, NULL), 0);
	ck_assert_uint_eq(p.vnodes[0].node, 0);
}
END_TEST

START_TEST(a_guest_larger_than_a_node_gets_virtual_nodes_near_each_other)
{
	for (unsigned i = 0; i < 4; i++)
		add_node(16 * GIB_PAGES, 8);
	set_distance(1, 3, 12);
	place(plain_guest(24 * GIB_PAGES, 6));
	ck_assert_uint_eq(last()->nr_vnodes, 2);
	ck_assert_uint_eq(last()->vnodes[0].node, 1);
	ck_assert_uint_eq(last()->vnodes[1].node, 3);
	for (unsigned v = 0; v < 2; v++) {
		ck_assert_uint_eq(last()->vnodes[v].nr_pages, 12 * GIB_PAGES);
		ck_assert_uint_eq(last()->vnodes[v].nr_vcpus, 3);
	}
	ck_assert(!last()->overfull);
	/* More vCPUs than a node has CPUs: as well. */
	place(plain_guest(GIB_PAGES, 12));
	ck_assert_uint_eq(last()->nr_vnodes, 2);
	ck_assert_uint_le(last()->vnodes[0].nr_vcpus, 8);
	ck_assert_uint_le(last()->vnodes[1].nr_vcpus, 8);
	/* More than the host has: no reason to split it. */
	place(plain_guest(GIB_PAGES, 200));
	ck_assert_uint_eq(last()->nr_vnodes, 1);
}
END_TEST

START_TEST(pinned_guests_go_where_they_may)
{
	struct error err;
	struct placement p;
	for (unsigned i = 0; i < 4; i++)
		add_node((i + 1) * 8 * GIB_PAGES, 8);
	topology.nodes[3].id = 9;
	struct placement_guest guest = plain_guest(GIB_PAGES, 1);
	for (unsigned i = 0; i < 3; i++) {
		guest.nodes = 1ull << i | 1ull << 40;
		ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, &err), 0);
		ck_assert_uint_eq(p.vnodes[0].node, i);
	}
	guest.nodes = 1ull << 9;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, &err), 0);
	ck_assert_uint_eq(p.vnodes[0].node, 3);
	guest.nodes = 1ull << 3;
	p.nr_vnodes = 77;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "pinned"));
	guest.nodes = 0;
	guest.nr_pages = 0;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, &err), -EINVAL);
	guest.nr_pages = 1;
	settings.reserve_percent = 100;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "reserve"));
	ck_assert_uint_eq(p.nr_vnodes, 77);
}
END_TEST

START_TEST(memory_under_way_takes_room_at_both_ends)
{
	struct placement p;
	add_node(10 * GIB_PAGES, 8);
	add_node(10 * GIB_PAGES, 8);
	guests[0] = plain_guest(6 * GIB_PAGES, 1);
	guests[0].at = (struct placement){.nr_vnodes = 1, .vnodes = {{.node = 1, .nr_pages = 6 * GIB_PAGES, .nr_vcpus = 1}}};
	guests[0].behind_pages = 5 * GIB_PAGES;
	guests[0].behind_node = 0;
	host.nr_guests = 1;
	struct placement_guest guest = plain_guest(4 * GIB_PAGES + GIB_PAGES * 3 / 4, 1);
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, NULL), 0);
	ck_assert_uint_eq(p.nr_vnodes, 2);
	guests[0].behind_pages = 0;
	ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &p, NULL), 0);
	ck_assert_uint_eq(p.nr_vnodes, 1);
	ck_assert_uint_eq(p.vnodes[0].node, 0);
}
END_TEST

/* Adds guests until a quarter more than the host's memory is asked for. Each answer is held against what the model says fits. */
START_TEST(no_node_is_overfilled_while_a_guest_fits)
{
	uint64_t before[TOPOLOGY_MOST_NODES], after[TOPOLOGY_MOST_NODES];
	unsigned nr_single = 0, nr_split = 0, nr_overfull = 0;
	random_start();
	for (unsigned round = 0; round < 30; round++) {
		set_up();
		random_topology(8);
		uint64_t all = 0, asked = 0;
		for (unsigned n = 0; n < topology.nr_nodes; n++)
			all += topology.nodes[n].nr_pages;
		uint64_t largest = random_below(3) ? all / 100 + 1 : all / 3 + 1;
		while (asked < all + all / 4 && host.nr_guests < MOST_GUESTS) {
			uint64_t room = 0, most_room = 0, capacity = 0;
			struct placement_guest guest = random_guest(largest);
			model_load(before);
			bool one_fits = false;
			for (unsigned n = 0; n < topology.nr_nodes; n++) {
				uint64_t here = before[n] < most_of(n) ? most_of(n) - before[n] : 0;
				/* What a node can take of its RAM, at its share of the demand. */
				uint64_t limit =
					here >= guest.demand_pages
						? guest.nr_pages
						: (uint64_t)((unsigned __int128)guest.nr_pages * here / guest.demand_pages);
				limit = limit < most_of(n) ? limit : most_of(n);
				room += limit;
				most_room = limit > most_room ? limit : most_room;
				capacity += most_of(n);
				one_fits |= limit >= guest.nr_pages && topology.nodes[n].nr_cpus >= guest.nr_vcpus;
			}
			place(guest);
			model_load(after);
			const struct placement *p = last();
			if (capacity >= guest.nr_pages)
				ck_assert_msg(p->overfull == (room < guest.nr_pages), "a guest of %llu pages, room for %llu",
					      (unsigned long long)guest.nr_pages, (unsigned long long)room);
			if (one_fits)
				ck_assert_uint_eq(p->nr_vnodes, 1);
			for (unsigned n = 0; n < topology.nr_nodes && !p->overfull; n++)
				ck_assert(after[n] == before[n] || after[n] <= most_of(n));
			nr_single += p->nr_vnodes == 1;
			nr_split += p->nr_vnodes > 1;
			nr_overfull += p->overfull;
			asked += guest.demand_pages;
		}
	}
	printf("%u guests on one node, %u on several, %u overfull\n", nr_single, nr_split, nr_overfull);
	ck_assert_uint_gt(nr_single, 0);
	ck_assert_uint_gt(nr_split, 0);
	ck_assert_uint_gt(nr_overfull, 0);
}
END_TEST

START_TEST(hosts_of_64_nodes_and_odd_ones_work)
{
	random_start();
	for (unsigned round = 0; round < 20; round++) {
		set_up();
		random_topology(64);
		for (unsigned n = 0; n < topology.nr_nodes; n++) {
			if (random_below(4) == 0)
				topology.nodes[n].nr_pages = 0;
			if (random_below(4) == 0)
				topology.nodes[n].nr_cpus = 0;
		}
		topology.nodes[0].nr_pages += GIB_PAGES;
		for (unsigned g = 0; g < 100; g++)
			place(random_guest(100 * GIB_PAGES));
		for (unsigned g = 0; g < 100; g++)
			for (unsigned v = 0; v < guests[g].at.nr_vnodes; v++)
				ck_assert_uint_gt(topology.nodes[guests[g].at.vnodes[v].node].nr_pages, 0);
	}
}
END_TEST

START_TEST(the_same_numbers_give_the_same_answer)
{
	random_start();
	random_topology(8);
	for (unsigned g = 0; g < 300; g++) {
		struct placement again;
		struct placement_guest guest = random_guest(GIB_PAGES);
		place(guest);
		host.nr_guests--;
		ck_assert_int_eq(placement_choose(&host, &settings, &guest, NULL, 0, &again, NULL), 0);
		host.nr_guests++;
		ck_assert_mem_eq(&again, last(), sizeof(again));
	}
}
END_TEST

/* --- the words --- */

static int parse(const struct placement_guest *guest, const struct placement_words *words, struct config *config, struct error *err)
{
	char memory[32], cpus[16];
	char *argv[160] = {(char *)"pagoda-vmm", (char *)"-kernel", (char *)"k", (char *)"-m", memory, (char *)"-smp", cpus};
	int argc = 7;
	bool done;
	snprintf(memory, sizeof(memory), "%lluK", (unsigned long long)guest->nr_pages * 4);
	snprintf(cpus, sizeof(cpus), "%u", guest->nr_vcpus);
	for (unsigned i = 0; i < words->nr; i++)
		argv[argc++] = words->words[i];
	return config_parse(argc, argv, config, &done, err);
}

START_TEST(the_vmm_understands_the_words)
{
	static struct config config;
	unsigned nr_split = 0;
	random_start();
	for (unsigned round = 0; round < 100; round++) {
		struct error err;
		struct placement_words words;
		set_up();
		random_topology(8);
		struct placement_guest guest = random_guest(200 * GIB_PAGES);
		guest.nr_pages = (guest.nr_pages + 256) & ~255ull; /* -m: whole MiB */
		guest.nr_vcpus = 1 + (unsigned)random_below(255);
		place(guest);
		ck_assert_int_eq(placement_words_make(&topology, last(), &words), 0);
		ck_assert_ptr_null(words.words[words.nr]);
		ck_assert_msg(parse(&guest, &words, &config, &err) == 0, "%s", err.text);
		unsigned nr = last()->nr_vnodes;
		if (nr == 1) {
			ck_assert_uint_eq(config.nr_nodes, 0);
			ck_assert_uint_eq(config.binding.host_nodes, 1ull << topology.nodes[last()->vnodes[0].node].id);
			ck_assert_int_eq(config.binding.policy, CONFIG_POLICY_PREFERRED);
		} else {
			ck_assert_uint_eq(config.nr_nodes, nr);
			nr_split++;
		}
		for (unsigned v = 0; v < config.nr_nodes; v++) {
			const struct config_node *node = &config.nodes[v];
			const struct placement_vnode *vnode = &last()->vnodes[v];
			ck_assert_uint_eq(node->memory_bytes, vnode->nr_pages * 4096);
			ck_assert_uint_eq(node->binding.host_nodes, 1ull << topology.nodes[vnode->node].id);
			ck_assert_int_eq(node->binding.policy, CONFIG_POLICY_PREFERRED);
			for (unsigned cpu = 0; cpu < guest.nr_vcpus; cpu++)
				ck_assert_int_eq(node->cpus[cpu / 64] >> (cpu % 64) & 1,
						 placement_vcpu_node(last(), cpu) == (int)v);
			for (unsigned to = 0; to < nr; to++)
				ck_assert_uint_eq(node->distance[to],
						  topology.nodes[vnode->node].distance[last()->vnodes[to].node]);
		}
		config_free(&config);
		placement_words_free(&words);
	}
	ck_assert_uint_gt(nr_split, 0);
}
END_TEST

START_TEST(without_memory_there_are_no_words)
{
	struct placement_words words;
	add_node(GIB_PAGES, 1);
	add_node(GIB_PAGES, 1);
	place(plain_guest(GIB_PAGES, 2));
	for (calls_left = 0; calls_left < 12; calls_left++) {
		long left = calls_left;
		ck_assert_int_eq(placement_words_make(&topology, last(), &words), -ENOMEM);
		ck_assert_uint_eq(words.nr, 0);
		ck_assert_int_eq(live, 0);
		calls_left = left;
	}
	ck_assert_int_eq(placement_words_make(&topology, last(), &words), 0);
	ck_assert_uint_eq(words.nr, 12);
	placement_words_free(&words);
	ck_assert_int_eq(live, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("placement");
	TCase *tests = tcase_create("placement");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, guests_go_where_there_is_most_room);
	tcase_add_test(tests, a_guest_goes_near_those_that_it_shares_with);
	tcase_add_test(tests, a_guest_larger_than_a_node_gets_virtual_nodes_near_each_other);
	tcase_add_test(tests, pinned_guests_go_where_they_may);
	tcase_add_test(tests, memory_under_way_takes_room_at_both_ends);
	tcase_add_test(tests, no_node_is_overfilled_while_a_guest_fits);
	tcase_add_test(tests, hosts_of_64_nodes_and_odd_ones_work);
	tcase_add_test(tests, the_same_numbers_give_the_same_answer);
	tcase_add_test(tests, the_vmm_understands_the_words);
	tcase_add_test(tests, without_memory_there_are_no_words);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
