/* The VMM's end of the conversation, with a daemon that the test plays: a slow one, one that talks nonsense, one that goes away. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dedup/client.h"
#include "tests/unit/dedup_doors.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static ssize_t send_result; /* what the next sends return instead, unless 0 */

ssize_t dedup_send(int fd, const struct msghdr *message)
{
	if (send_result)
		return send_result;
	return fails() ? -ENOBUFS : dedup_send_kernel(fd, message);
}

ssize_t dedup_receive(int fd, struct msghdr *message)
{
	return fails() ? -ENOMEM : dedup_receive_kernel(fd, message);
}

static char path[64];
static int listener = -1, peer = -1;
static struct dedup_client *client;
static struct dedup_event event;

struct message {
	struct protocol_header header;
	union {
		struct protocol_hello hello;
		struct protocol_welcome welcome;
		struct protocol_refused refused;
		struct protocol_offer offers[512];
		struct protocol_content contents[512];
		struct protocol_release releases[1024];
		struct protocol_retract retracts[1024];
		struct protocol_claim claims[1024];
		struct protocol_twin twins[512];
		uint32_t verdicts[1024];
	};
};
static struct message received;

static void set_up(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(path, sizeof(path), "/tmp/pagoda-client-test-%d", (int)getpid());
	strcpy(address.sun_path, path);
	unlink(path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	struct dedup_client_settings settings = {.path = path, .domain = "one", .guest = "g", .nr_pages = 1000, .node = -1};
	struct error err;
	ck_assert_int_eq(dedup_client_create(&settings, &client, &err), 0);
}

static void tear_down(void)
{
	dedup_client_destroy(client);
	ck_assert_int_eq(live, 0);
	close(listener);
	if (peer >= 0)
		close(peer);
	peer = -1;
	unlink(path);
}

static int last_fds[2];

static ssize_t hear(void)
{
	char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
	struct iovec part = {&received, sizeof(received)};
	struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(peer, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	last_fds[0] = last_fds[1] = -1;
	struct cmsghdr *c = len > 0 ? CMSG_FIRSTHDR(&h) : NULL;
	if (c)
		memcpy(last_fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return len;
}

static void say(enum protocol_type type, uint32_t nr, uint64_t number, const void *entries, size_t len, int fd)
{
	struct protocol_header header = {.type = (uint16_t)type, .nr = nr, .number = number};
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec parts[2] = {{&header, sizeof(header)}, {(void *)entries, len}};
	struct msghdr h = {.msg_iov = parts, .msg_iovlen = 2};
	if (fd >= 0) {
		h.msg_control = control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	ck_assert_int_eq(sendmsg(peer, &h, MSG_NOSIGNAL), (ssize_t)(sizeof(header) + len));
}

/* The client has said HELLO, with that many descriptors. */
static void meet(unsigned nr_fds)
{
	if (peer >= 0)
		close(peer);
	ck_assert_int_eq(dedup_client_connect(client), 0);
	ck_assert_int_eq(dedup_client_connect(client), -EALREADY);
	peer = accept(listener, NULL, NULL);
	ck_assert_int_eq(hear(), 16 + sizeof(struct protocol_hello));
	ck_assert_uint_eq(received.header.type, PROTOCOL_HELLO);
	ck_assert_str_eq(received.hello.domain, "one");
	ck_assert_int_ge(last_fds[0], 0);
	ck_assert_int_eq(last_fds[1] >= 0, nr_fds == 2);
	for (unsigned i = 0; i < 2; i++)
		if (last_fds[i] >= 0)
			close(last_fds[i]);
}

static void welcome(bool resumed)
{
	struct protocol_welcome w = {.version = PROTOCOL_VERSION, .flags = resumed ? PROTOCOL_RESUMED : 0};
	int pool = resumed ? -1 : memfd_create("pool", MFD_CLOEXEC);
	say(PROTOCOL_WELCOME, 1, 0, &w, sizeof(w), pool);
	if (pool >= 0)
		close(pool);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
	ck_assert_int_eq(event.type, DEDUP_READY);
	ck_assert_int_eq(event.resumed, resumed);
	ck_assert_int_ge(dedup_client_pool_fd(client), 0);
}

START_TEST(a_question_is_answered_with_its_pages)
{
	struct protocol_offer offers[3] = {{.page = 5}, {.page = 7}, {.page = 9}};
	uint32_t verdicts[3] = {PROTOCOL_FIRST, PROTOCOL_SEND, 44}, pages[2] = {7, 8};
	uint8_t a[4096], b[4096];
	const void *contents[2] = {a, b};
	memset(a, 1, sizeof(a));
	memset(b, 2, sizeof(b));
	ck_assert_int_eq(dedup_client_offer(client, offers, 3), -ENOTCONN);
	ck_assert_uint_eq(dedup_client_room(client), 0);
	meet(1);
	ck_assert_int_eq(dedup_client_offer(client, offers, 3), -EAGAIN);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 0);
	welcome(false);
	ck_assert_int_eq(dedup_client_offer(client, offers, 0), -EINVAL);
	ck_assert_int_eq(dedup_client_offer(client, offers, 3), 0);
	ck_assert_int_eq(dedup_client_send(client, pages, contents, 2), 0);
	ck_assert_uint_eq(dedup_client_room(client), 2);
	ck_assert_int_gt(hear(), 0);
	ck_assert(received.header.type == PROTOCOL_OFFER && received.header.nr == 3 && received.offers[2].page == 9);
	say(PROTOCOL_ANSWER, 3, received.header.number, verdicts, 12, -1);
	ck_assert_int_gt(hear(), 0);
	ck_assert(received.header.type == PROTOCOL_CONTENT && received.header.nr == 2 && received.contents[1].page == 8);
	ck_assert_uint_eq(received.contents[1].staging, received.contents[0].staging + 1);
	say(PROTOCOL_ANSWER, 2, received.header.number, verdicts, 8, -1);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
	ck_assert(event.type == DEDUP_ANSWERS && !event.of_content && event.nr == 3);
	ck_assert(event.pages[2] == 9 && event.verdicts[2] == 44);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
	ck_assert(event.of_content && event.pages[0] == 7 && event.verdicts[1] == PROTOCOL_SEND);
	ck_assert_uint_eq(dedup_client_room(client), 4);
	dedup_client_rest(client);
}
END_TEST

START_TEST(four_questions_may_be_open_and_staging_is_not_used_twice)
{
	uint8_t page[4096];
	const void *contents[DEDUP_CLIENT_CONTENTS];
	uint32_t pages[DEDUP_CLIENT_CONTENTS], verdicts[DEDUP_CLIENT_CONTENTS] = {0}, places[4];
	for (unsigned i = 0; i < DEDUP_CLIENT_CONTENTS; i++) {
		contents[i] = page;
		pages[i] = i;
	}
	meet(1);
	welcome(false);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t numbers[4];
		for (unsigned i = 0; i < 4; i++) {
			memset(page, (int)(round * 4 + i), sizeof(page));
			ck_assert_int_eq(dedup_client_send(client, pages, contents, DEDUP_CLIENT_CONTENTS), 0);
			ck_assert_int_gt(hear(), 0);
			numbers[i] = received.header.number;
			places[i] = received.contents[0].staging;
			for (unsigned k = 0; k < i; k++)
				ck_assert(places[k] >= places[i] + DEDUP_CLIENT_CONTENTS ||
					  places[i] >= places[k] + DEDUP_CLIENT_CONTENTS);
		}
		ck_assert_int_eq(dedup_client_send(client, pages, contents, 1), -EAGAIN);
		for (unsigned i = 0; i < 4; i++) {
			say(PROTOCOL_ANSWER, DEDUP_CLIENT_CONTENTS, numbers[i], verdicts, sizeof(verdicts), -1);
			ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
		}
	}
}
END_TEST

START_TEST(a_daemon_that_talks_nonsense_is_left)
{
	struct protocol_welcome w = {.version = PROTOCOL_VERSION}, other = {.version = 9},
				resumed = {.version = PROTOCOL_VERSION, .flags = 1};
	struct protocol_twin twin = {.page = 1000, .slot = 1};
	struct protocol_offer offer = {.page = 5};
	uint32_t verdicts[2] = {PROTOCOL_FIRST, PROTOCOL_FIRST};
	for (unsigned i = 0; i < 10; i++) {
		meet(dedup_client_pool_fd(client) >= 0 ? 2 : 1);
		if (i >= 4) {
			welcome(false);
			ck_assert_int_eq(dedup_client_offer(client, &offer, 1), 0);
			ck_assert_int_gt(hear(), 0);
		}
		switch (i) {
		case 0: /* without a pool */
			say(PROTOCOL_WELCOME, 1, 0, &w, sizeof(w), -1);
			break;
		case 1:
			say(PROTOCOL_WELCOME, 1, 0, &other, sizeof(other), listener);
			break;
		case 2: /* a pool that the client never had */
			say(PROTOCOL_WELCOME, 1, 0, &resumed, sizeof(resumed), -1);
			break;
		case 3:
			say(PROTOCOL_ANSWER, 1, 1, verdicts, 4, -1);
			break;
		case 4: /* to another question */
			say(PROTOCOL_ANSWER, 1, received.header.number + 1, verdicts, 4, -1);
			break;
		case 5: /* of another length */
			say(PROTOCOL_ANSWER, 2, received.header.number, verdicts, 8, -1);
			break;
		case 6:
			say(PROTOCOL_TWIN, 1, 0, &twin, sizeof(twin), -1);
			break;
		case 7:
			say(PROTOCOL_WELCOME, 1, 0, &w, sizeof(w), listener);
			break;
		case 8:
			say(PROTOCOL_OFFER, 1, 0, &offer, sizeof(offer), -1);
			break;
		default:
			ck_assert_int_eq(send(peer, "half", 4, 0), 4);
		}
		ck_assert_int_eq(dedup_client_receive(client, &event, NULL), -EPROTO);
		ck_assert_int_eq(dedup_client_fd(client), -1);
	}
}
END_TEST

START_TEST(a_refusal_says_why_and_an_end_is_seen)
{
	struct protocol_refused r = {.code = 22, .text = "no such luck"};
	const char *why;
	meet(1);
	say(PROTOCOL_REFUSED, 1, 0, &r, sizeof(r), -1);
	ck_assert_int_eq(dedup_client_receive(client, &event, &why), -ECONNREFUSED);
	ck_assert_str_eq(why, "no such luck");
	meet(1);
	welcome(false);
	close(peer);
	peer = -1;
	ck_assert_int_eq(dedup_client_receive(client, &event, &why), -ECONNRESET);
	ck_assert_str_eq(why, "");
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), -ENOTCONN);
	ck_assert_int_eq(dedup_client_flush(client), -ENOTCONN);
	close(listener);
	unlink(path);
	ck_assert_int_eq(dedup_client_connect(client), -ENOENT);
	listener = -1;
}
END_TEST

