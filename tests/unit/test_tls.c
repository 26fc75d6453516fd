/*
 * The door for TLS, with real certificates and a client in the same thread: who comes in, who does not and why, what somebody can do who only knocks, and that calls go
 * through in pieces of any size. virsh comes by it in tests/native/test_virsh_remote.c.
 */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "rpc/name_pattern.h"
#include "rpc/tls_door.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"
#include "tests/unit/tls_certificates.h"

enum { ECHO = 1, BIG, BIG_BYTES = 900000, TURNS = 20000 };

static struct ev_loop *loop;
static struct rpc_server server;
static struct rpc_tls_door *door;
static char directory[64], files[8][100];
static struct tls_authority ours, theirs;
static struct sockaddr_in address;
static char who[600];
static double patience;

enum { AUTHORITY, CERTIFICATE, KEY, CLIENT, CLIENT_KEY };

/* --- the server's end --- */

static void run_echo(struct rpc_call *call)
{
	char text[64];
	snprintf(who, sizeof(who), "%s", rpc_client_who(call->client));
	xdr_get_string(&call->in, text, sizeof(text));
	xdr_put_string(&call->out, text);
	rpc_answer(call);
}

static void run_big(struct rpc_call *call)
{
	uint8_t *bytes = malloc(BIG_BYTES);
	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < BIG_BYTES; i++)
		bytes[i] = (uint8_t)(i + 4); /* behind its length */
	xdr_put_opaque(&call->out, bytes, BIG_BYTES);
	free(bytes);
	rpc_answer(call);
}

static const struct rpc_procedure *find(uint32_t number)
{
	static const struct rpc_procedure procedures[] = {{.number = ECHO, .name = "echo", .changes = true, .run = run_echo},
							  {.number = BIG, .name = "big", .run = run_big}};
	return number == ECHO || number == BIG ? &procedures[number - ECHO] : NULL;
}

static void on_stream(struct rpc_client *client, const struct rpc_header *h, struct xdr_reader *data)
{
	(void)client, (void)h, (void)data;
}

static void on_client(struct rpc_client *client)
{
	(void)client;
}

static const struct rpc_program program = {
	.call_bytes = sizeof(struct rpc_call), .find = find, .stream = on_stream, .drained = on_client, .gone = on_client};

static void turn(void)
{
	ev_run(loop, EVRUN_NOWAIT);
}

static void open_door(const char *const *names, unsigned nr_names)
{
	const struct rpc_tls_files f = {files[AUTHORITY], files[CERTIFICATE], files[KEY], names, nr_names};
	socklen_t len = sizeof(address);
	struct rpc_tls_identity *identity;
	struct error err;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 64) == 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	ck_assert_msg(rpc_tls_load(&f, &identity, &err) == 0, "%s", err.text);
	ck_assert_int_eq(rpc_tls_door_create(&server, fd, identity, patience, &door), 0);
}

static void close_door(void)
{
	rpc_server_destroy(&server);
	rpc_tls_door_destroy(door);
	door = NULL;
}

static void set_up(void)
{
	static const int none[2] = {-1, -1};
	static const char *const names[] = {"ca", "cert", "key", "client", "client-key"};
	log_open("test", LOG_LEVEL_ERROR);
	strcpy(directory, "/tmp/pagoda-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	for (unsigned i = 0; i < 5; i++)
		snprintf(files[i], sizeof(files[i]), "%s/%s", directory, names[i]);
	tls_make_authority("CN=ours", &ours);
	tls_make_authority("CN=theirs", &theirs);
	tls_write_authority(&ours, files[AUTHORITY]);
	tls_make_certificate(&ours, "CN=host", NULL, "localhost", 30, files[CERTIFICATE], files[KEY]);
	tls_make_certificate(&ours, "CN=admin,O=Example", NULL, NULL, 30, files[CLIENT], files[CLIENT_KEY]);
	loop = ev_loop_new(0);
	ck_assert_ptr_nonnull(loop);
	rpc_server_create(loop, &program, none, &server);
	who[0] = '\0';
	patience = 10;
}

static void tear_down(void)
{
	char command[100];
	close_door();
	ev_loop_destroy(loop);
	tls_free_authority(&ours);
	tls_free_authority(&theirs);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

/* --- clients --- */

struct client {
	int fd;
	gnutls_session_t session;
	gnutls_certificate_credentials_t credentials;
	struct rpc_input in;
};

static int knock(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EINPROGRESS);
	return fd;
}

static bool is_hung_up(int fd)
{
	char bytes[4096];
	ssize_t got;
	do
		got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (got > 0);
	return got == 0 || errno == ECONNRESET;
}

static void begin_client(struct client *c, bool with_certificate, const char *priorities)
{
	*c = (struct client){.fd = knock()};
	ck_assert_int_eq(gnutls_certificate_allocate_credentials(&c->credentials), 0);
	if (with_certificate)
		ck_assert_int_ge(gnutls_certificate_set_x509_key_file(c->credentials, files[CLIENT], files[CLIENT_KEY],
								      GNUTLS_X509_FMT_PEM),
				 0);
	ck_assert_int_eq(gnutls_init(&c->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL), 0);
	ck_assert_int_eq(gnutls_priority_set_direct(c->session, priorities, NULL), 0);
	ck_assert_int_eq(gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials), 0);
	gnutls_transport_set_int(c->session, c->fd);
}

