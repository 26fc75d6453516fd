/*
 * The procedures for libvirt's clients, in a server without VMMs: each is there once, takes what it takes and nothing else, and changes nothing for those who may only look.
 * With guests that run they are tested by virsh (tests/native/test_virsh.c).
 */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvirt/call.h"
#include "libvirt/capabilities.h"
#include "libvirt/guest_state.h"
#include "libvirt/hardware.h"
#include "libvirt/node_list.h"
#include "libvirt/procedures.h"
#include "libvirt/server.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { MOST_PROCEDURE = 600, MOST_WORDS = 40 };

static struct ev_loop *loop;
static struct host_options options;
static struct guests guests;
static struct libvirt_server server;
static struct arbiter_loop arbiter;
static char directory[64], paths[4][100];
static int client;
static struct rpc_input heard;

static int admit(struct guests *all, const struct definition *definition, struct error *err)
{
	(void)all;
	return error_set(err, EDQUOT, "%s: there is no memory", definition->name);
}

static bool has_room(struct guests *all, const struct guest *guest)
{
	(void)all, (void)guest;
	return false;
}

static struct guest *define(const char *name)
{
	struct error err;
	struct guest *g = NULL;
	json_t *d = json_pack("{s:s, s:i, s:s}", "name", name, "memory", 64 << 20, "kernel", "/kernel");
	ck_assert_msg(guests_define(&guests, d, false, &g, &err) == 0, "%s", err.text);
	json_decref(d);
	return g;
}

static void connect_as(enum rpc_access access)
{
	int fds[2];
	if (client >= 0)
		close(client);
	rpc_input_free(&heard);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	ck_assert_int_eq(rpc_server_take(&server.rpc, fds[1], access), 0);
	client = fds[0];
}

static void set_up(void)
{
	static const char *const names[] = {"run", "definitions", "logs", "libvirt"};
	static const int no_sockets[LIBVIRT_SOCKETS] = {-1, -1, -1};
	struct error err;
	strcpy(directory, "/tmp/pagoda-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	for (unsigned i = 0; i < 4; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", directory, names[i]);
	loop = ev_loop_new(0);
	options = (struct host_options){.run = paths[0],
					.definitions = paths[1],
					.logs = paths[2],
					.libvirt = paths[3],
					.images = directory,
					.vmm = "/vmm"};
	ck_assert_ptr_nonnull(loop);
	ck_assert_int_eq(guests_create(loop, &options, &guests, &err), 0);
	ck_assert_int_eq(arbiter_loop_create(loop, &guests, NULL, &arbiter, &err), 0);
	ck_assert_int_eq(libvirt_server_create(loop, &options, &guests, NULL, no_sockets, &server, &err), 0);
	server.arbiter = &arbiter;
	guests.admit = admit;
	guests.has_room = has_room;
	client = -1;
	connect_as(RPC_READ_WRITE);
}