START_TEST(a_pool_is_brought_back_and_claimed)
{
	struct protocol_claim claims[2] = {{.slot = 3, .nr = 2}, {.slot = 9, .nr = 1}};
	uint32_t verdicts[2] = {3, PROTOCOL_GONE};
	meet(1);
	welcome(false);
	ck_assert_int_eq(dedup_client_claim(client, claims, 2), -EINVAL);
	close(peer);
	peer = -1;
	ck_assert_int_lt(dedup_client_receive(client, &event, NULL), 0);
	dedup_client_release(client, 3, 1, PROTOCOL_BROKEN); /* the claims do not have it */
	meet(2);
	welcome(true);
	ck_assert_uint_eq(dedup_client_room(client), 0);
	ck_assert_int_eq(dedup_client_claim(client, claims, 2), 0);
	dedup_client_release(client, 3, 1, PROTOCOL_BROKEN); /* of those that were claimed */
	ck_assert_int_eq(dedup_client_claimed(client), 0);
	ck_assert_int_eq(dedup_client_claimed(client), -EINVAL);
	ck_assert_int_gt(hear(), 0);
	ck_assert(received.header.type == PROTOCOL_CLAIM && received.header.nr == 2 && received.claims[1].slot == 9);
	uint64_t number = received.header.number;
	ck_assert_int_gt(hear(), 0);
	ck_assert(received.header.type == PROTOCOL_RELEASE && received.header.nr == 1);
	ck_assert_int_gt(hear(), 0);
	ck_assert_uint_eq(received.header.type, PROTOCOL_CLAIMED);
	say(PROTOCOL_ANSWER, 2, number, verdicts, 8, -1);
	say(PROTOCOL_ANSWER, 0, received.header.number, NULL, 0, -1);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
	ck_assert(event.type == DEDUP_CLAIMS && event.nr == 2 && event.pages[1] == 9 && event.verdicts[1] == PROTOCOL_GONE);
	ck_assert_int_eq(dedup_client_receive(client, &event, NULL), 1);
	ck_assert(event.type == DEDUP_CLAIMS && event.nr == 0);
	ck_assert_uint_eq(dedup_client_room(client), 4);
}
END_TEST

