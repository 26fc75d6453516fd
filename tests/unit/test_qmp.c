/* QMP conversations: what a client sends, and what it gets back, as QEMU 7.2 answers where it has the command. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/failing_malloc.h"
#include "tests/unit/fake_machine.h"
#include "vmm/qmp.h"
#include "vmm/qmp_framer.h"

static struct machine machine;
static struct qmp_session *session;
static struct monitor_text out;
static struct machine_listener listener;

static void on_event(struct machine_listener *self, const struct machine_event_info *info)
{
	(void)self;
	qmp_session_event(session, info);
}

static void set_up(void)
{
	machine = (struct machine){.state = RUN_STATE_RUNNING, .config.nr_cpus = 2};
	listener = (struct machine_listener){.notify = on_event};
	session = qmp_session_new(&machine, false, &out);
	ck_assert_ptr_nonnull(session);
	machine_listen(&machine, &listener);
	qmp_session_begin(session);
}

static void tear_down(void)
{
	qmp_session_free(session);
	monitor_text_free(&out);
}

static void send(const char *text)
{
	qmp_session_receive(session, text, strlen(text));
}

/* The next message; NULL when there is none. The caller drops it. */
static json_t *next_message(void)
{
	char *end = out.len ? strstr(out.data, "\r\n") : NULL;
	if (!end)
		return NULL;
	json_t *message = json_loadb(out.data, (size_t)(end - out.data), 0, NULL);
	ck_assert_msg(message != NULL, "no JSON: %s", out.data);
	monitor_text_drop(&out, (size_t)(end - out.data) + 2);
	return message;
}

/* The next message is that, written without blanks and by sorted keys; the time of an event is left out. */
static void expect(const char *wanted)
{
	json_t *message = next_message();
	ck_assert_msg(message != NULL, "nothing, not %s", wanted);
	json_object_del(message, "timestamp");
	char *text = json_dumps(message, JSON_COMPACT | JSON_SORT_KEYS);
	ck_assert_str_eq(text, wanted);
	free(text);
	json_decref(message);
}

static void expect_error(const char *class, const char *text)
{
	char wanted[600];
	snprintf(wanted, sizeof(wanted), "{\"error\":{\"class\":\"%s\",\"desc\":\"%s\"}}", class, text);
	expect(wanted);
}

static void expect_nothing(void)
{
	ck_assert_msg(out.len == 0, "there is more: %s", out.data);
}

static void negotiate(void)
{
	json_decref(next_message());
	send("{\"execute\": \"qmp_capabilities\"}");
	expect("{\"return\":{}}");
}

START_TEST(a_client_is_greeted_and_must_negotiate)
{
	expect("{\"QMP\":{\"capabilities\":[],\"version\":{\"package\":\"pagoda "
	       "0.1.0\",\"qemu\":{\"major\":7,\"micro\":0,\"minor\":2}}}}");
	send("{\"execute\": \"query-status\"}\n");
	expect_error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
	fake_announce(&machine, MACHINE_EVENT_STOP, false, NULL);
	expect_nothing();
	send("{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}\n");
	expect_error("GenericError", "Capability 'oob' is not available");
	send("{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": []}}\n");
	expect("{\"return\":{}}");
	send("{\"execute\": \"qmp_capabilities\"}\n");
	expect_error("CommandNotFound", "Capabilities negotiation is already complete, command ignored");
	qmp_session_begin(session);
	json_decref(next_message());
	send("{\"execute\": \"query-status\"}\n");
	expect_error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
}
END_TEST

START_TEST(an_id_of_any_kind_comes_back)
{
	negotiate();
	send("{\"execute\": \"query-status\", \"id\": {\"a\": [1]}}");
	expect("{\"id\":{\"a\":[1]},\"return\":{\"running\":true,\"singlestep\":false,\"status\":\"running\"}}");
	send("{\"execute\": \"nosuch\", \"id\": 5}");
	expect("{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command nosuch has not been found\"},\"id\":5}");
	send("{\"execute\": 1, \"id\": \"x\"}");
	expect("{\"error\":{\"class\":\"GenericError\",\"desc\":\"QMP input member 'execute' must be a string\"},\"id\":\"x\"}");
	send("{\"execute\": \"stop\", \"id\": null}");
	expect("{\"event\":\"STOP\"}");
	expect("{\"id\":null,\"return\":{}}");
}
END_TEST