static void tear_down(void)
{
	char command[100];
	close(client);
	rpc_input_free(&heard);
	libvirt_server_destroy(&server);
	guests_destroy(&guests);
	arbiter_loop_destroy(&arbiter);
	ev_loop_destroy(loop);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

/* Calls, and returns the status of the answer; its payload is there until the next call. */
static enum rpc_status ask(uint32_t procedure, const struct xdr_writer *arguments, struct xdr_reader *payload)
{
	static uint32_t serial;
	struct xdr_writer w = {.data = NULL};
	struct rpc_header h = {RPC_PROGRAM, RPC_VERSION, procedure, RPC_CALL, ++serial, RPC_OK};
	rpc_begin(&w);
	if (arguments && arguments->len)
		xdr_put_fixed(&w, arguments->data, arguments->len);
	rpc_end(&w, &h);
	ck_assert_int_eq(send(client, w.data, w.len, MSG_NOSIGNAL), (ssize_t)w.len);
	xdr_writer_free(&w);
	for (unsigned i = 0; i < 1000; i++) {
		ev_run(loop, EVRUN_NOWAIT);
		ssize_t got = recv(client, rpc_input_room(&heard, 65536), 65536, MSG_DONTWAIT);
		rpc_input_add(&heard, got > 0 ? (size_t)got : 0);
		while (rpc_input_next(&heard, &h, payload) > 0)
			if (h.type == RPC_REPLY && h.serial == serial)
				return (enum rpc_status)h.status;
	}
	ck_abort_msg("procedure %u is not answered", procedure);
	return RPC_ERROR;
}

static int32_t error_of(struct xdr_reader *payload)
{
	return xdr_get_i32(payload);
}

START_TEST(each_procedure_is_there_once)
{
	static const struct libvirt_procedures *const groups[] = {
		&libvirt_connect_procedures,  &libvirt_node_procedures,     &libvirt_list_procedures,
		&libvirt_info_procedures,     &libvirt_xml_procedures,      &libvirt_lifecycle_procedures,
		&libvirt_memory_procedures,   &libvirt_cpu_procedures,      &libvirt_event_procedures,
		&libvirt_console_procedures,  &libvirt_storage_procedures,  &libvirt_statistics_procedures,
		&libvirt_nothing_procedures,  &libvirt_metadata_procedures, &libvirt_polkit_procedures,
		&libvirt_hardware_procedures,
	};
	bool seen[MOST_PROCEDURE] = {false};
	size_t nr = 0;
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (size_t i = 0; i < groups[g]->nr; i++) {
			const struct rpc_procedure *p = &groups[g]->procedures[i];
			ck_assert_uint_lt(p->number, MOST_PROCEDURE);
			ck_assert_msg(!seen[p->number], "procedure %u is there twice", p->number);
			seen[p->number] = true;
			ck_assert_ptr_eq(libvirt_procedure(p->number), p);
			nr++;
		}
	ck_assert_uint_gt(nr, 140);
	ck_assert_ptr_null(libvirt_procedure(0));
	ck_assert_ptr_null(libvirt_procedure(UINT32_MAX));
}
END_TEST

/* Zeroes, or a guest and zeroes behind it: more and more of them. */
START_TEST(arguments_of_any_length_are_answered_once)
{
	unsigned refused = 0, done = 0;
	for (uint32_t p = 0; p < MOST_PROCEDURE; p++)
		for (unsigned words = 0; words < MOST_WORDS; words++)
			for (unsigned with_guest = 0; with_guest < 2; with_guest++) {
				struct xdr_writer w = {.data = NULL};
				struct xdr_reader payload;
				struct error err;
				struct guest *g = guests_find(&guests, "a", &err);
				if (!libvirt_procedure(p))
					continue;
				if (!g)
					g = define("a");
				if (with_guest)
					libvirt_put_guest(&w, g);
				for (unsigned i = 0; i < words; i++)
					xdr_put_u32(&w, 0);
				if (ask(p, &w, &payload) == RPC_OK)
					done++;
				else
					refused++;
				xdr_writer_free(&w);
			}
	ck_assert_uint_gt(refused, 1000);
	ck_assert_uint_gt(done, 70);
	/* One too many is as wrong as one too few. */
	struct xdr_writer w = {.data = NULL};
	struct xdr_reader payload;
	xdr_put_u32(&w, 0);
	ck_assert_int_eq(ask(3, &w, &payload), RPC_ERROR);
	ck_assert_int_eq(error_of(&payload), RPC_BROKEN);
	xdr_writer_free(&w);
}
END_TEST

START_TEST(who_may_only_look_changes_nothing)
{
	struct guest *g = define("a");
	json_t *before = json_deep_copy(g->definition->json);
	unsigned refused = 0;
	connect_as(RPC_READ_ONLY);
	for (uint32_t p = 0; p < MOST_PROCEDURE; p++) {
		const struct rpc_procedure *procedure = libvirt_procedure(p);
		for (unsigned words = 0; procedure && words < 8; words++) {
			struct xdr_writer w = {.data = NULL};
			struct xdr_reader payload;
			libvirt_put_guest(&w, g);
			for (unsigned i = 0; i < words; i++)
				xdr_put_u32(&w, 1);
			enum rpc_status status = ask(p, &w, &payload);
			if (procedure->changes) {
				ck_assert_int_eq(status, RPC_ERROR);
				ck_assert_int_eq(error_of(&payload), RPC_OPERATION_DENIED);
				refused++;
			}
			xdr_writer_free(&w);
		}
	}
	ck_assert_uint_gt(refused, 8 * 25);
	ck_assert_ptr_eq(guests.first, g);
	ck_assert_ptr_null(g->next);
	ck_assert(json_equal(g->definition->json, before));
	json_decref(before);
}
END_TEST

/* What they are marked as is not asked: these have an effect by what they are, in libvirt's protocol, ours or not yet. */
START_TEST(what_has_an_effect_is_not_for_those_who_may_only_look)
{
	static const uint16_t numbers[] = {
		8,   9,   10,  11,  12,  13,  26,  27,  28,  29,  30,  31,  32,  33,  34,  35,  53,  54,  55,  58,  160, 161,
		164, 166, 174, 182, 184, 185, 192, 193, 196, 197, 199, 201, 204, 207, 213, 214, 216, 217, 218, 219, 225, 231,
		232, 233, 234, 245, 254, 258, 264, 279, 288, 302, 303, 305, 306, 307, 308, 350, 358, 387, 440, 441,
	};
	unsigned there = 0;
	connect_as(RPC_READ_ONLY);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct xdr_reader payload;
		bool is_there = libvirt_procedure(numbers[i]) != NULL;
		ck_assert_int_eq(ask(numbers[i], NULL, &payload), RPC_ERROR);
		ck_assert_msg(error_of(&payload) == (is_there ? RPC_OPERATION_DENIED : RPC_NO_SUPPORT), "procedure %u", numbers[i]);
		there += is_there;
	}
	ck_assert_uint_gt(there, 25);
}
END_TEST

