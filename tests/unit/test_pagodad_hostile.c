/*
 * Attacks on the daemon's socket, by processes that know the protocol and keep no rule of it. Two honest guests share pages meanwhile and verify every
 * byte; after each attack the daemon must serve them as before.
 */
#include "tests/unit/pagodad_process.h"

#include <pthread.h>
#include <sys/resource.h>

#include "tests/unit/dedup_guest.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { HONEST = 2, STAGING = 64 };

struct message {
	struct protocol_header header;
	union {
		struct protocol_hello hello;
		struct protocol_welcome welcome;
		struct protocol_refused refused;
		struct protocol_offer offers[512];
		struct protocol_content contents[512];
		struct protocol_claim claims[1024];
		struct protocol_release releases[1024];
		uint32_t verdicts[1024];
		struct protocol_twin twins[512];
		uint8_t bytes[PROTOCOL_MOST_BYTES];
	};
};

static struct guest_talk *talks;
static pid_t guests[HONEST];
static struct message message, answer;

/* --- the honest --- */

static void set_up(void)
{
	random_start();
	pagodad_set_up();
	pagodad_start(NULL);
	talks = guest_talks(HONEST);
	for (unsigned i = 0; i < HONEST; i++) {
		uint64_t seed = random_bits();
		guests[i] = fork();
		if (guests[i] == 0)
			guest_live(pagodad_socket, "victims", &talks[i], seed, 150);
	}
}

static void tear_down(void)
{
	for (unsigned i = 0; i < HONEST; i++) {
		kill(guests[i], SIGKILL);
		waitpid(guests[i], NULL, 0);
	}
	pagodad_tear_down();
}

/* They still merge, and no byte was ever wrong. */
static void check_the_honest(void)
{
	for (unsigned i = 0; i < HONEST; i++) {
		uint32_t before = talks[i].merges;
		for (unsigned tries = 0; talks[i].merges < before + 20 && tries < 2000; tries++)
			usleep(5000);
		ck_assert_uint_ge(talks[i].merges, before + 20);
		ck_assert_uint_eq(talks[i].wrong, 0);
		ck_assert_uint_eq(talks[i].connections, 1);
	}
}

/* --- the attacker --- */

static int send_with_fds(int fd, const void *bytes, size_t len, const int fds[], size_t nr)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec part = {(void *)bytes, len};
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1};
	if (nr) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	}
	return sendmsg(fd, &h, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -1;
}

static int make_staging(unsigned seals, uint8_t **at)
{
	int fd = memfd_create("attack", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(fd, STAGING * GUEST_PAGE), 0);
	if (seals)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	if (at)
		*at = mmap(NULL, STAGING * GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

static struct message hello_message(void)
{
	struct message m = {.header = {.type = PROTOCOL_HELLO, .nr = 1}};
	m.hello = (struct protocol_hello){.version = PROTOCOL_VERSION, .nr_pages = 10000, .nr_staging_pages = STAGING, .node = -1};
	strcpy(m.hello.domain, "victims");
	strcpy(m.hello.guest, "attacker");
	return m;
}

static size_t length(const struct message *m, size_t entry)
{
	return sizeof(m->header) + m->header.nr * entry;
}

/* Welcomed. Returns the connection. */
static int join(uint8_t **staging)
{
	struct message m = hello_message();
	int fd = pagodad_connect(), staging_fd = make_staging(F_SEAL_SHRINK, staging);
	ck_assert_int_eq(send_with_fds(fd, &m, length(&m, sizeof(m.hello)), &staging_fd, 1), 0);
	ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
	ck_assert_uint_eq(answer.header.type, PROTOCOL_WELCOME);
	close(staging_fd);
	return fd;
}

/* What the daemon does with this message: it must refuse it, and hang up. */
static void is_refused(int fd, const void *bytes, size_t len, const int fds[], size_t nr_fds)
{
	bool refused = false;
	ck_assert_int_eq(send_with_fds(fd, bytes, len, fds, nr_fds), 0);
	while (pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)) > 0)
		refused |= answer.header.type == PROTOCOL_REFUSED;
	ck_assert(refused);
	close(fd);
}

