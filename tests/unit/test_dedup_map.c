/*
 * The sharing map as other parts of the daemon ask for it: a service in this process, its loop driven by hand, and guests that are processes (dedup_guest.h). What
 * must come out is known from what the guests say of themselves.
 */
#include "tests/unit/pagodad_process.h"

#include <ev.h>
#include <time.h>

#include "base/log.h"
#include "host/dedup_map.h"
#include "host/dedup_server.h"
#include "host/placement_sharers.h"
#include "tests/unit/dedup_doors.h"
#include "tests/unit/dedup_guest.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { GUESTS = 4, KINDS = 300 };

static struct ev_loop *loop;
static struct dedup_server *server;
static struct guest_talk *talks;
static pid_t guests[GUESTS];
static unsigned nr_done;
static struct dedup_map *done_last;

static void on_tick(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)l, (void)w, (void)revents;
}

static void turn(void)
{
	static ev_timer tick;
	ev_timer_init(&tick, on_tick, .005, 0.);
	ev_timer_start(loop, &tick);
	ev_run(loop, EVRUN_ONCE);
	ev_timer_stop(loop, &tick);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs the service until the condition holds, for twenty seconds at most. */
#define RUN_UNTIL(condition)                                                 \
	do {                                                                 \
		double end_ = now() + 20;                                    \
		while (!(condition) && now() < end_)                         \
			turn();                                              \
		ck_assert_msg(condition, "never: " #condition); /* NOLINT */ \
	} while (0)

static bool all_at_rest(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i] > 0 && !talks[i].at_rest)
			return false;
	return true;
}

static uint32_t mapped(unsigned from, unsigned to)
{
	uint32_t sum = 0;
	for (unsigned i = from; i < to; i++)
		sum += talks[i].mapped;
	return sum;
}

static uint64_t references(void)
{
	struct dedup_map_guest guest;
	uint64_t sum = 0;
	for (uint32_t at = 0; dedup_map_next_guest(server, &at, &guest);)
		sum += guest.references;
	return sum;
}

static void start_service(void)
{
	struct host_options options = {.socket = pagodad_socket,
				       .state = pagodad_state,
				       .index_limit = 8 << 20,
				       .pool_limit = 64 << 20,
				       .guest_limit = 1ull << 30,
				       .merge_across_nodes = true};
	struct error err;
	ck_assert_int_eq(dedup_server_create(loop, &options, &server, &err), 0);
}

/* Three guests in one domain, one in another; they share for a while, and come to rest. */
static void set_up(void)
{
	random_start();
	pagodad_set_up();
	log_open("daemon", LOG_LEVEL_ERROR);
	loop = ev_loop_new(0);
	ck_assert_ptr_nonnull(loop);
	start_service();
	nr_done = 0;
	talks = guest_talks(GUESTS);
	for (unsigned i = 0; i < GUESTS; i++) {
		uint64_t seed = random_bits();
		guests[i] = fork();
		ck_assert_int_ge(guests[i], 0);
		if (guests[i] == 0)
			guest_live(pagodad_socket, i < 3 ? "acme" : "other", &talks[i], seed, KINDS);
	}
	RUN_UNTIL(talks[0].mapped > 400 && talks[1].mapped > 400 && talks[2].mapped > 400 && talks[3].mapped > 100);
	for (unsigned i = 0; i < GUESTS; i++)
		talks[i].rest = true;
	RUN_UNTIL(all_at_rest() && references() == mapped(0, GUESTS));
}

static void kill_guest(unsigned i)
{
	int status;
	kill(guests[i], SIGKILL);
	waitpid(guests[i], &status, 0);
	guests[i] = 0;
}

static void tear_down(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i] > 0)
			kill_guest(i);
	dedup_server_destroy(server);
	ev_loop_destroy(loop);
	pagodad_tear_down();
}

static void on_done(struct dedup_map *map)
{
	nr_done++;
	done_last = map;
}

/* The answer for the guests of that name. */
static void ask(struct dedup_map *map, const char *name)
{
	struct error err;
	unsigned before = nr_done;
	ck_assert_int_eq(dedup_map_open(server, map), 0);
	ck_assert_int_eq(dedup_map_add_guest(map, name, &err), 0);
	dedup_map_start(map, on_done);
	RUN_UNTIL(nr_done == before + 1);
	ck_assert_ptr_eq(done_last, map);
}

static void name_of(unsigned i, char name[64])
{
	snprintf(name, 64, "guest-%d", (int)guests[i]);
}

START_TEST(the_map_of_all_guests_has_every_page_that_maps_a_slot)
{
	struct dedup_map map;
	ask(&map, "");
	const struct sharing *s = dedup_map_result(&map);
	ck_assert_uint_eq(s->pages, mapped(0, GUESTS));
	ck_assert_uint_eq(s->saved, s->pages - s->slots);
	/* Everybody is asked about: nobody is left to share with, and all slots go when all pages are written. */
	ck_assert_uint_eq(s->across, 0);
	ck_assert_uint_eq(s->divergence, s->saved);
	dedup_map_close(&map);
}
END_TEST

