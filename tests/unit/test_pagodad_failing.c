/*
 * The daemon's service in a process of its own where one of so many allocations and system calls fails by chance, all the time. Guests lose
 * connections and chances to merge; they must never read a wrong byte, and when all works again every reference must be right.
 */
#include "tests/unit/pagodad_process.h"

#include <ev.h>

#include "base/log.h"
#include "host/dedup_server.h"
#include "tests/unit/dedup_doors.h"
#include "tests/unit/dedup_guest.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { GUESTS = 3 };

static _Atomic int *fail_now; /* shared with the daemon: one of so many calls fails; 0: none */
static bool is_daemon;

ssize_t dedup_send(int fd, const struct msghdr *message)
{
	return is_daemon && fails() ? -ENOBUFS : dedup_send_kernel(fd, message);
}

ssize_t dedup_receive(int fd, struct msghdr *message)
{
	return is_daemon && fails() ? -ECONNRESET : dedup_receive_kernel(fd, message);
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop, (void)w, (void)revents;
	fail_one_of = *fail_now;
}

static void live_as_daemon(void)
{
	struct host_options options = {.socket = pagodad_socket,
				       .state = pagodad_state,
				       .index_limit = 8 << 20,
				       .pool_limit = 64 << 20,
				       .guest_limit = 1ull << 30,
				       .merge_across_nodes = true};
	struct dedup_server *server;
	struct ev_loop *loop = ev_default_loop(0);
	struct error err;
	ev_timer tick;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	is_daemon = true;
	log_open("daemon", LOG_LEVEL_ERROR);
	door_random = (uint64_t)getpid();
	if (dedup_server_create(loop, &options, &server, &err)) {
		fprintf(stderr, "%s\n", err.text);
		_exit(1);
	}
	ev_timer_init(&tick, on_tick, 0., .002);
	ev_timer_start(loop, &tick);
	ev_run(loop, 0);
	_exit(0);
}

static void start_daemon(void)
{
	pagodad_pid = fork();
	ck_assert_int_ge(pagodad_pid, 0);
	if (pagodad_pid == 0)
		live_as_daemon();
	close(pagodad_connect());
}

static bool wait_until_right(const struct guest_talk *talks)
{
	for (unsigned tries = 0; tries < 2000; tries++) {
		struct protocol_status s = pagodad_status();
		uint64_t mapped = 0, resting = 0;
		for (unsigned i = 0; i < GUESTS; i++) {
			mapped += talks[i].mapped;
			resting += talks[i].at_rest;
		}
		if (resting == GUESTS && s.pages_shared + s.pages_sharing == mapped && s.slots_unclaimed == 0)
			return true;
		if (tries == 1999)
			fprintf(stderr, "references %llu and %llu, mapped %llu, unclaimed %llu, at rest %llu\n",
				(unsigned long long)s.pages_shared, (unsigned long long)s.pages_sharing, (unsigned long long)mapped,
				(unsigned long long)s.slots_unclaimed, (unsigned long long)resting);
		usleep(5000);
	}
	return false;
}

START_TEST(whatever_fails_in_the_daemon_no_guest_reads_a_wrong_byte)
{
	static const int rates[] = {1000, 200, 50, 20};
	pid_t guests[GUESTS];
	struct guest_talk *talks = guest_talks(GUESTS);
	fail_now = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne((void *)fail_now, MAP_FAILED);
	random_start();
	pagodad_set_up();
	start_daemon();
	for (unsigned i = 0; i < GUESTS; i++) {
		uint64_t seed = random_bits();
		guests[i] = fork();
		if (guests[i] == 0)
			guest_live(pagodad_socket, "one", &talks[i], seed, 150);
	}
	for (unsigned round = 0; round < 8; round++) {
		uint32_t before = talks[0].merges + talks[1].merges + talks[2].merges;
		*fail_now = rates[round % 4];
		usleep(200000);
		if (round >= 4) { /* and it dies on top */
			pagodad_end(SIGKILL);
			*fail_now = 0;
			start_daemon();
			*fail_now = rates[round % 4];
			usleep(200000);
		}
		*fail_now = 0;
		usleep(10000);
		for (unsigned i = 0; i < GUESTS; i++)
			talks[i].rest = true;
		ck_assert(wait_until_right(talks));
		for (unsigned i = 0; i < GUESTS; i++) {
			ck_assert_uint_eq(talks[i].wrong, 0);
			talks[i].rest = false;
		}
		ck_assert_int_eq(waitpid(pagodad_pid, NULL, WNOHANG), 0);
		ck_assert_uint_gt(talks[0].merges + talks[1].merges + talks[2].merges, before);
	}
	ck_assert_uint_gt(talks[0].connections, 5);
	for (unsigned i = 0; i < GUESTS; i++) {
		kill(guests[i], SIGKILL);
		waitpid(guests[i], NULL, 0);
	}
	pagodad_tear_down();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pagodad with failures");
	TCase *tests = tcase_create("failures");
	tcase_set_timeout(tests, 100);
	tcase_add_test(tests, whatever_fails_in_the_daemon_no_guest_reads_a_wrong_byte);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
