/* A real daemon and real guest processes, any of which may be killed at any time: every byte stays right, every reference is accounted for. */
#include "tests/unit/pagodad_process.h"

#include "tests/unit/dedup_guest.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { GUESTS = 4 };

static struct guest_talk *talks;
static pid_t guests[GUESTS];

static void start_guest(unsigned i, const char *domain, uint32_t kinds)
{
	uint64_t seed = random_bits();
	memset((void *)&talks[i], 0, sizeof(talks[i]));
	guests[i] = fork();
	ck_assert_int_ge(guests[i], 0);
	if (guests[i] == 0)
		guest_live(pagodad_socket, domain, &talks[i], seed, kinds);
}

static void kill_guest(unsigned i)
{
	int status;
	kill(guests[i], SIGKILL);
	waitpid(guests[i], &status, 0);
	guests[i] = 0;
}

static void set_up(void)
{
	random_start();
	pagodad_set_up();
	talks = guest_talks(GUESTS);
	ck_assert_ptr_nonnull(talks);
}

static void tear_down(void)
{
	for (unsigned i = 0; i < GUESTS; i++)
		if (guests[i] > 0)
			kill_guest(i);
	pagodad_tear_down();
}

/* Waits up to ten seconds for the condition, which it names. */
#define WAIT_FOR(condition)                                          \
	do {                                                         \
		unsigned tries_ = 0;                                 \
		while (!(condition) && tries_++ < 2000)              \
			usleep(5000);                                \
		ck_assert_msg(tries_ <= 2000, "never: " #condition); \
	} while (0)

static uint64_t references(void)
{
	struct protocol_status s = pagodad_status();
	return s.pages_shared + s.pages_sharing;
}

static uint64_t mapped(unsigned nr)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < nr; i++)
		sum += talks[i].mapped;
	return sum;
}

static bool all_at_rest(unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (!talks[i].at_rest)
			return false;
	return true;
}

static void rest(unsigned nr, bool on)
{
	for (unsigned i = 0; i < nr; i++)
		talks[i].rest = on;
	if (on)
		WAIT_FOR(all_at_rest(nr));
}

static void check_guests(unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		ck_assert_uint_eq(talks[i].wrong, 0);
		ck_assert_uint_eq(talks[i].gone, 0);
		ck_assert_int_eq(kill(guests[i], 0), 0);
		ck_assert_int_eq(waitpid(guests[i], NULL, WNOHANG), 0);
	}
}

START_TEST(guests_share_and_every_reference_is_a_page_that_maps_a_slot)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < GUESTS; i++)
		start_guest(i, "one", 200);
	for (unsigned round = 0; round < 5; round++) {
		rest(GUESTS, false);
		usleep(150000);
		rest(GUESTS, true);
		WAIT_FOR(references() == mapped(GUESTS));
		check_guests(GUESTS);
	}
	struct protocol_status s = pagodad_status();
	ck_assert_uint_gt(s.pages_sharing, s.pages_shared);
	ck_assert_uint_le(s.pages_shared, 200);
	ck_assert_uint_eq(s.refused, 0);
	ck_assert_uint_gt(talks[0].breaks, 10);
	/* When all have gone, so has all that was kept for them. */
	for (unsigned i = 0; i < GUESTS; i++)
		kill_guest(i);
	WAIT_FOR(references() == 0 && pagodad_status().pages_unshared == 0 && pagodad_status().slots_stale == 0);
	ck_assert_int_eq(pagodad_end(SIGTERM), 0);
}
END_TEST

START_TEST(a_daemon_that_is_killed_and_started_again_goes_on_where_it_was)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < GUESTS; i++)
		start_guest(i, "one", 200);
	for (unsigned i = 0; i < GUESTS; i++)
		WAIT_FOR(talks[i].mapped > 50);
	for (unsigned round = 0; round < 6; round++) {
		pagodad_end(round % 2 ? SIGTERM : SIGKILL);
		usleep(random_below(50000));
		pagodad_start(NULL);
		usleep(random_below(150000));
		rest(GUESTS, true);
		WAIT_FOR(references() == mapped(GUESTS));
		WAIT_FOR(pagodad_status().slots_unclaimed == 0);
		check_guests(GUESTS);
		rest(GUESTS, false);
	}
	for (unsigned i = 0; i < GUESTS; i++)
		ck_assert_uint_ge(talks[i].resumed, 6);
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(guests_that_die_at_any_time_leave_nothing_behind)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < GUESTS; i++)
		start_guest(i, "one", 200);
	for (unsigned round = 0; round < 30; round++) {
		unsigned i = (unsigned)random_below(GUESTS);
		usleep(random_below(30000));
		kill_guest(i);
		start_guest(i, "one", 200);
		if (round % 10 == 9) {
			/* Both at once: the next daemon has to wait for some, and not for others. */
			kill_guest(0);
			pagodad_end(SIGKILL);
			kill_guest(1);
			pagodad_start(NULL);
			start_guest(0, "one", 200);
			start_guest(1, "one", 200);
		}
	}
	rest(GUESTS, true);
	WAIT_FOR(references() == mapped(GUESTS));
	check_guests(GUESTS);
	WAIT_FOR(pagodad_status().slots_unclaimed == 0);
	for (unsigned i = 0; i < GUESTS; i++)
		kill_guest(i);
	WAIT_FOR(references() == 0 && pagodad_status().nr_clients == 0);
}
END_TEST