START_TEST(messages_of_the_wrong_form_are_refused_as_qemu_does)
{
	negotiate();
	send("[1]");
	expect_error("GenericError", "QMP input must be a JSON object");
	send("{\"exec\": 1}");
	expect_error("GenericError", "QMP input member 'exec' is unexpected");
	send("{}");
	expect_error("GenericError", "QMP input lacks member 'execute'");
	send("{\"exec-oob\": \"stop\"}");
	expect_error("GenericError", "QMP input member 'exec-oob' is unexpected");
	send("{\"execute\": \"stop\", \"arguments\": []}");
	expect_error("GenericError", "QMP input member 'arguments' must be an object");
	send("{\"execute\": \"stop\", \"arguments\": {\"a\": 1}}");
	expect_error("GenericError", "Parameter 'a' is unexpected");
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"a\"}}");
	expect_error("GenericError", "Parameter 'up' is missing");
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"a\", \"up\": 1}}");
	expect_error("GenericError", "Invalid parameter type for 'up', expected: boolean");
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"a\", \"up\": true}}");
	expect_error("DeviceNotFound", "Device 'a' not found");
	send("\"abc\" 5 true ");
	for (int i = 0; i < 3; i++)
		expect_error("GenericError", "QMP input must be a JSON object");
	expect_nothing();
	ck_assert_int_eq(machine.state, RUN_STATE_RUNNING);
}
END_TEST

START_TEST(after_garbage_the_conversation_goes_on)
{
	static const char *const garbage[] = {
		"foo\n",
		"{\"a\" 1}",
		"}",
		"]",
		"{\"a\": \"unfinished\n",
		"{,}\n",
		":",
		",",
		"{\"execute\": \"stop\", \"execute\": \"cont\"}",
		"\x01\xff\n",
		"nul ",
		"[}",
		"{\"a\": '\\x'}",
		"{\"a\": \"\xff\"}",
		"-\n",
		"'\n",
	};
	negotiate();
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		send(garbage[i]);
		json_t *message = next_message();
		ck_assert_msg(message && json_object_get(message, "error"), "%s", garbage[i]);
		json_decref(message);
		ck_assert_msg(!out.len, "after %s there is %s", garbage[i], out.data);
		send("{\"execute\": \"query-kvm\"}");
		expect("{\"return\":{\"enabled\":true,\"present\":true}}");
	}
}
END_TEST

START_TEST(messages_may_come_byte_by_byte_or_many_at_once)
{
	static const char text[] = "  {\"execute\": \"query-kvm\", \"id\": "
				   "\"}{\\\"\"}{'execute':'query-kvm','id':'a\"b\\'c'}\n{\"execute\":\"query-kvm\"}";
	negotiate();
	for (size_t i = 0; i + 1 < sizeof(text); i++)
		qmp_session_receive(session, text + i, 1);
	for (int i = 0; i < 2; i++) {
		expect("{\"id\":\"}{\\\"\",\"return\":{\"enabled\":true,\"present\":true}}");
		expect("{\"id\":\"a\\\"b'c\",\"return\":{\"enabled\":true,\"present\":true}}");
		expect("{\"return\":{\"enabled\":true,\"present\":true}}");
		expect_nothing();
		if (i == 0)
			send(text);
	}
}
END_TEST