START_TEST(messages_that_are_none)
{
	for (unsigned i = 0; i < 400; i++) {
		static uint8_t noise[PROTOCOL_MOST_BYTES * 2];
		size_t len = 1 + random_below(i % 4 ? 64 : sizeof(noise));
		for (size_t at = 0; at < len; at++)
			noise[at] = (uint8_t)random_bits();
		if (i % 2) /* nearly one */
			memcpy(noise,
			       &(struct protocol_header){.type = 1 + (uint16_t)random_below(8), .nr = (uint32_t)random_below(4)},
			       16);
		uint8_t *staging;
		int fd = i % 3 ? pagodad_connect() : join(&staging);
		send(fd, noise, len, MSG_NOSIGNAL);
		if (i % 5 == 0) {
			send(fd, "half", 4, MSG_NOSIGNAL);
			while (pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)) > 0)
				;
		}
		close(fd);
		if (i % 3 == 0)
			munmap(staging, STAGING * GUEST_PAGE);
	}
	check_the_honest();
}
END_TEST

START_TEST(greetings_that_lie)
{
	struct message good = hello_message(), m;
	size_t len = length(&good, sizeof(good.hello));
	int sealed = make_staging(F_SEAL_SHRINK, NULL), unsealed = make_staging(0, NULL), pipes[2];
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int many[8] = {sealed, sealed, sealed, sealed, sealed, sealed, sealed, sealed};
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	is_refused(pagodad_connect(), &good, len, NULL, 0);
	is_refused(pagodad_connect(), &good, len, &unsealed, 1);
	is_refused(pagodad_connect(), &good, len, &pipes[0], 1);
	is_refused(pagodad_connect(), &good, len, &file, 1);
	is_refused(pagodad_connect(), &good, len, many, 8);
	is_refused(pagodad_connect(), &good, len - 1, &sealed, 1);
	is_refused(pagodad_connect(), &good, len + 8, &sealed, 1);
	m = good, m.hello.nr_staging_pages = STAGING + 1;
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, m.hello.nr_staging_pages = UINT32_MAX;
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, m.hello.version = 99;
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, m.hello.nr_pages = UINT32_MAX;
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, m.hello.node = 64;
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, strcpy(m.hello.domain, "../victims");
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, strcpy(m.hello.domain, "vic\ntims");
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	m = good, memset(m.hello.guest, 'a', sizeof(m.hello.guest));
	is_refused(pagodad_connect(), &m, len, &sealed, 1);
	/* Twice. */
	int fd = join(NULL);
	is_refused(fd, &good, len, &sealed, 1);
	/* A file that is not the pool: a new connection like any other, and nothing can be claimed. */
	int both[2] = {sealed, sealed};
	fd = pagodad_connect();
	ck_assert_int_eq(send_with_fds(fd, &good, len, both, 2), 0);
	ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
	ck_assert_uint_eq(answer.header.type, PROTOCOL_WELCOME);
	ck_assert_uint_eq(answer.welcome.flags & PROTOCOL_RESUMED, 0);
	message = (struct message){.header = {.type = PROTOCOL_CLAIM, .nr = 1}, .claims = {{0, 1}}};
	is_refused(fd, &message, length(&message, sizeof(message.claims[0])), NULL, 0);
	check_the_honest();
}
END_TEST