START_TEST(who_opens_read_only_is_read_only)
{
	struct xdr_writer w = {.data = NULL};
	struct xdr_reader payload;
	struct guest *g = define("a");
	xdr_put_optional_string(&w, "pagoda:///system");
	xdr_put_u32(&w, 1);
	ck_assert_int_eq(ask(1, &w, &payload), RPC_OK);
	xdr_writer_free(&w);
	libvirt_put_guest(&w, g);
	ck_assert_int_eq(ask(35, &w, &payload), RPC_ERROR);
	ck_assert_int_eq(error_of(&payload), RPC_OPERATION_DENIED);
	xdr_writer_free(&w);
}
END_TEST

START_TEST(a_guest_is_renamed_on_disk_too)
{
	char path[200];
	struct stat st;
	struct error err;
	struct guest *g = define("b");
	define("c");
	snprintf(path, sizeof(path), "%s/z.json", paths[1]);
	ck_assert_int_eq(guest_rename(g, "c", &err), -EEXIST);
	ck_assert_int_eq(guest_rename(g, "b", &err), -EEXIST);
	ck_assert_int_eq(guest_rename(g, "no/name", &err), -EINVAL);
	ck_assert_int_eq(guest_rename(g, "", &err), -EINVAL);
	ck_assert_int_eq(guest_rename(g, "\xff", &err), -EINVAL);
	ck_assert_int_eq(stat(path, &st), -1);
	ck_assert_int_eq(guest_rename(g, "z", &err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	snprintf(path, sizeof(path), "%s/b.json", paths[1]);
	ck_assert_int_eq(stat(path, &st), -1);
	ck_assert_str_eq(guests.first->definition->name, "c");
	ck_assert_ptr_eq(guests.first->next, g);
	ck_assert_str_eq(g->definition->name, "z");
	ck_assert_ptr_eq(guests_find(&guests, g->definition->uuid, &err), g);
	/* And what could not be written stays as it was. */
	snprintf(path, sizeof(path), "%s", paths[0]);
	strcat(path, "/guests/w");
	FILE *file = fopen(path, "w");
	ck_assert(file && fclose(file) == 0);
	ck_assert_int_lt(guest_rename(g, "w", &err), 0);
	ck_assert_str_eq(g->definition->name, "z");
	ck_assert_ptr_eq(guests_find(&guests, "z", &err), g);
}
END_TEST

START_TEST(lists_of_nodes_are_read_as_they_are_written)
{
	static const char *const wrong[] = {"",   "a",  "1-",   "-1",  "3-1",  "64",
					    "1,", ",1", "1,,2", "1 2", "0-64", "99999999999999999999"};
	char text[256];
	uint64_t nodes;
	random_start();
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t wanted = random_bits();
		/* Every other has few in it. */
		for (unsigned k = 0; k < i % 2 * 2; k++)
			wanted &= random_bits();
		if (!wanted)
			continue;
		node_list_text(wanted, text, sizeof(text));
		ck_assert_msg(node_list_parse(text, &nodes), "%s", text);
		ck_assert_uint_eq(nodes, wanted);
		json_t *list = node_list_json(wanted);
		ck_assert_int_eq((int)json_array_size(list), __builtin_popcountll(wanted));
		json_decref(list);
	}
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(!node_list_parse(wrong[i], &nodes), "%s", wrong[i]);
	node_list_text(0x8000000000000003ull, text, sizeof(text));
	ck_assert_str_eq(text, "0-1,63");
	node_list_text(UINT64_MAX, text, 4);
	ck_assert_uint_lt(strlen(text), 4);
}
END_TEST

START_TEST(every_state_has_a_word)
{
	struct guest *g = define("a");
	struct libvirt_guest_state state;
	g->process.fd = 0;
	for (enum guest_state s = GUEST_DEFINED; s <= GUEST_CRASHED; s++) {
		g->state = s;
		libvirt_guest_state(g, &state);
		bool off = s == GUEST_DEFINED || s == GUEST_STOPPED || s == GUEST_CRASHED;
		ck_assert_int_eq(state.state == LIBVIRT_SHUT_OFF, off);
	}
	/* One that waits for memory has no VMM, and so is not active. */
	g->process.fd = -1;
	g->state = GUEST_STARTING;
	libvirt_guest_state(g, &state);
	ck_assert_int_eq(state.state, LIBVIRT_SHUT_OFF);
	g->state = GUEST_DEFINED;
}
END_TEST

START_TEST(the_firmware_is_told_of_as_far_as_it_can_be_read)
{
	static const struct {
		const char *name, *value;
	} files[] = {
		{"bios_vendor", "Some & Sons\n"},
		{"sys_vendor", "\303\234ber <1>\nsecond line\n"},
		{"product_name", "Host 9"},
		{"board_vendor", ""},
	};
	char path[200];
	ck_assert_ptr_null(libvirt_smbios_text("/nonexistent"));
	ck_assert_ptr_null(libvirt_smbios_text(paths[3])); /* a directory without any of them */
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, files[i].name);
		FILE *file = fopen(path, "we");
		ck_assert_ptr_nonnull(file);
		fputs(files[i].value, file);
		fclose(file);
	}
	snprintf(path, sizeof(path), "%s/product_uuid", directory);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* cannot be read */
	char *text = libvirt_smbios_text(directory);
	ck_assert_str_eq(text, "<sysinfo type=\"smbios\">\n"
			       "  <bios>\n"
			       "    <entry name=\"vendor\">Some &amp; Sons</entry>\n"
			       "  </bios>\n"
			       "  <system>\n"
			       "    <entry name=\"manufacturer\">??ber &lt;1&gt;</entry>\n"
			       "    <entry name=\"product\">Host 9</entry>\n"
			       "  </system>\n"
			       "</sysinfo>\n");
	free(text);
}
END_TEST