START_TEST(messages_that_are_too_long_or_too_deep_are_given_up)
{
	negotiate();
	for (unsigned i = 0; i < QMP_MAX_DEPTH; i++)
		send("[");
	expect_nothing();
	send("[[[[[\n");
	expect_error("GenericError", "JSON parse error, nested too deep");
	send("{\"execute\": \"");
	char block[1024];
	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < QMP_MAX_MESSAGE / sizeof(block) + 8; i++)
		qmp_session_receive(session, block, sizeof(block));
	expect_error("GenericError", "JSON parse error, the message is too long");
	send("\"}\n");
	expect_nothing();
	send("{\"execute\": \"query-kvm\"}");
	expect("{\"return\":{\"enabled\":true,\"present\":true}}");
}
END_TEST

START_TEST(the_guest_is_stopped_and_continued_with_events)
{
	negotiate();
	send("{\"execute\": \"stop\"}{\"execute\": \"stop\"}{\"execute\": \"query-status\"}{\"execute\": \"cont\"}");
	expect("{\"event\":\"STOP\"}");
	expect("{\"return\":{}}");
	expect("{\"return\":{}}");
	expect("{\"return\":{\"running\":false,\"singlestep\":false,\"status\":\"paused\"}}");
	expect("{\"event\":\"RESUME\"}");
	expect("{\"return\":{}}");
	machine.state = RUN_STATE_INTERNAL_ERROR;
	send("{\"execute\": \"cont\"}");
	expect_error("GenericError", "Resetting the Virtual Machine is required");
}
END_TEST

START_TEST(what_ends_or_restarts_the_guest_is_answered_before_its_event)
{
	negotiate();
	send("{\"execute\": \"system_powerdown\"}{\"execute\": \"system_reset\"}{\"execute\": \"quit\"}");
	expect("{\"return\":{}}");
	expect("{\"event\":\"POWERDOWN\"}");
	expect("{\"return\":{}}");
	expect("{\"data\":{\"guest\":false,\"reason\":\"host-qmp-system-reset\"},\"event\":\"RESET\"}");
	expect("{\"return\":{}}");
	expect("{\"data\":{\"guest\":false,\"reason\":\"host-qmp-quit\"},\"event\":\"SHUTDOWN\"}");
	ck_assert(machine.nr_powerdowns == 1 && machine.nr_resets == 1 && machine.nr_quits == 1);
}
END_TEST

START_TEST(events_carry_their_time_and_data)
{
	negotiate();
	fake_announce(&machine, MACHINE_EVENT_SHUTDOWN, true, "guest-shutdown");
	json_t *event = next_message();
	json_t *timestamp = json_object_get(event, "timestamp");
	ck_assert_int_gt(json_integer_value(json_object_get(timestamp, "seconds")), 1600000000);
	json_int_t us = json_integer_value(json_object_get(timestamp, "microseconds"));
	ck_assert(us >= 0 && us < 1000000);
	json_decref(event);
	struct machine_event_info error = {
		.event = MACHINE_EVENT_BLOCK_IO_ERROR, .device = "d\xff", .reason = "No space left on device"};
	qmp_session_event(session, &error);
	expect("{\"data\":{\"action\":\"report\",\"device\":\"d?\",\"reason\":\"No space left on "
	       "device\"},\"event\":\"BLOCK_IO_ERROR\"}");
}
END_TEST