START_TEST(what_a_full_socket_does_not_take_comes_later_and_in_order)
{
	uint32_t said = 0, heard = 0;
	struct protocol_offer offer = {.page = 5};
	meet(1);
	welcome(false);
	/* The daemon reads nothing, and then nothing goes out for a while. */
	for (unsigned i = 0; i < 10 * DEDUP_CLIENT_BATCH; i++)
		dedup_client_release(client, said++, 1, PROTOCOL_BROKEN);
	send_result = -EAGAIN;
	for (unsigned i = 0; i < 10 * DEDUP_CLIENT_BATCH; i++)
		dedup_client_release(client, said++, 1, PROTOCOL_BROKEN);
	ck_assert(dedup_client_wants_to_write(client));
	ck_assert_uint_eq(dedup_client_room(client), 0);
	send_result = 0;
	dedup_client_release(client, said++, 1, PROTOCOL_BROKEN);
	dedup_client_retract(client, 7, 8);
	ck_assert_int_eq(dedup_client_flush(client), 0);
	ck_assert_int_eq(dedup_client_offer(client, &offer, 1), 0);
	while (hear() > 0 && received.header.type == PROTOCOL_RELEASE)
		for (uint32_t i = 0; i < received.header.nr; i++)
			ck_assert_uint_eq(received.releases[i].slot, heard++);
	ck_assert_uint_eq(heard, said);
	ck_assert(received.header.type == PROTOCOL_RETRACT && received.retracts[0].hash_top == 8);
	ck_assert_int_gt(hear(), 0);
	ck_assert_uint_eq(received.header.type, PROTOCOL_OFFER);
	/* For ever: the connection is given up, and the next one's claims make up for it. */
	send_result = -EAGAIN;
	for (unsigned i = 0; i < 200 * DEDUP_CLIENT_BATCH; i++)
		dedup_client_release(client, said++, 1, PROTOCOL_BROKEN);
	ck_assert_int_eq(dedup_client_fd(client), -1);
	send_result = 0;
	meet(2);
}
END_TEST