START_TEST(a_stopped_guest_is_waited_for_and_finds_its_pages_again)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < 3; i++)
		start_guest(i, "one", 200);
	WAIT_FOR(talks[0].mapped > 50 && talks[1].mapped > 50 && talks[2].mapped > 50);
	kill(guests[2], SIGSTOP);
	pagodad_end(SIGKILL);
	pagodad_start(NULL);
	/* The others go on; they break and merge, and slots of the one that sleeps stay what they were. */
	WAIT_FOR(talks[0].resumed && talks[1].resumed);
	uint32_t before = talks[0].merges;
	WAIT_FOR(talks[0].merges > before + 200);
	rest(2, true);
	kill(guests[2], SIGCONT);
	rest(3, true);
	WAIT_FOR(references() == mapped(3));
	check_guests(3);
	WAIT_FOR(pagodad_status().slots_unclaimed == 0);
}
END_TEST

START_TEST(domains_have_pools_of_their_own)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < GUESTS; i++)
		start_guest(i, i % 2 ? "one" : "other", 100);
	WAIT_FOR(mapped(GUESTS) > 1000);
	rest(GUESTS, true);
	WAIT_FOR(references() == mapped(GUESTS));
	struct protocol_status s = pagodad_status();
	ck_assert_uint_eq(s.nr_pools, 2);
	/* The same hundred contents, once in each. */
	ck_assert_uint_gt(s.pages_shared, 110);
	check_guests(GUESTS);

	/* The map says so. */
	struct {
		struct protocol_header header;
		struct protocol_client clients[96];
	} list;
	struct {
		struct protocol_header header;
		struct protocol_asked asked;
	} question = {.header = {.type = PROTOCOL_ASK_CLIENTS, .nr = 1}};
	struct {
		struct protocol_header header;
		struct protocol_sharing sharing;
		struct protocol_sharing_with with[64];
	} map;
	int fd = pagodad_connect();
	ck_assert_int_gt(pagodad_ask(fd, &question, 20, &list, sizeof(list)), 0);
	ck_assert_uint_eq(list.header.nr, GUESTS);
	for (unsigned i = 0; i < GUESTS; i++) {
		question.header.type = PROTOCOL_ASK_SHARING;
		question.asked.client = list.clients[i].client;
		ck_assert_int_gt(pagodad_ask(fd, &question, 20, &map, sizeof(map)), 0);
		ck_assert_uint_eq(map.sharing.pages, list.clients[i].references);
		ck_assert_uint_eq(map.header.nr, 1);
		for (unsigned k = 0; k < GUESTS; k++) {
			bool same_domain = k != i && !strcmp(list.clients[i].domain, list.clients[k].domain);
			ck_assert_int_eq(map.with[0].client == list.clients[k].client, same_domain);
		}
	}
	close(fd);
}
END_TEST

START_TEST(two_daemons_do_not_share_a_state)
{
	pagodad_start(NULL);
	pid_t first = pagodad_pid;
	pagodad_pid = fork();
	if (pagodad_pid == 0) {
		strcat(pagodad_run, ".second");
		strcat(pagodad_socket, ".never");
		pagodad_exec(NULL);
	}
	int status;
	ck_assert_int_eq(waitpid(pagodad_pid, &status, 0), pagodad_pid);
	ck_assert_int_eq(status, EXIT_FAILURE << 8);
	pagodad_pid = first;
	close(pagodad_connect());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pagodad");
	TCase *tests = tcase_create("shared pages");
	tcase_set_timeout(tests, 100);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, guests_share_and_every_reference_is_a_page_that_maps_a_slot);
	tcase_add_test(tests, a_daemon_that_is_killed_and_started_again_goes_on_where_it_was);
	tcase_add_test(tests, guests_that_die_at_any_time_leave_nothing_behind);
	tcase_add_test(tests, a_stopped_guest_is_waited_for_and_finds_its_pages_again);
	tcase_add_test(tests, domains_have_pools_of_their_own);
	tcase_add_test(tests, two_daemons_do_not_share_a_state);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