START_TEST(queries_describe_the_machine)
{
	machine.config.name = (char *)"web";
	machine.config.uuid[0] = 0x55;
	machine.config.nr_disks = 1;
	machine.config.disks[0] =
		(struct config_disk){.id = (char *)"d0", .source = (char *)"a.img", .qdev = (char *)"q", .write_cache = true};
	negotiate();
	send("{\"execute\": \"query-name\"}{\"execute\": \"query-uuid\"}{\"execute\": \"query-cpus-fast\"}{\"execute\": "
	     "\"query-version\"}");
	expect("{\"return\":{\"name\":\"web\"}}");
	expect("{\"return\":{\"UUID\":\"55000000-0000-0000-0000-000000000000\"}}");
	expect("{\"return\":[{\"cpu-index\":0,\"props\":{\"core-id\":0,\"die-id\":0,\"socket-id\":0,\"thread-id\":0},\"qom-path\":"
	       "\"/machine/cpu[0]\","
	       "\"target\":\"x86_64\",\"thread-id\":1000},{\"cpu-index\":1,\"props\":{\"core-id\":1,\"die-id\":0,\"socket-id\":0,"
	       "\"thread-id\":0},"
	       "\"qom-path\":\"/machine/cpu[1]\",\"target\":\"x86_64\",\"thread-id\":1001}]}");
	expect("{\"return\":{\"package\":\"pagoda 0.1.0\",\"qemu\":{\"major\":7,\"micro\":0,\"minor\":2}}}");
	send("{\"execute\": \"query-blockstats\"}{\"execute\": \"query-block\"}{\"execute\": \"query-chardev\"}");
	expect("{\"return\":[{\"device\":\"d0\",\"node-name\":\"d0\",\"qdev\":\"q\",\"stats\":{\"flush_operations\":0,\"rd_bytes\":"
	       "4096,"
	       "\"rd_operations\":1,\"wr_bytes\":0,\"wr_operations\":0}}]}");
	json_t *block = next_message();
	const json_t *disk = json_array_get(json_object_get(block, "return"), 0);
	const json_t *inserted = json_object_get(disk, "inserted");
	ck_assert_str_eq(json_string_value(json_object_get(inserted, "file")), "a.img");
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(inserted, "image"), "virtual-size")), 1 << 30);
	ck_assert(json_is_true(json_object_get(json_object_get(inserted, "cache"), "writeback")));
	json_decref(block);
	expect("{\"return\":[]}");
}
END_TEST

START_TEST(every_command_that_is_listed_is_there)
{
	negotiate();
	send("{\"execute\": \"query-commands\"}");
	json_t *answer = next_message();
	json_t *list = json_object_get(answer, "return"), *entry;
	size_t i;
	ck_assert_uint_gt(json_array_size(list), 15);
	json_array_foreach(list, i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "name"));
		ck_assert_msg(!strcmp(name, "qmp_capabilities") || qmp_find_command(name), "%s", name);
	}
	json_decref(answer);
}
END_TEST

START_TEST(human_commands_answer_in_text)
{
	negotiate();
	send("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"info status\"}}");
	expect("{\"return\":\"VM status: running\\r\\n\"}");
	send("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"foo\", \"cpu-index\": 1}}");
	expect("{\"return\":\"unknown command: 'foo'\\r\\n\"}");
	send("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"\"}}");
	expect("{\"return\":\"\"}");
	send("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"info status\", \"cpu-index\": 2}}");
	expect_error("GenericError", "Parameter 'cpu-index' expects a CPU number");
	send("{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": \"stop\"}}");
	expect("{\"event\":\"STOP\"}");
	expect("{\"return\":\"\"}");
}
END_TEST

START_TEST(links_are_set_by_either_id)
{
	machine.config.nr_nics = 2;
	machine.config.nics[0] = (struct config_nic){.id = (char *)"n0", .qdev = (char *)"card"};
	machine.config.nics[1] = (struct config_nic){.id = (char *)"n1"};
	negotiate();
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"card\", \"up\": true}}");
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"n1\", \"up\": true}}");
	send("{\"execute\": \"set_link\", \"arguments\": {\"name\": \"n0\", \"up\": false}}");
	ck_assert(!machine.link_up[0] && machine.link_up[1]);
}
END_TEST

START_TEST(pretty_answers_are_the_same_on_many_lines)
{
	qmp_session_free(session);
	monitor_text_free(&out);
	session = qmp_session_new(&machine, true, &out);
	qmp_session_begin(session);
	ck_assert_ptr_nonnull(strchr(out.data, '\n'));
	ck_assert_str_eq(out.data + out.len - 3, "}\r\n");
	ck_assert_ptr_nonnull(strstr(out.data, "\n    \"QMP\": {"));
}
END_TEST