START_TEST(pages_slots_and_staging_that_are_not_the_attackers)
{
	static const struct protocol_release foreign[] = {{0, 1, 0}, {1, 1, 0}, {5, 65535, 0}, {UINT32_MAX, 1, 0}, {1 << 30, 1, 3}};
	uint8_t *staging;
	for (unsigned i = 0; i < 5; i++) {
		message = (struct message){.header = {.type = PROTOCOL_RELEASE, .nr = 1}, .releases = {foreign[i]}};
		is_refused(join(NULL), &message, length(&message, sizeof(message.releases[0])), NULL, 0);
	}
	message = (struct message){.header = {.type = PROTOCOL_OFFER, .nr = 1}, .offers = {{.hash_low = 1, .page = 10000}}};
	is_refused(join(NULL), &message, length(&message, sizeof(message.offers[0])), NULL, 0);
	message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = 1}, .contents = {{.page = 1, .staging = STAGING}}};
	is_refused(join(NULL), &message, length(&message, sizeof(message.contents[0])), NULL, 0);
	message =
		(struct message){.header = {.type = PROTOCOL_CONTENT, .nr = 2}, .contents = {{.page = 1, .staging = STAGING - 1}}};
	is_refused(join(NULL), &message, length(&message, sizeof(message.contents[0])), NULL, 0);
	message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = 1}, .contents = {{.page = 1, .staging = UINT32_MAX}}};
	is_refused(join(NULL), &message, length(&message, sizeof(message.contents[0])), NULL, 0);
	/* Claims where nothing was brought along. */
	message = (struct message){.header = {.type = PROTOCOL_CLAIM, .nr = 1}, .claims = {{1, 1}}};
	is_refused(join(&staging), &message, length(&message, sizeof(message.claims[0])), NULL, 0);
	check_the_honest();
}
END_TEST

/* The pool was brought along, but the process never had a reference: all its claims are in vain. */
START_TEST(references_that_are_claimed_by_whoever_has_the_pool)
{
	struct message m = hello_message();
	int fd = join(NULL), pool = -1, staging = make_staging(F_SEAL_SHRINK, NULL);
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec part = {&answer, sizeof(answer)};
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	close(fd);
	fd = pagodad_connect();
	ck_assert_int_eq(send_with_fds(fd, &m, length(&m, sizeof(m.hello)), &staging, 1), 0);
	ck_assert_int_gt(recvmsg(fd, &h, 0), 0);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&h);
	ck_assert_ptr_nonnull(cmsg);
	memcpy(&pool, CMSG_DATA(cmsg), sizeof(pool));
	close(fd);
	check_the_honest();

	int both[2] = {staging, pool};
	fd = pagodad_connect();
	ck_assert_int_eq(send_with_fds(fd, &m, length(&m, sizeof(m.hello)), both, 2), 0);
	ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
	ck_assert_uint_eq(answer.welcome.flags, PROTOCOL_RESUMED);
	message = (struct message){.header = {.type = PROTOCOL_CLAIM, .nr = 1000}};
	for (uint32_t i = 0; i < 1000; i++)
		message.claims[i] = (struct protocol_claim){.slot = i, .nr = 1};
	ck_assert_int_gt(pagodad_ask(fd, &message, length(&message, sizeof(message.claims[0])), &answer, sizeof(answer)), 0);
	ck_assert_uint_eq(answer.header.nr, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(answer.verdicts[i], PROTOCOL_GONE);
	/* Nor can the file be written, whoever has it. */
	ck_assert_ptr_eq(mmap(NULL, GUEST_PAGE, PROT_WRITE, MAP_SHARED, pool, 0), MAP_FAILED);
	close(fd);
	check_the_honest();
}
END_TEST

START_TEST(hashes_that_lie)
{
	/* Every hash that the honest may have, claimed for pages that have other content. */
	struct page_hasher hasher;
	uint8_t *staging, page[GUEST_PAGE] __attribute__((aligned(64)));
	int fd = join(&staging);
	page_hasher_init(&hasher, answer.welcome.salt);
	for (unsigned round = 0; round < 50; round++) {
		message = (struct message){.header = {.type = PROTOCOL_OFFER, .nr = 151, .number = round}};
		for (uint32_t i = 0; i <= 150; i++) {
			struct page_hash hash;
			guest_fill(page, i);
			page_hash_run(&hasher, page, 1, &hash);
			message.offers[i] =
				(struct protocol_offer){.hash_low = hash.low, .hash_high = hash.high, .page = round * 151 + i};
		}
		ck_assert_int_gt(send(fd, &message, length(&message, sizeof(message.offers[0])), MSG_NOSIGNAL), 0);
		/* And contents that are not what was offered. */
		message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = STAGING, .number = round}};
		for (uint32_t i = 0; i < STAGING; i++) {
			message.contents[i] = (struct protocol_content){.page = i, .staging = i};
			guest_fill(staging + i * GUEST_PAGE, random_below(300));
		}
		ck_assert_int_gt(send(fd, &message, length(&message, sizeof(message.contents[0])), MSG_NOSIGNAL), 0);
		for (unsigned k = 0; k < 2;) {
			ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
			k += answer.header.type == PROTOCOL_ANSWER;
		}
	}
	check_the_honest();
	close(fd);
	check_the_honest();
}
END_TEST