START_TEST(any_call_may_fail_once)
{
	struct dedup_client_settings settings = {.path = path, .domain = "one", .guest = "g", .nr_pages = 1000, .node = -1};
	struct protocol_offer offer = {.page = 5};
	for (int n = 0;; n++) {
		struct dedup_client *c = NULL;
		struct error err = {0};
		fail_in = n;
		int ret = dedup_client_create(&settings, &c, &err);
		if (ret == 0) {
			ret = dedup_client_connect(c);
			int fd = ret ? -1 : accept(listener, NULL, NULL);
			if (ret == 0 && (ret = dedup_client_receive(c, &event, NULL)) == 0)
				ck_assert_int_eq(dedup_client_offer(c, &offer, 1), -EAGAIN);
			if (fd >= 0)
				close(fd);
		} else {
			ck_assert(err.code && strstr(err.text, "shared pages"));
		}
		bool failed = fail_in < 0;
		fail_in = -1;
		dedup_client_destroy(c);
		ck_assert_int_eq(ret != 0, failed);
		if (!failed)
			break;
		ck_assert_int_lt(n, 50);
	}
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
	static const char *const names[] = {"",        "a b", "../x",
					    ".hidden", "a/b", "0123456789012345678901234567890123456789012345678901234567890123"};
	for (unsigned i = 0; i < 12; i++) {
		struct dedup_client_settings settings = {.path = path, .domain = "one", .guest = "one", .nr_pages = 1, .node = -1};
		struct dedup_client *c;
		struct error err;
		*(i % 2 ? &settings.domain : &settings.guest) = names[i / 2];
		ck_assert_int_eq(dedup_client_create(&settings, &c, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.text, "names"));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dedup client");
	TCase *tests = tcase_create("client");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_question_is_answered_with_its_pages);
	tcase_add_test(tests, four_questions_may_be_open_and_staging_is_not_used_twice);
	tcase_add_test(tests, a_daemon_that_talks_nonsense_is_left);
	tcase_add_test(tests, a_refusal_says_why_and_an_end_is_seen);
	tcase_add_test(tests, a_pool_is_brought_back_and_claimed);
	tcase_add_test(tests, what_a_full_socket_does_not_take_comes_later_and_in_order);
	tcase_add_test(tests, any_call_may_fail_once);
	tcase_add_test(tests, names_that_are_none_are_refused);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