static void end_client(struct client *c)
{
	gnutls_deinit(c->session);
	gnutls_certificate_free_credentials(c->credentials);
	rpc_input_free(&c->in);
	if (c->fd >= 0)
		close(c->fd);
}

/* Returns bytes, or a negative value when it was refused or hung up on. */
static ssize_t hear_bytes(struct client *c, void *bytes, size_t size)
{
	for (unsigned i = 0; i < TURNS; i++) {
		ssize_t got = gnutls_record_recv(c->session, bytes, size);
		if (got != GNUTLS_E_AGAIN)
			return got > 0 ? got : -1;
		turn();
		usleep(20);
	}
	return -1;
}

/* Whether it was let in, which is when it has heard the byte that says so. */
static bool shake(struct client *c)
{
	char byte = 0;
	int ret = GNUTLS_E_AGAIN;
	for (unsigned i = 0; i < TURNS && ret < 0 && !gnutls_error_is_fatal(ret); i++) {
		ret = gnutls_handshake(c->session);
		turn();
		usleep(20);
	}
	return ret == 0 && hear_bytes(c, &byte, 1) == 1 && byte == 1;
}

static bool comes_in(bool with_certificate, const char *priorities)
{
	struct client c;
	begin_client(&c, with_certificate, priorities);
	bool in = shake(&c);
	ck_assert_uint_eq(server.nr_clients, in);
	end_client(&c);
	for (unsigned i = 0; i < TURNS && server.nr_clients; i++)
		turn();
	ck_assert_uint_eq(server.nr_clients, 0);
	ck_assert_uint_eq(rpc_tls_door_nr_shaking(door), 0);
	return in;
}

/* In pieces of so many bytes. */
static void say(struct client *c, uint32_t procedure, uint32_t serial, const char *text, size_t piece)
{
	struct xdr_writer w = {.data = NULL};
	const struct rpc_header h = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_CALL, serial, RPC_OK};
	rpc_begin(&w);
	if (text)
		xdr_put_string(&w, text);
	rpc_end(&w, &h);
	for (size_t at = 0; at < w.len;) {
		size_t now = piece < w.len - at ? piece : w.len - at;
		ssize_t put = gnutls_record_send(c->session, w.data + at, now);
		ck_assert(put > 0 || put == GNUTLS_E_AGAIN);
		at += put > 0 ? (size_t)put : 0;
		turn();
	}
	xdr_writer_free(&w);
}

static void hear(struct client *c, uint32_t serial, struct xdr_reader *payload)
{
	struct rpc_header h;
	while (rpc_input_next(&c->in, &h, payload) == 0) {
		ssize_t got = hear_bytes(c, rpc_input_room(&c->in, 65536), 65536);
		ck_assert_int_gt(got, 0);
		rpc_input_add(&c->in, (size_t)got);
	}
	ck_assert_uint_eq(h.serial, serial);
	ck_assert_uint_eq(h.status, RPC_OK);
}

#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"
#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"

/* --- tests --- */