static uint8_t *flipped;
static _Atomic bool flipping;

static void *flip(void *unused)
{
	while (flipping)
		for (unsigned i = 0; i < STAGING; i++)
			guest_fill(flipped + i * GUEST_PAGE, 1 + i * 2654435761u % 150);
	return unused;
}

START_TEST(contents_that_change_while_they_are_read)
{
	pthread_t thread;
	int fd = join(&flipped);
	flipping = true;
	ck_assert_int_eq(pthread_create(&thread, NULL, flip, NULL), 0);
	for (unsigned round = 0; round < 200; round++) {
		message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = STAGING, .number = round}};
		for (uint32_t i = 0; i < STAGING; i++)
			message.contents[i] = (struct protocol_content){.page = round * 7 + i, .staging = i};
		ck_assert_int_gt(send(fd, &message, length(&message, sizeof(message.contents[0])), MSG_NOSIGNAL), 0);
		do {
			ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
		} while (answer.header.type != PROTOCOL_ANSWER);
	}
	flipping = false;
	pthread_join(thread, NULL);
	check_the_honest();
	close(fd);
}
END_TEST

START_TEST(staging_with_holes_punched_while_it_is_read)
{
	struct message m = hello_message();
	int fd = pagodad_connect(), staging_fd = make_staging(F_SEAL_SHRINK, NULL);
	ck_assert_int_eq(send_with_fds(fd, &m, length(&m, sizeof(m.hello)), &staging_fd, 1), 0);
	ck_assert_int_lt(ftruncate(staging_fd, 0), 0);
	for (unsigned round = 0; round < 200; round++) {
		message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = STAGING}};
		ck_assert_int_gt(send(fd, &message, length(&message, sizeof(message.contents[0])), MSG_NOSIGNAL), 0);
		fallocate(staging_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, STAGING * GUEST_PAGE);
		ck_assert_int_gt(pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)), 0);
	}
	check_the_honest();
	close(fd);
}
END_TEST

START_TEST(floods_that_nobody_reads_the_answers_of)
{
	uint8_t *staging;
	int fds[4];
	for (unsigned i = 0; i < 4; i++)
		fds[i] = join(&staging);
	/* One process has one connection: the others were hung up on. */
	uint64_t sent = 0;
	for (unsigned round = 0; round < 20000; round++) {
		message = (struct message){.header = {.type = PROTOCOL_OFFER, .nr = 512}};
		for (uint32_t i = 0; i < 512; i++)
			message.offers[i] = (struct protocol_offer){
				.hash_low = random_bits(), .hash_high = random_bits(), .page = (uint32_t)random_below(10000)};
		for (unsigned i = 0; i < 4; i++)
			sent += send(fds[i], &message, length(&message, sizeof(message.offers[0])), MSG_NOSIGNAL | MSG_DONTWAIT) >
				0;
		if (round > 200 && sent < round / 4)
			break; /* it takes no more from us */
	}
	check_the_honest();
	struct protocol_status s = pagodad_status();
	ck_assert_uint_le(s.index_bytes, 16 << 20);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	check_the_honest();
}
END_TEST