START_TEST(models_of_cpu_are_counted_and_named)
{
	for (int names = 0; names < 2; names++) {
		struct xdr_writer w = {.data = NULL};
		struct xdr_reader payload;
		char name[32];
		xdr_put_string(&w, "x86_64");
		xdr_put_i32(&w, names);
		xdr_put_u32(&w, 0);
		ck_assert_int_eq(ask(312, &w, &payload), RPC_OK);
		ck_assert_uint_eq(xdr_get_u32(&payload), names ? 4 : 0);
		for (int i = 0; names && i < 4; i++) {
			xdr_get_string(&payload, name, sizeof(name));
			ck_assert_str_eq(name, libvirt_cpu_level((unsigned)i));
		}
		ck_assert_int_eq(xdr_get_i32(&payload), 4);
		xdr_writer_free(&w);
	}
	struct xdr_writer w = {.data = NULL};
	struct xdr_reader payload;
	xdr_put_string(&w, "s390x");
	xdr_put_i32(&w, 1);
	xdr_put_u32(&w, 0);
	ck_assert_int_eq(ask(312, &w, &payload), RPC_ERROR);
	ck_assert_int_eq(error_of(&payload), RPC_INVALID_ARGUMENT);
	xdr_writer_free(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("libvirt");
	TCase *tests = tcase_create("libvirt");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, each_procedure_is_there_once);
	tcase_add_test(tests, arguments_of_any_length_are_answered_once);
	tcase_add_test(tests, who_may_only_look_changes_nothing);
	tcase_add_test(tests, what_has_an_effect_is_not_for_those_who_may_only_look);
	tcase_add_test(tests, who_opens_read_only_is_read_only);
	tcase_add_test(tests, a_guest_is_renamed_on_disk_too);
	tcase_add_test(tests, lists_of_nodes_are_read_as_they_are_written);
	tcase_add_test(tests, every_state_has_a_word);
	tcase_add_test(tests, the_firmware_is_told_of_as_far_as_it_can_be_read);
	tcase_add_test(tests, models_of_cpu_are_counted_and_named);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