START_TEST(who_has_a_certificate_of_our_authority_comes_in)
{
	struct xdr_reader payload;
	struct client c;
	char text[64];
	open_door(NULL, 0);
	ck_assert(comes_in(true, TLS12));
	begin_client(&c, true, TLS13);
	ck_assert(shake(&c));
	say(&c, ECHO, 7, "hello", 1000);
	hear(&c, 7, &payload);
	xdr_get_string(&payload, text, sizeof(text));
	ck_assert_str_eq(text, "hello");
	ck_assert_msg(!strncmp(who, "O=Example,CN=admin from 127.0.0.1:", 34), "%s", who);
	end_client(&c);
}
END_TEST

START_TEST(who_has_none_or_a_wrong_one_stays_outside)
{
	static const char *const versions[] = {TLS12, TLS13};
	open_door(NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(!comes_in(false, versions[i]));
		tls_make_certificate(&theirs, "CN=admin,O=Example", NULL, NULL, 30, files[CLIENT], files[CLIENT_KEY]);
		ck_assert(!comes_in(true, versions[i]));
		tls_make_certificate(&ours, "CN=admin,O=Example", NULL, NULL, -2, files[CLIENT], files[CLIENT_KEY]);
		ck_assert(!comes_in(true, versions[i]));
		tls_make_certificate(&ours, "CN=admin,O=Example", GNUTLS_KP_TLS_WWW_SERVER, NULL, 30, files[CLIENT],
				     files[CLIENT_KEY]);
		ck_assert(!comes_in(true, versions[i]));
		tls_make_certificate(&ours, "CN=admin,O=Example", GNUTLS_KP_TLS_WWW_CLIENT, NULL, 30, files[CLIENT],
				     files[CLIENT_KEY]);
		ck_assert(comes_in(true, versions[i]));
	}
	ck_assert(!comes_in(true, "NORMAL:-VERS-ALL:+VERS-TLS1.1"));
}
END_TEST

START_TEST(a_list_of_names_lets_in_those_who_are_in_it)
{
	static const char *const names[] = {"CN=root", "O=Example,CN=ad*"};
	open_door(names, 2);
	ck_assert(comes_in(true, TLS13));
	tls_make_certificate(&ours, "CN=root", NULL, NULL, 30, files[CLIENT], files[CLIENT_KEY]);
	ck_assert(comes_in(true, TLS13));
	tls_make_certificate(&ours, "CN=root,O=Example", NULL, NULL, 30, files[CLIENT], files[CLIENT_KEY]);
	ck_assert(!comes_in(true, TLS13));
	tls_make_certificate(&ours, "CN=visitor,O=Example", NULL, NULL, 30, files[CLIENT], files[CLIENT_KEY]);
	ck_assert(!comes_in(true, TLS13));
}
END_TEST

START_TEST(calls_and_answers_go_through_in_pieces_of_any_size)
{
	struct client c;
	struct xdr_reader payload;
	char text[64];
	open_door(NULL, 0);
	begin_client(&c, true, TLS13);
	ck_assert(shake(&c));
	for (uint32_t serial = 1; serial < 40; serial += 3) {
		say(&c, ECHO, serial, "some words that are echoed", serial);
		hear(&c, serial, &payload);
		xdr_get_string(&payload, text, sizeof(text));
		ck_assert_str_eq(text, "some words that are echoed");
	}
	/* More than the socket takes: the daemon's end gets stuck within a record, and goes on there. */
	for (uint32_t serial = 50; serial < 56; serial++)
		say(&c, BIG, serial, NULL, 1000);
	for (unsigned i = 0; i < 200; i++)
		turn();
	say(&c, ECHO, 56, "behind them", 1000);
	for (uint32_t serial = 50; serial < 56; serial++) {
		hear(&c, serial, &payload);
		ck_assert_uint_eq(payload.left, BIG_BYTES + 4);
		ck_assert_int_eq(payload.at[BIG_BYTES / 2], (uint8_t)(BIG_BYTES / 2));
	}
	hear(&c, 56, &payload);
	end_client(&c);
}
END_TEST

