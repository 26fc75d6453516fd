/* The server of libvirt's protocol, with a program of its own: who may do what, in what order answers come, and what clients can do wrong. */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container_of.h"
#include "rpc/server.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { ECHO = 1, LATER, CHANGE, BIG, OPEN, MUCH, ENTER };
enum { BIG_BYTES = 1 << 20, MUCH_BYTES = 100000 };

static struct ev_loop *loop;
static struct rpc_server server;
static struct rpc_call *waiting[200];
static unsigned nr_waiting, nr_changes, nr_gone, nr_drained, nr_packets;
static struct rpc_client *last_client;

/* --- the program --- */

static void run_echo(struct rpc_call *call)
{
	char text[64];
	last_client = call->client;
	xdr_get_string(&call->in, text, sizeof(text));
	if (!xdr_is_done(&call->in)) {
		rpc_refuse(call, RPC_BROKEN, "no string");
		return;
	}
	xdr_put_string(&call->out, text);
	rpc_answer(call);
}

static void run_later(struct rpc_call *call)
{
	waiting[nr_waiting++] = call;
}

static void run_change(struct rpc_call *call)
{
	nr_changes++;
	rpc_answer(call);
}

static void run_big(struct rpc_call *call)
{
	void *bytes = calloc(1, BIG_BYTES);
	ck_assert_ptr_nonnull(bytes);
	xdr_put_opaque(&call->out, bytes, BIG_BYTES);
	free(bytes);
	rpc_answer(call);
}

/* More than an answer may be. */
static void run_much(struct rpc_call *call)
{
	static const uint8_t bytes[MUCH_BYTES];
	for (unsigned i = 0; i < XDR_MOST_OUT / MUCH_BYTES + 1; i++)
		xdr_put_opaque(&call->out, bytes, sizeof(bytes));
	rpc_answer(call);
}

/* Whoever says the word. */
static void run_enter(struct rpc_call *call)
{
	char text[64];
	xdr_get_string(&call->in, text, sizeof(text));
	if (strcmp(text, "sesame") != 0) {
		rpc_refuse(call, RPC_AUTH_FAILED, "no");
		return;
	}
	rpc_let_in(call->client);
	rpc_answer(call);
}

static const struct rpc_procedure procedures[] = {
	{.number = ECHO, .name = "echo", .run = run_echo},
	{.number = LATER, .name = "later", .run = run_later},
	{.number = CHANGE, .name = "change", .changes = true, .run = run_change},
	{.number = BIG, .name = "big", .run = run_big},
	{.number = OPEN, .name = "open", .changes = true, .run = run_change},
	{.number = MUCH, .name = "much", .run = run_much},
	{.number = ENTER, .name = "enter", .outside = true, .run = run_enter},
};

static const struct rpc_procedure *find(uint32_t number)
{
	for (size_t i = 0; i < sizeof(procedures) / sizeof(procedures[0]); i++)
		if (procedures[i].number == number)
			return &procedures[i];
	return NULL;
}

/* Comes back as it went, and the end is answered by an end. */
static void on_stream(struct rpc_client *client, const struct rpc_header *h, struct xdr_reader *data)
{
	nr_packets++;
	rpc_send_stream(client, h->procedure, h->serial, (enum rpc_status)h->status, data->at, data->left);
}

static void on_drained(struct rpc_client *client)
{
	(void)client;
	nr_drained++;
}

static void on_gone(struct rpc_client *client)
{
	(void)client;
	nr_gone++;
}

static const struct rpc_program program = {
	.call_bytes = sizeof(struct rpc_call), .find = find, .stream = on_stream, .drained = on_drained, .gone = on_gone};

/* --- clients --- */

struct client {
	int fd;
	struct rpc_input in;
};

static int try_connect(struct client *c, enum rpc_access access)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	*c = (struct client){.fd = fds[0]};
	return rpc_server_take(&server, fds[1], access);
}

static struct client connect_as(enum rpc_access access)
{
	struct client c;
	ck_assert_int_eq(try_connect(&c, access), 0);
	return c;
}

static void hang_up(struct client *c)
{
	close(c->fd);
	rpc_input_free(&c->in);
	c->fd = -1;
}

static void turn(void)
{
	for (unsigned i = 0; i < 20; i++)
		ev_run(loop, EVRUN_NOWAIT);
}