/* What placement is told of these VMMs, once all have had their turn. */
static struct placement_sharing *pairs(struct placement_sharers *sharers, double *at, size_t *nr)
{
	for (unsigned i = 0; i < 2 * GUESTS; i++) {
		placement_sharers_tick(sharers, *at += PLACEMENT_SHARERS_S);
		RUN_UNTIL(!sharers->asked);
	}
	return placement_sharers_pairs(sharers, guests, GUESTS, nr);
}

START_TEST(placement_is_told_who_shares_with_whom_and_forgets_who_has_gone)
{
	struct placement_sharers sharers;
	size_t nr;
	double at = 0;
	placement_sharers_init(&sharers, server);
	ck_assert_ptr_null(placement_sharers_pairs(&sharers, guests, GUESTS, &nr));
	struct placement_sharing *found = pairs(&sharers, &at, &nr);
	/* The fourth is in another domain. */
	ck_assert_uint_eq(nr, 3);
	for (size_t i = 0; i < nr; i++) {
		char name[64];
		struct dedup_map map;
		struct dedup_map_guest other;
		ck_assert(found[i].a == (i == 2) && found[i].b == (i == 0 ? 1 : 2));
		name_of(found[i].a, name);
		ask(&map, name);
		for (uint32_t c = 0; dedup_map_next_guest(server, &c, &other);)
			if (other.pid == guests[found[i].b])
				ck_assert_uint_eq(found[i].nr_pages, dedup_map_result(&map)->with[other.client]);
		dedup_map_close(&map);
	}
	free(found);
	pid_t gone = guests[0];
	kill_guest(0);
	RUN_UNTIL(references() == mapped(1, GUESTS));
	guests[0] = gone; /* asked about all the same */
	found = pairs(&sharers, &at, &nr);
	guests[0] = 0;
	ck_assert_uint_eq(nr, 1);
	ck_assert(found[0].a == 1 && found[0].b == 2);
	free(found);
	/* The server's end in the middle of a count. */
	placement_sharers_tick(&sharers, at += PLACEMENT_SHARERS_S);
	ck_assert_int_ne(sharers.asked, 0);
	dedup_server_destroy(server);
	ck_assert(!sharers.asked && !sharers.server);
	placement_sharers_tick(&sharers, at + PLACEMENT_SHARERS_S);
	placement_sharers_destroy(&sharers);
	server = NULL;
}
END_TEST

START_TEST(a_guest_shares_with_those_of_its_domain_alone)
{
	char name[64];
	struct dedup_map map;
	struct dedup_map_guest with;
	name_of(0, name);
	ask(&map, name);
	const struct sharing *s = dedup_map_result(&map);
	unsigned found = 0;
	ck_assert_uint_eq(s->pages, talks[0].mapped);
	ck_assert_uint_gt(s->across, 0);
	ck_assert_uint_le(s->across, s->slots);
	/* A page that is written is one more, but for a slot that nobody else has. */
	ck_assert_uint_eq(s->divergence, s->pages - (s->slots - s->across));
	for (uint16_t client = 0; client < POOL_MOST_CLIENTS - 1; client++) {
		if (!s->with[client])
			continue;
		found++;
		ck_assert(dedup_map_find_guest(server, client, &with));
		ck_assert_str_eq(with.domain, "acme");
		ck_assert(with.pid == guests[1] || with.pid == guests[2]);
	}
	ck_assert_uint_eq(found, 2);
	dedup_map_close(&map);
}
END_TEST

START_TEST(sets_are_named_by_domain_and_by_guest)
{
	struct dedup_map map;
	struct error err;
	char name[64], whole[80];
	ask(&map, "acme/");
	ck_assert_uint_eq(dedup_map_result(&map)->pages, mapped(0, 3));
	ck_assert_uint_eq(dedup_map_result(&map)->across, 0);
	ck_assert_uint_gt(dedup_map_result(&map)->within, 0);
	dedup_map_close(&map);
	ask(&map, "other/");
	ck_assert_uint_eq(dedup_map_result(&map)->pages, talks[3].mapped);
	dedup_map_close(&map);
	name_of(1, name);
	snprintf(whole, sizeof(whole), "acme/%s", name);
	ask(&map, whole);
	ck_assert_uint_eq(dedup_map_result(&map)->pages, talks[1].mapped);
	dedup_map_close(&map);
	/* Both, one after the other: one set. */
	ck_assert_int_eq(dedup_map_open(server, &map), 0);
	ck_assert_int_eq(dedup_map_add_guest(&map, name, &err), 0);
	ck_assert_int_eq(dedup_map_add_guest(&map, "other/", &err), 0);
	dedup_map_start(&map, on_done);
	nr_done = 0;
	RUN_UNTIL(nr_done == 1);
	ck_assert_uint_eq(dedup_map_result(&map)->pages, talks[1].mapped + talks[3].mapped);
	dedup_map_close(&map);
	/* Who is not there. */
	ck_assert_int_eq(dedup_map_open(server, &map), 0);
	ck_assert_int_eq(dedup_map_add_guest(&map, "nobody", &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "nobody"));
	snprintf(whole, sizeof(whole), "other/%s", name);
	ck_assert_int_eq(dedup_map_add_guest(&map, whole, &err), -ENOENT);
	ck_assert_int_eq(dedup_map_add_guest(&map, "acm/", &err), -ENOENT);
	dedup_map_add_client(&map, UINT32_MAX);
	dedup_map_start(&map, on_done);
	RUN_UNTIL(nr_done == 2);
	ck_assert_uint_eq(dedup_map_result(&map)->pages, 0);
	dedup_map_close(&map);
}
END_TEST