START_TEST(half_a_packet_a_lie_or_bytes_that_are_not_tls_end_the_connection_alone)
{
	static const uint8_t lie[] = {0xff, 0xff, 0xff, 0xff};
	struct client good, bad;
	struct xdr_reader payload;
	char byte;
	open_door(NULL, 0);
	begin_client(&good, true, TLS13);
	ck_assert(shake(&good));
	begin_client(&bad, true, TLS13);
	ck_assert(shake(&bad));
	ck_assert_int_eq(gnutls_record_send(bad.session, "\0\0\0\x40 half", 9), 9);
	end_client(&bad);
	begin_client(&bad, true, TLS13);
	ck_assert(shake(&bad));
	ck_assert_int_eq(gnutls_record_send(bad.session, lie, sizeof(lie)), sizeof(lie));
	ck_assert_int_lt(hear_bytes(&bad, &byte, 1), 0);
	end_client(&bad);
	begin_client(&bad, true, TLS13);
	ck_assert(shake(&bad));
	ck_assert_int_eq(send(bad.fd, "these bytes are no record of TLS", 32, MSG_NOSIGNAL), 32);
	ck_assert_int_lt(hear_bytes(&bad, &byte, 1), 0);
	end_client(&bad);
	say(&good, ECHO, 1, "still there", 3);
	hear(&good, 1, &payload);
	for (unsigned i = 0; i < 100; i++)
		turn();
	ck_assert_uint_eq(server.nr_clients, 1);
	end_client(&good);
}
END_TEST