/* Returns false when the server has hung up, or takes no more. */
static bool say_bytes(struct client *c, const void *bytes, size_t len)
{
	return send(c->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool say_header(struct client *c, struct rpc_header h, const char *text)
{
	struct xdr_writer w = {.data = NULL};
	rpc_begin(&w);
	if (text)
		xdr_put_string(&w, text);
	rpc_end(&w, &h);
	bool sent = say_bytes(c, w.data, w.len);
	xdr_writer_free(&w);
	return sent;
}

static bool say(struct client *c, uint32_t procedure, uint32_t serial, const char *text)
{
	return say_header(c, (struct rpc_header){RPC_PROGRAM, RPC_VERSION, procedure, RPC_CALL, serial, RPC_OK}, text);
}

/* The next message. Returns false when there is none, or the server has hung up. */
static bool hear(struct client *c, struct rpc_header *h, struct xdr_reader *payload)
{
	for (unsigned tries = 0; tries < 2000; tries++) {
		if (rpc_input_next(&c->in, h, payload) > 0)
			return true;
		ev_run(loop, EVRUN_NOWAIT);
		uint8_t *room = rpc_input_room(&c->in, 65536);
		ssize_t got = recv(c->fd, room, 65536, MSG_DONTWAIT);
		if (got > 0)
			rpc_input_add(&c->in, (size_t)got);
		else if (got == 0)
			return false;
		else if (tries > 50)
			return false;
	}
	return false;
}

static void expect_reply(struct client *c, uint32_t serial, const char *text)
{
	struct rpc_header h;
	struct xdr_reader payload;
	char got[64];
	ck_assert(hear(c, &h, &payload));
	ck_assert_uint_eq(h.program, RPC_PROGRAM);
	ck_assert_uint_eq(h.type, RPC_REPLY);
	ck_assert_uint_eq(h.status, RPC_OK);
	ck_assert_uint_eq(h.serial, serial);
	if (text) {
		xdr_get_string(&payload, got, sizeof(got));
		ck_assert_str_eq(got, text);
	}
	ck_assert(xdr_is_done(&payload));
}

static void expect_error(struct client *c, uint32_t serial, enum rpc_error code)
{
	struct rpc_header h;
	struct xdr_reader payload;
	ck_assert(hear(c, &h, &payload));
	ck_assert_uint_eq(h.type, RPC_REPLY);
	ck_assert_uint_eq(h.status, RPC_ERROR);
	ck_assert_uint_eq(h.serial, serial);
	ck_assert_int_eq(xdr_get_i32(&payload), (int32_t)code);
}

static void expect_hung_up(struct client *c)
{
	struct rpc_header h;
	struct xdr_reader payload;
	char byte;
	ck_assert(!hear(c, &h, &payload));
	ck_assert_int_eq(recv(c->fd, &byte, 1, MSG_DONTWAIT), 0);
}

static void set_up(void)
{
	static const int none[2] = {-1, -1};
	loop = ev_loop_new(0);
	ck_assert_ptr_nonnull(loop);
	rpc_server_create(loop, &program, none, &server);
	nr_waiting = nr_changes = nr_gone = nr_drained = nr_packets = 0;
}

static void tear_down(void)
{
	rpc_server_destroy(&server);
	for (unsigned i = 0; i < nr_waiting; i++)
		rpc_answer(waiting[i]);
	ev_loop_destroy(loop);
}

/* --- calls --- */

START_TEST(answers_come_when_they_are_there_in_any_order)
{
	struct client c = connect_as(RPC_READ_WRITE);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert(say(&c, LATER, 10 + i, NULL));
	ck_assert(say(&c, ECHO, 99, "now"));
	expect_reply(&c, 99, "now");
	ck_assert_uint_eq(nr_waiting, 5);
	for (unsigned i = 5; i-- > 0;)
		rpc_answer(waiting[i]);
	nr_waiting = 0;
	for (uint32_t i = 5; i-- > 0;)
		expect_reply(&c, 10 + i, NULL);
	hang_up(&c);
}
END_TEST

START_TEST(halves_of_messages_harm_nobody)
{
	struct client c = connect_as(RPC_READ_WRITE), other = connect_as(RPC_READ_ONLY);
	struct xdr_writer w = {.data = NULL};
	rpc_begin(&w);
	xdr_put_string(&w, "slowly");
	rpc_end(&w, &(struct rpc_header){RPC_PROGRAM, RPC_VERSION, ECHO, RPC_CALL, 7, RPC_OK});
	for (size_t i = 0; i < w.len; i++) {
		ck_assert(say_bytes(&c, w.data + i, 1));
		turn();
		ck_assert(say(&other, ECHO, (uint32_t)i, "quickly"));
		expect_reply(&other, (uint32_t)i, "quickly");
	}
	expect_reply(&c, 7, "slowly");
	/* And a half that is never more. */
	ck_assert(say_bytes(&c, w.data, w.len / 2));
	turn();
	hang_up(&c);
	turn();
	ck_assert_uint_eq(nr_gone, 1);
	xdr_writer_free(&w);
	hang_up(&other);
}
END_TEST

START_TEST(who_may_only_read_changes_nothing)
{
	struct client rw = connect_as(RPC_READ_WRITE), ro = connect_as(RPC_READ_ONLY);
	ck_assert(say(&ro, CHANGE, 1, NULL));
	expect_error(&ro, 1, RPC_OPERATION_DENIED);
	ck_assert(say(&ro, ECHO, 2, "x"));
	expect_reply(&ro, 2, "x");
	ck_assert_uint_eq(nr_changes, 0);
	ck_assert(say(&rw, CHANGE, 3, NULL));
	expect_reply(&rw, 3, NULL);
	ck_assert_uint_eq(nr_changes, 1);
	ck_assert(say(&rw, ECHO, 4, "x"));
	expect_reply(&rw, 4, "x");
	rpc_make_read_only(last_client);
	ck_assert(say(&rw, CHANGE, 5, NULL));
	expect_error(&rw, 5, RPC_OPERATION_DENIED);
	hang_up(&rw);
	hang_up(&ro);
}
END_TEST

START_TEST(what_is_not_known_is_refused_and_the_conversation_goes_on)
{
	struct client c = connect_as(RPC_READ_WRITE);
	ck_assert(say(&c, 4711, 1, NULL));
	expect_error(&c, 1, RPC_NO_SUPPORT);
	ck_assert(say(&c, ECHO, 2, NULL));
	expect_error(&c, 2, RPC_BROKEN);
	ck_assert(say(&c, MUCH, 3, NULL));
	expect_error(&c, 3, RPC_NO_MEMORY);
	struct rpc_header h = {0x20008087, RPC_VERSION, 1, RPC_CALL, 4, RPC_OK}, got;
	struct xdr_reader payload;
	ck_assert(say_header(&c, h, NULL));
	ck_assert(hear(&c, &got, &payload));
	ck_assert(got.program == h.program && got.status == RPC_ERROR && got.serial == 4);
	ck_assert(say_header(&c, (struct rpc_header){RPC_PROGRAM, 2, 1, RPC_CALL, 5, RPC_OK}, NULL));
	ck_assert(hear(&c, &got, &payload));
	ck_assert(got.version == 2 && got.status == RPC_ERROR);
	ck_assert(say(&c, ECHO, 6, "on"));
	expect_reply(&c, 6, "on");
	hang_up(&c);
}
END_TEST

START_TEST(who_breaks_the_rules_is_hung_up_on)
{
	static const struct rpc_header wrong[] = {
		{RPC_PROGRAM, RPC_VERSION, ECHO, RPC_REPLY, 1, RPC_OK},   {RPC_PROGRAM, RPC_VERSION, ECHO, RPC_EVENT, 1, RPC_OK},
		{RPC_PROGRAM, RPC_VERSION, ECHO, RPC_CALL, 1, RPC_ERROR}, {RPC_PROGRAM, RPC_VERSION, ECHO, 77, 1, RPC_OK},
		{RPC_PROGRAM, RPC_VERSION, ECHO, RPC_STREAM, 1, 9},
	};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct client c = connect_as(RPC_READ_WRITE);
		ck_assert(say_header(&c, wrong[i], "x"));
		expect_hung_up(&c);
		hang_up(&c);
	}
	struct client c = connect_as(RPC_READ_WRITE);
	ck_assert(say_bytes(&c, "\377\377\377\377", 4));
	expect_hung_up(&c);
	hang_up(&c);
	ck_assert_uint_eq(server.nr_clients, 0);
}
END_TEST

START_TEST(a_ping_is_answered_while_calls_wait)
{
	struct client c = connect_as(RPC_READ_ONLY);
	struct rpc_header h;
	struct xdr_reader payload;
	ck_assert(say(&c, LATER, 1, NULL));
	ck_assert(say_header(&c, (struct rpc_header){RPC_KEEPALIVE_PROGRAM, RPC_VERSION, 1, RPC_EVENT, 0, RPC_OK}, NULL));
	ck_assert(hear(&c, &h, &payload));
	ck_assert(h.program == RPC_KEEPALIVE_PROGRAM && h.procedure == 2 && h.type == RPC_EVENT);
	/* An answer to a ping that nobody has sent. */
	ck_assert(say_header(&c, (struct rpc_header){RPC_KEEPALIVE_PROGRAM, RPC_VERSION, 2, RPC_EVENT, 0, RPC_OK}, NULL));
	turn();
	ck_assert_uint_eq(server.nr_clients, 1);
	hang_up(&c);
}
END_TEST

START_TEST(calls_outlive_their_client)
{
	struct client c = connect_as(RPC_READ_WRITE);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert(say(&c, LATER, i, NULL));
	turn();
	ck_assert_uint_eq(nr_waiting, 10);
	hang_up(&c);
	turn();
	ck_assert_uint_eq(nr_gone, 1);
	ck_assert_ptr_null(waiting[3]->client);
	for (unsigned i = 0; i < nr_waiting; i++)
		i % 2 ? rpc_answer(waiting[i]) : rpc_refuse(waiting[i], RPC_INTERNAL, "x");
	nr_waiting = 0;
}
END_TEST

START_TEST(a_client_has_so_many_calls_open_and_the_rest_waits)
{
	struct client c = connect_as(RPC_READ_WRITE);
	for (uint32_t i = 0; i < 2 * RPC_MOST_CALLS; i++)
		ck_assert(say(&c, LATER, i, NULL));
	turn();
	ck_assert_uint_eq(nr_waiting, RPC_MOST_CALLS);
	for (unsigned i = 0; i < RPC_MOST_CALLS; i++)
		rpc_answer(waiting[i]);
	turn();
	ck_assert_uint_eq(nr_waiting, 2 * RPC_MOST_CALLS);
	for (unsigned i = RPC_MOST_CALLS; i < nr_waiting; i++)
		rpc_answer(waiting[i]);
	nr_waiting = 0;
	for (uint32_t i = 0; i < 2 * RPC_MOST_CALLS; i++)
		expect_reply(&c, i, NULL);
	hang_up(&c);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_hung_up_on_and_others_are_served)
{
	struct client slow = connect_as(RPC_READ_WRITE), c = connect_as(RPC_READ_WRITE);
	uint32_t i = 0;
	while (server.nr_clients == 2 && i < 100) {
		say(&slow, BIG, i++, NULL);
		turn();
		ck_assert(say(&c, ECHO, i, "here"));
		expect_reply(&c, i, "here");
	}
	ck_assert_uint_eq(server.nr_clients, 1);
	ck_assert_uint_lt(i, 20);
	hang_up(&slow);
	hang_up(&c);
}
END_TEST

START_TEST(who_reads_what_was_too_much_at_once_is_told_that_there_is_room)
{
	struct client c = connect_as(RPC_READ_WRITE);
	struct rpc_header h;
	struct xdr_reader payload;
	ck_assert(say(&c, BIG, 1, NULL));
	turn();
	ck_assert_uint_eq(nr_drained, 0);
	ck_assert(hear(&c, &h, &payload) || c.in.len > 0);
	for (unsigned i = 0; i < 200 && c.in.len < BIG_BYTES; i++) {
		turn();
		ssize_t got = recv(c.fd, rpc_input_room(&c.in, 65536), 65536, MSG_DONTWAIT);
		if (got > 0)
			rpc_input_add(&c.in, (size_t)got);
	}
	turn();
	ck_assert_uint_eq(nr_drained, 1);
	hang_up(&c);
}
END_TEST

START_TEST(there_are_so_many_clients_and_some_places_are_for_those_who_change)
{
	struct client many[RPC_MOST_CLIENTS], late;
	for (unsigned i = 0; i < RPC_MOST_READ_ONLY; i++)
		many[i] = connect_as(RPC_READ_ONLY);
	ck_assert_int_eq(try_connect(&late, RPC_READ_ONLY), -EBUSY);
	hang_up(&late);
	for (unsigned i = RPC_MOST_READ_ONLY; i < RPC_MOST_CLIENTS; i++)
		many[i] = connect_as(RPC_READ_WRITE);
	ck_assert_int_eq(try_connect(&late, RPC_READ_WRITE), -EBUSY);
	hang_up(&late);
	hang_up(&many[0]);
	turn();
	many[0] = connect_as(RPC_READ_ONLY);
	for (unsigned i = 0; i < RPC_MOST_CLIENTS; i++)
		hang_up(&many[i]);
	turn();
	ck_assert_uint_eq(server.nr_clients, 0);
	ck_assert_uint_eq(server.nr_read_only, 0);
}
END_TEST

/* --- streams and events --- */

START_TEST(streams_carry_bytes_of_any_number)
{
	struct client c = connect_as(RPC_READ_WRITE);
	struct rpc_header h;
	struct xdr_reader payload;
	for (size_t len = 0; len < 9; len++) {
		struct xdr_writer w = {.data = NULL};
		rpc_begin(&w);
		xdr_put_fixed(&w, "abcdefgh", len);
		w.len = RPC_HEADER_BYTES + len;
		rpc_end(&w, &(struct rpc_header){RPC_PROGRAM, RPC_VERSION, OPEN, RPC_STREAM, 5, RPC_CONTINUE});
		ck_assert(say_bytes(&c, w.data, w.len));
		xdr_writer_free(&w);
		ck_assert(hear(&c, &h, &payload));
		ck_assert(h.type == RPC_STREAM && h.status == RPC_CONTINUE && h.serial == 5);
		ck_assert_uint_eq(payload.left, len);
		ck_assert_int_eq(memcmp(payload.at, "abcdefgh", len), 0);
	}
	ck_assert_uint_eq(nr_packets, 9);
	hang_up(&c);
}
END_TEST

START_TEST(events_go_to_whom_they_are_sent)
{
	struct client c = connect_as(RPC_READ_ONLY);
	struct rpc_header h;
	struct xdr_reader payload;
	struct xdr_writer w = {.data = NULL};
	ck_assert(say(&c, ECHO, 1, "x"));
	expect_reply(&c, 1, "x");
	rpc_begin(&w);
	xdr_put_i32(&w, 3);
	rpc_send_event(last_client, 318, &w);
	ck_assert_ptr_null(w.data);
	ck_assert(hear(&c, &h, &payload));
	ck_assert(h.type == RPC_EVENT && h.procedure == 318 && h.serial == 0);
	ck_assert_int_eq(xdr_get_i32(&payload), 3);
	rpc_break_stream(last_client, OPEN, 9, RPC_OPERATION_FAILED, "over");
	ck_assert(hear(&c, &h, &payload));
	ck_assert(h.type == RPC_STREAM && h.status == RPC_ERROR && h.serial == 9);
	hang_up(&c);
}
END_TEST

START_TEST(noise_from_many_clients_harms_nobody)
{
	random_start();
	struct client good = connect_as(RPC_READ_WRITE);
	for (uint32_t round = 0; round < 400; round++) {
		struct client c = connect_as(random_below(2) ? RPC_READ_ONLY : RPC_READ_WRITE);
		for (unsigned i = (unsigned)random_below(5); i-- > 0;) {
			uint8_t bytes[256];
			size_t len = RPC_HEADER_BYTES + random_below(100);
			for (size_t k = 0; k < sizeof(bytes); k++)
				bytes[k] = (uint8_t)(random_below(4) ? 0 : random_bits());
			bytes[0] = bytes[1] = bytes[2] = 0;
			bytes[3] = (uint8_t)len;
			if (random_below(8))
				memcpy(bytes + 4, "\x20\0\x80\x86\0\0\0\1", 8);
			say_bytes(&c, bytes, len);
			turn();
		}
		hang_up(&c);
		turn();
		while (nr_waiting)
			rpc_answer(waiting[--nr_waiting]);
		ck_assert(say(&good, ECHO, round, "still"));
		expect_reply(&good, round, "still");
	}
	hang_up(&good);
}
END_TEST

/* --- who is outside --- */

/* A client of another user. */
static int try_other(struct client *c, enum rpc_access access)
{
	int fds[2];
	ck_assert_int_eq(seteuid(65534), 0);
	int ret = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
	ck_assert(seteuid(0) == 0 && ret == 0);
	*c = (struct client){.fd = fds[0]};
	return rpc_server_take(&server, fds[1], access);
}

START_TEST(who_is_outside_is_answered_when_he_has_come_in)
{
	struct client c, own, others[RPC_MOST_OUTSIDE];
	server.asks = true;
	own = connect_as(RPC_READ_WRITE);
	ck_assert(say(&own, ECHO, 1, "at home"));
	expect_reply(&own, 1, "at home");
	ck_assert_int_eq(try_other(&c, RPC_READ_ONLY), 0);
	ck_assert(say(&c, ECHO, 1, "only looking"));
	expect_reply(&c, 1, "only looking");
	hang_up(&c);
	ck_assert_int_eq(try_other(&c, RPC_READ_WRITE), 0);
	ck_assert(say(&c, ECHO, 1, "hello"));
	expect_error(&c, 1, RPC_AUTH_FAILED);
	ck_assert(say(&c, CHANGE, 2, NULL));
	expect_error(&c, 2, RPC_AUTH_FAILED);
	ck_assert(say(&c, ENTER, 3, "open"));
	expect_error(&c, 3, RPC_AUTH_FAILED);
	ck_assert_uint_eq(nr_changes, 0);
	ck_assert_uint_eq(server.nr_outside, 1);
	ck_assert(say(&c, ENTER, 4, "sesame"));
	expect_reply(&c, 4, NULL);
	ck_assert_uint_eq(server.nr_outside, 0);
	ck_assert(say(&c, CHANGE, 5, NULL));
	expect_reply(&c, 5, NULL);
	ck_assert_uint_eq(nr_changes, 1);
	hang_up(&c);
	/* Streams are for those inside. */
	ck_assert_int_eq(try_other(&c, RPC_READ_WRITE), 0);
	ck_assert(say_header(&c, (struct rpc_header){RPC_PROGRAM, RPC_VERSION, ECHO, RPC_STREAM, 1, RPC_CONTINUE}, "x"));
	expect_hung_up(&c);
	ck_assert_uint_eq(nr_packets, 0);
	hang_up(&c);
	turn();
	/* And there are few places. */
	for (unsigned i = 0; i < RPC_MOST_OUTSIDE; i++)
		ck_assert_int_eq(try_other(&others[i], RPC_READ_WRITE), 0);
	ck_assert_int_eq(try_other(&c, RPC_READ_WRITE), -EBUSY);
	hang_up(&c);
	for (unsigned i = 0; i < RPC_MOST_OUTSIDE; i++)
		hang_up(&others[i]);
	turn();
	ck_assert_uint_eq(server.nr_outside, 0);
	ck_assert_uint_eq(server.nr_clients, 1);
	hang_up(&own);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rpc server");
	TCase *tests = tcase_create("server");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, answers_come_when_they_are_there_in_any_order);
	tcase_add_test(tests, halves_of_messages_harm_nobody);
	tcase_add_test(tests, who_may_only_read_changes_nothing);
	tcase_add_test(tests, what_is_not_known_is_refused_and_the_conversation_goes_on);
	tcase_add_test(tests, who_breaks_the_rules_is_hung_up_on);
	tcase_add_test(tests, a_ping_is_answered_while_calls_wait);
	tcase_add_test(tests, calls_outlive_their_client);
	tcase_add_test(tests, a_client_has_so_many_calls_open_and_the_rest_waits);
	tcase_add_test(tests, a_client_that_does_not_read_is_hung_up_on_and_others_are_served);
	tcase_add_test(tests, who_reads_what_was_too_much_at_once_is_told_that_there_is_room);
	tcase_add_test(tests, there_are_so_many_clients_and_some_places_are_for_those_who_change);
	tcase_add_test(tests, streams_carry_bytes_of_any_number);
	tcase_add_test(tests, events_go_to_whom_they_are_sent);
	tcase_add_test(tests, noise_from_many_clients_harms_nobody);
	if (geteuid() == 0)
		tcase_add_test(tests, who_is_outside_is_answered_when_he_has_come_in);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