START_TEST(connections_without_end)
{
	struct rlimit limit;
	int fds[256];
	unsigned nr = 0;
	getrlimit(RLIMIT_NOFILE, &limit);
	for (; nr < 256; nr++) {
		fds[nr] = pagodad_try();
		if (fds[nr] < 0)
			break;
	}
	ck_assert_uint_gt(nr, 100);
	check_the_honest();
	for (unsigned i = 0; i < nr; i++)
		close(fds[i]);
	/* Joined and left at once, over and over; some are turned away while the daemon still has to notice that others have gone. */
	unsigned joined = 0;
	for (unsigned i = 0; i < 1000; i++) {
		struct message m = hello_message();
		int fd = pagodad_connect(), staging = make_staging(F_SEAL_SHRINK, NULL);
		send_with_fds(fd, &m, length(&m, sizeof(m.hello)), &staging, 1);
		joined += pagodad_ask(fd, NULL, 0, &answer, sizeof(answer)) > 0 && answer.header.type == PROTOCOL_WELCOME;
		close(fd);
		close(staging);
	}
	ck_assert_uint_gt(joined, 100);
	check_the_honest();
	for (unsigned tries = 0; pagodad_status().nr_clients > HONEST && tries < 1000; tries++)
		usleep(5000);
	ck_assert_uint_eq(pagodad_status().nr_clients, HONEST);
}
END_TEST

/* Offers the honest ones' contents, takes slots, and dies with an answer on its way; many of it at once. */
START_TEST(deaths_in_the_middle_of_a_merge)
{
	for (unsigned round = 0; round < 20; round++) {
		pid_t children[4];
		for (unsigned k = 0; k < 4; k++) {
			children[k] = fork();
			if (children[k])
				continue;
			struct page_hasher hasher;
			uint8_t *staging, page[GUEST_PAGE] __attribute__((aligned(64)));
			int fd = join(&staging);
			page_hasher_init(&hasher, answer.welcome.salt);
			for (unsigned turn = 0;; turn++) {
				message = (struct message){.header = {.type = PROTOCOL_OFFER, .nr = 150}};
				for (uint32_t i = 0; i < 150; i++) {
					struct page_hash hash;
					guest_fill(page, 1 + i);
					page_hash_run(&hasher, page, 1, &hash);
					message.offers[i] = (struct protocol_offer){
						.hash_low = hash.low, .hash_high = hash.high, .page = turn % 60 * 150 + i};
				}
				if (send(fd, &message, length(&message, sizeof(message.offers[0])), MSG_NOSIGNAL) < 0)
					_exit(0);
				message = (struct message){.header = {.type = PROTOCOL_CONTENT, .nr = STAGING}};
				for (uint32_t i = 0; i < STAGING; i++) {
					message.contents[i] = (struct protocol_content){.page = i, .staging = i};
					guest_fill(staging + i * GUEST_PAGE, 1 + (i + turn) % 150);
				}
				if (send(fd, &message, length(&message, sizeof(message.contents[0])), MSG_NOSIGNAL) < 0)
					_exit(0);
				while (recv(fd, &answer, sizeof(answer), MSG_DONTWAIT) > 0)
					;
			}
		}
		usleep(random_below(30000));
		for (unsigned k = 0; k < 4; k++) {
			kill(children[k], SIGKILL);
			waitpid(children[k], NULL, 0);
		}
	}
	check_the_honest();
	for (unsigned i = 0; i < HONEST; i++)
		talks[i].rest = true;
	for (unsigned tries = 0; tries < 2000; tries++) {
		struct protocol_status s = pagodad_status();
		if (talks[0].at_rest && talks[1].at_rest && s.pages_shared + s.pages_sharing == talks[0].mapped + talks[1].mapped)
			return;
		usleep(5000);
	}
	ck_abort_msg("references of the dead remain");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pagodad attacked");
	TCase *tests = tcase_create("attacks");
	tcase_set_timeout(tests, 100);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, messages_that_are_none);
	tcase_add_test(tests, greetings_that_lie);
	tcase_add_test(tests, pages_slots_and_staging_that_are_not_the_attackers);
	tcase_add_test(tests, references_that_are_claimed_by_whoever_has_the_pool);
	tcase_add_test(tests, hashes_that_lie);
	tcase_add_test(tests, contents_that_change_while_they_are_read);
	tcase_add_test(tests, staging_with_holes_punched_while_it_is_read);
	tcase_add_test(tests, floods_that_nobody_reads_the_answers_of);
	tcase_add_test(tests, connections_without_end);
	tcase_add_test(tests, deaths_in_the_middle_of_a_merge);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