START_TEST(noise_at_the_door_lets_nobody_in)
{
	enum { KNOCKING = 20 };
	uint8_t noise[512];
	int fds[KNOCKING];
	open_door(NULL, 0);
	random_start();
	for (unsigned i = 0; i < KNOCKING; i++) {
		fds[i] = knock();
		for (unsigned k = 0; k < sizeof(noise); k++)
			noise[k] = (uint8_t)random_bits();
		if (i % 2)
			/* A record of a handshake with a hello in it, as far as its head says. */
			memcpy(noise, "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", 11);
		for (unsigned k = 0; k < 30; k++) {
			turn();
			usleep(1000);
		}
		ck_assert_int_eq(send(fds[i], noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
	}
	for (unsigned k = 0; k < 200; k++)
		turn();
	ck_assert_uint_eq(server.nr_clients, 0);
	for (unsigned i = 0; i < KNOCKING; i++) {
		/* Others may seem to be about to send a longer record. */
		ck_assert(is_hung_up(fds[i]) || !(i % 2));
		close(fds[i]);
	}
	for (unsigned k = 0; k < 200; k++)
		turn();
	ck_assert(comes_in(true, TLS13));
}
END_TEST

START_TEST(who_stalls_loses_his_place_when_others_come_and_keeps_nobody_out)
{
	enum { KNOCKING = RPC_TLS_MOST_SHAKING + 8 };
	int fds[KNOCKING];
	struct client c;
	unsigned hung_up = 0;
	open_door(NULL, 0);
	for (unsigned i = 0; i < KNOCKING; i++) {
		fds[i] = knock();
		for (unsigned k = 0; k < 30; k++) {
			turn();
			usleep(1000);
		}
		/* Half of a hello. */
		ck_assert_int_eq(send(fds[i], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", i % 12, MSG_NOSIGNAL), i % 12);
	}
	ck_assert_uint_eq(rpc_tls_door_nr_shaking(door), RPC_TLS_MOST_SHAKING);
	begin_client(&c, true, TLS13);
	ck_assert(shake(&c));
	ck_assert_uint_eq(server.nr_clients, 1);
	for (unsigned i = 0; i < KNOCKING; i++) {
		bool gone = is_hung_up(fds[i]);
		ck_assert_msg(gone || i > 0, "the first that came");
		hung_up += gone;
	}
	ck_assert_uint_eq(hung_up, 9);
	for (unsigned i = 0; i < KNOCKING; i++)
		close(fds[i]);
	for (unsigned i = 0; i < 100; i++)
		turn();
	ck_assert_uint_eq(rpc_tls_door_nr_shaking(door), 0);
	end_client(&c);
}
END_TEST

START_TEST(nobody_is_waited_for_longer_than_patience)
{
	patience = .4;
	open_door(NULL, 0);
	int fd = knock();
	ev_tstamp start = ev_time();
	while (!is_hung_up(fd) && ev_time() < start + 20) {
		turn();
		usleep(10000);
	}
	ck_assert_uint_eq(rpc_tls_door_nr_shaking(door), 0);
	ck_assert_double_gt(ev_time() - start, .3);
	ck_assert_double_lt(ev_time() - start, 20);
	close(fd);
}
END_TEST

START_TEST(a_door_that_closes_hangs_up_on_all)
{
	struct client in;
	char byte;
	open_door(NULL, 0);
	int fd = knock();
	begin_client(&in, true, TLS13);
	ck_assert(shake(&in));
	ck_assert_uint_eq(rpc_tls_door_nr_shaking(door), 1);
	close_door();
	ck_assert(is_hung_up(fd));
	ck_assert_int_le(gnutls_record_recv(in.session, &byte, 1), 0);
	close(fd);
	end_client(&in);
}
END_TEST

static void expect_refused(const struct rpc_tls_files *f, const char *says)
{
	struct rpc_tls_identity *identity;
	struct error err;
	ck_assert_int_lt(rpc_tls_load(f, &identity, &err), 0);
	ck_assert_msg(strstr(err.text, says) != NULL, "%s", err.text);
}

START_TEST(files_that_do_not_fit_are_named)
{
	struct rpc_tls_files f = {files[AUTHORITY], files[CERTIFICATE], "/nowhere", NULL, 0};
	expect_refused(&f, "the key /nowhere: No such file");
	f.key = directory;
	expect_refused(&f, "is no file");
	f.key = files[CLIENT_KEY];
	expect_refused(&f, files[CLIENT_KEY]);
	f.key = files[KEY];
	f.authority = files[KEY];
	expect_refused(&f, files[KEY]);
	f.authority = files[AUTHORITY];
	f.certificate = files[KEY];
	expect_refused(&f, files[KEY]);
	f.certificate = files[CERTIFICATE];
	ck_assert_int_eq(chmod(files[KEY], 0644), 0);
	expect_refused(&f, "everybody may read it");
	ck_assert_int_eq(chmod(files[KEY], 0640), 0);
	open_door(NULL, 0);
}
END_TEST

/* As it is said, word for word. */
static bool model(const char *pattern, const char *name)
{
	if (*pattern == '*')
		return model(pattern + 1, name) || (*name && model(pattern, name + 1));
	if (!*pattern || !*name)
		return *pattern == *name;
	return (*pattern == '?' || *pattern == *name) && model(pattern + 1, name + 1);
}

START_TEST(patterns_fit_as_a_plain_model_says)
{
	char pattern[8], name[12];
	unsigned fitting = 0;
	random_start();
	for (unsigned i = 0; i < 200000; i++) {
		size_t p = random_bits() % sizeof(pattern), n = random_bits() % sizeof(name);
		for (size_t k = 0; k < p; k++)
			pattern[k] = "ab*?"[random_bits() % 4];
		for (size_t k = 0; k < n; k++)
			name[k] = "ab"[random_bits() % 2];
		pattern[p] = name[n] = '\0';
		ck_assert_msg(name_pattern_fits(pattern, name) == model(pattern, name), "%s and %s", pattern, name);
		fitting += model(pattern, name);
	}
	ck_assert_uint_gt(fitting, 1000);
	ck_assert(name_pattern_fits("CN=[a\\,b]*", "CN=[a\\,b],O=x"));
	ck_assert(!name_pattern_fits("CN=[ab]", "CN=a"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls");
	TCase *tests = tcase_create("tls");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, who_has_a_certificate_of_our_authority_comes_in);
	tcase_add_test(tests, who_has_none_or_a_wrong_one_stays_outside);
	tcase_add_test(tests, a_list_of_names_lets_in_those_who_are_in_it);
	tcase_add_test(tests, calls_and_answers_go_through_in_pieces_of_any_size);
	tcase_add_test(tests, half_a_packet_a_lie_or_bytes_that_are_not_tls_end_the_connection_alone);
	tcase_add_test(tests, noise_at_the_door_lets_nobody_in);
	tcase_add_test(tests, who_stalls_loses_his_place_when_others_come_and_keeps_nobody_out);
	tcase_add_test(tests, nobody_is_waited_for_longer_than_patience);
	tcase_add_test(tests, a_door_that_closes_hangs_up_on_all);
	tcase_add_test(tests, files_that_do_not_fit_are_named);
	tcase_add_test(tests, patterns_fit_as_a_plain_model_says);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