START_TEST(a_guest_that_has_gone_is_in_no_map)
{
	struct dedup_map map;
	struct error err;
	char name[64];
	name_of(2, name);
	ask(&map, name);
	dedup_map_close(&map);
	kill_guest(2);
	RUN_UNTIL(references() == mapped(0, 2) + talks[3].mapped);
	ck_assert_int_eq(dedup_map_open(server, &map), 0);
	ck_assert_int_eq(dedup_map_add_guest(&map, name, &err), -ENOENT);
	dedup_map_close(&map);
	ask(&map, "");
	ck_assert_uint_eq(dedup_map_result(&map)->pages, mapped(0, 2) + talks[3].mapped);
	dedup_map_close(&map);
}
END_TEST

static struct dedup_map again;
static unsigned rounds;

static void ask_again(struct dedup_map *map)
{
	dedup_map_close(map);
	if (++rounds == 3)
		return;
	ck_assert_int_eq(dedup_map_open(server, map), 0);
	dedup_map_start(map, ask_again);
}

static unsigned nr_dropped;
static void count_dropped(struct dedup_map *map)
{
	ck_assert_ptr_eq(map, &again);
	nr_dropped++;
}

START_TEST(questions_are_answered_in_turn_and_can_be_given_up)
{
	struct dedup_map maps[5];
	for (unsigned i = 0; i < 5; i++) {
		struct error err;
		ck_assert_int_eq(dedup_map_open(server, &maps[i]), 0);
		ck_assert_int_eq(dedup_map_add_guest(&maps[i], i % 2 ? "acme/" : "other/", &err), 0);
		dedup_map_start(&maps[i], on_done);
	}
	dedup_map_close(&maps[0]);
	dedup_map_close(&maps[2]);
	dedup_map_close(&maps[2]);
	RUN_UNTIL(nr_done == 3);
	ck_assert_ptr_eq(done_last, &maps[4]);
	ck_assert_uint_eq(dedup_map_result(&maps[1])->pages, mapped(0, 3));
	ck_assert_uint_eq(dedup_map_result(&maps[3])->pages, mapped(0, 3));
	ck_assert_uint_eq(dedup_map_result(&maps[4])->pages, talks[3].mapped);
	/* Its end may ask the next one. */
	ck_assert_int_eq(dedup_map_open(server, &again), 0);
	dedup_map_start(&again, ask_again);
	RUN_UNTIL(rounds == 3);
	/* One that is open when the service ends is closed by that, and whoever has it is told. */
	ck_assert_int_eq(dedup_map_open(server, &again), 0);
	again.dropped = count_dropped;
	dedup_map_start(&again, ask_again);
	for (unsigned i = 0; i < 5; i++)
		dedup_map_close(&maps[i]);
	dedup_server_destroy(server);
	server = NULL;
	ck_assert_ptr_null(again.server);
	ck_assert_uint_eq(nr_dropped, 1);
}
END_TEST

START_TEST(a_map_that_memory_is_too_short_for_is_refused)
{
	struct dedup_map map;
	fail_in = 0;
	ck_assert_int_eq(dedup_map_open(server, &map), -ENOMEM);
	dedup_map_close(&map);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dedup_map");
	TCase *tests = tcase_create("map");
	tcase_set_timeout(tests, 100);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_map_of_all_guests_has_every_page_that_maps_a_slot);
	tcase_add_test(tests, a_guest_shares_with_those_of_its_domain_alone);
	tcase_add_test(tests, placement_is_told_who_shares_with_whom_and_forgets_who_has_gone);
	tcase_add_test(tests, sets_are_named_by_domain_and_by_guest);
	tcase_add_test(tests, a_guest_that_has_gone_is_in_no_map);
	tcase_add_test(tests, questions_are_answered_in_turn_and_can_be_given_up);
	tcase_add_test(tests, a_map_that_memory_is_too_short_for_is_refused);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