START_TEST(commands_and_events_survive_lack_of_memory)
{
	const struct qmp_command *command;
	machine.config.name = (char *)"web";
	machine.config.nr_disks = 1;
	machine.config.disks[0] = (struct config_disk){.id = (char *)"d0", .source = (char *)"a.img", .qdev = (char *)"q"};
	negotiate();
	for (size_t i = 0; FAILING_MALLOC && (command = qmp_command_at(i)) != NULL; i++) {
		int ret = command->nr_arguments ? 0 : -1;
		for (long n = 0; ret; n++) {
			json_t *result = NULL;
			struct error err = {.code = 0};
			monitor_text_free(&out);
			long before = malloc_live;
			malloc_countdown = n;
			ret = command->run(&machine, NULL, &result, &err);
			malloc_countdown = -1;
			ck_assert_msg(ret == 0 || ret == -ENOMEM, "%s, allocation %ld: %d", command->name, n, ret);
			json_decref(result);
			monitor_text_free(&out);
			ck_assert_msg(malloc_live == before, "%s, allocation %ld: %ld left", command->name, n,
				      malloc_live - before);
			ck_assert_int_lt(n, 2000);
		}
	}
	for (long n = 0; FAILING_MALLOC && n < 60; n++) {
		long before = malloc_live;
		malloc_countdown = n;
		fake_announce(&machine, MACHINE_EVENT_RESET, true, "guest-reset");
		malloc_countdown = -1;
		monitor_text_free(&out);
		ck_assert_int_eq(malloc_live, before);
	}
}
END_TEST

/* Whatever comes, each message is answered by one line, and a good command works afterwards. */
START_TEST(random_bytes_of_json_never_derail_a_session)
{
	unsigned seed = 77 + (unsigned)_i;
	static const char *const pieces[] = {"{",
					     "}",
					     "[",
					     "]",
					     "\"",
					     "'",
					     ":",
					     ",",
					     "\\",
					     "\n",
					     " ",
					     "\"execute\":",
					     "\"stop\"",
					     "\"id\":",
					     "1",
					     "true",
					     "\"arguments\":{}",
					     "\x80",
					     "{\"execute\":\"query-kvm\"}",
					     "\t",
					     "e",
					     "-"};
	negotiate();
	for (int i = 0; i < 5000; i++)
		send(pieces[(size_t)rand_r(&seed) % (sizeof(pieces) / sizeof(pieces[0]))]);
	for (const char *at = out.data; at && *at; at = strstr(at, "\r\n") + 2)
		ck_assert_msg(!strncmp(at, "{\"", 2), "%.80s", at);
	/* A line end inside a string, and as many brackets as can be open. */
	send("\n\n");
	for (unsigned i = 0; i <= QMP_MAX_DEPTH; i++)
		send("]}");
	send("\n");
	monitor_text_free(&out);
	send("{\"execute\": \"query-kvm\"}");
	expect("{\"return\":{\"enabled\":true,\"present\":true}}");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qmp");
	TCase *tc = tcase_create("qmp");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_client_is_greeted_and_must_negotiate);
	tcase_add_test(tc, an_id_of_any_kind_comes_back);
	tcase_add_test(tc, messages_of_the_wrong_form_are_refused_as_qemu_does);
	tcase_add_test(tc, after_garbage_the_conversation_goes_on);
	tcase_add_test(tc, messages_may_come_byte_by_byte_or_many_at_once);
	tcase_add_test(tc, messages_that_are_too_long_or_too_deep_are_given_up);
	tcase_add_test(tc, the_guest_is_stopped_and_continued_with_events);
	tcase_add_test(tc, what_ends_or_restarts_the_guest_is_answered_before_its_event);
	tcase_add_test(tc, events_carry_their_time_and_data);
	tcase_add_test(tc, queries_describe_the_machine);
	tcase_add_test(tc, every_command_that_is_listed_is_there);
	tcase_add_test(tc, human_commands_answer_in_text);
	tcase_add_test(tc, links_are_set_by_either_id);
	tcase_add_test(tc, pretty_answers_are_the_same_on_many_lines);
	tcase_add_test(tc, commands_and_events_survive_lack_of_memory);
	tcase_add_loop_test(tc, random_bytes_of_json_never_derail_a_session, 0, 8);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
