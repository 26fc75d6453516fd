/* QMP conversations: what a client sends, and what it gets back, as QEMU 7.2 answers where it has the command. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/failing_malloc.h"
#include "tests/unit/fake_machine.h"
#include "tests/unit/suite.h"
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

/* What set_memory() below starts from. */
static void set_up_memory(void)
{
	machine.config.memory_bytes = 256 << 20;
	memmgr_settings_init(&machine.settings);
	machine.settings.target = 64 << 20;
	machine.settings.sample_rate = 0;
	machine.sample.stats.total_pages = 65536;
	machine.sample.stats.migrated = UINT64_MAX;
}

START_TEST(memory_is_described_by_settings_statistics_and_failure)
{
	set_up_memory();
	negotiate();
	send("{\"execute\": \"query-memory\"}");
	json_t *message = next_message(), *answer = json_object_get(message, "return"), *stats = json_object_get(answer, "stats");
	ck_assert_uint_eq(json_object_size(stats), MEMMGR_STATS_NR);
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++)
		ck_assert_msg(json_is_integer(json_object_get(stats, memmgr_stats_fields[i].name)), "%s",
			      memmgr_stats_fields[i].name);
	ck_assert_int_eq(json_integer_value(json_object_get(stats, "total_pages")), 65536);
	ck_assert(json_integer_value(json_object_get(stats, "migrated")) == INT64_MAX);
	char *settings = json_dumps(json_object_get(answer, "settings"), JSON_COMPACT | JSON_SORT_KEYS);
	ck_assert_str_eq(settings, "{\"cold\":60000,\"compressed-limit\":0,\"dense\":true,\"evict-rate\":0,\"floor\":0,\"kernel-"
				   "tier\":false,\"limbo\":2000,"
				   "\"prefetch\":true,\"sample-rate\":0,\"swap-limit\":0,\"swap-out\":true,\"target\":67108864}");
	free(settings);
	ck_assert_str_eq(json_string_value(json_object_get(answer, "failure")), "none");
	ck_assert_ptr_null(json_object_get(answer, "detail"));
	json_decref(message);
	machine.failure = MEMMGR_FAILURE_IO;
	send("{\"execute\": \"query-memory\"}");
	message = next_message();
	answer = json_object_get(message, "return");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "failure")), "io-error");
	ck_assert_str_eq(json_string_value(json_object_get(answer, "detail")), "Input/output error");
	json_decref(message);
	send("{\"execute\": \"query-memory-size-summary\"}");
	expect("{\"return\":{\"base-memory\":268435456,\"plugged-memory\":0}}");
	send("{\"execute\": \"query-memory-stats-page\"}");
	expect("{\"return\":{\"fd\":5}}");
}
END_TEST

static void set_memory(const char *arguments)
{
	char text[300];
	snprintf(text, sizeof(text), "{\"execute\": \"set-memory\", \"arguments\": {%s}}", arguments);
	send(text);
}

START_TEST(memory_settings_change_one_by_one)
{
	set_up_memory();
	negotiate();
	struct memmgr_settings wanted = machine.settings;
	set_memory("");
	expect("{\"return\":{}}");
	ck_assert_uint_eq(machine.settings.target, wanted.target);
	set_memory("\"target\": 33554432, \"prefetch\": false, \"swap-out\": false");
	expect("{\"return\":{}}");
	ck_assert(machine.settings.target == 32 << 20 && !machine.settings.prefetch && !machine.settings.swap_out &&
		  machine.settings.limbo_ms == wanted.limbo_ms);
	set_memory(
		"\"floor\": 1048576, \"compressed-limit\": 2097152, \"swap-limit\": 0, \"evict-rate\": 5, \"limbo\": 6, \"cold\": "
		"7, \"sample-rate\": 8, \"dense\": true, \"kernel-tier\": true, \"target\": 0");
	expect("{\"return\":{}}");
	ck_assert(machine.settings.floor == 1 << 20 && machine.settings.compressed_limit == 2 << 20 &&
		  machine.settings.evict_rate == 5);
	ck_assert(machine.settings.limbo_ms == 6 && machine.settings.cold_ms == 7 && machine.settings.sample_rate == 8);
	ck_assert(machine.settings.dense && machine.settings.kernel_tier && machine.settings.target == 0);
}
END_TEST

START_TEST(memory_settings_that_are_wrong_change_nothing)
{
	static const struct {
		const char *arguments, *error;
	} wrong[] = {
		{"\"target\": -4096", "target: -4096 is negative"},
		{"\"limbo\": 5, \"target\": 4096",
		 "target: 4096 bytes are less than 1M; write 0, or a size with a suffix, such as 512M"},
		{"\"floor\": 1048577", "floor: 1048577 bytes are no multiple of 4096; the next below is 1048576"},
		{"\"limbo\": 4294967297", "limbo: 4294967297 is out of range: 1 to 3600000"},
		{"\"floor\": 67112960",
		 "floor: 67112960 bytes are more than the target, 67108864; lower the floor or raise the target"},
		{"\"target\": 536870912", "target: 536870912 bytes are more than the guest's 268435456; 0 sets no limit"},
		{"\"dense\": 1", "Invalid parameter type for 'dense', expected: boolean"},
		{"\"target\": \"64M\"", "Invalid parameter type for 'target', expected: integer"},
		{"\"swap\": \"/a\"", "Parameter 'swap' is unexpected"},
	};
	set_up_memory();
	negotiate();
	struct memmgr_settings before = machine.settings;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		set_memory(wrong[i].arguments);
		expect_error("GenericError", wrong[i].error);
		ck_assert(machine.settings.target == before.target && machine.settings.floor == before.floor &&
			  machine.settings.limbo_ms == before.limbo_ms);
	}
}
END_TEST

START_TEST(memory_is_warmed_evicted_and_drawn_as_a_curve)
{
	set_up_memory();
	machine.curve[0] = (struct memmgr_curve_point){8192, 0.5};
	machine.curve[1] = (struct memmgr_curve_point){4096, 100};
	machine.nr_points = 2;
	negotiate();
	send("{\"execute\": \"query-memory-curve\"}{\"execute\": \"memory-prewarm\"}");
	expect("{\"return\":[{\"bytes\":8192,\"faults-per-second\":0.5},{\"bytes\":4096,\"faults-per-second\":100.0}]}");
	expect("{\"return\":{}}");
	ck_assert_uint_eq(machine.nr_prewarms, 1);
	send("{\"execute\": \"memory-evict\"}");
	expect("{\"return\":{\"complete\":false,\"taken\":4096}}");
	ck_assert(machine.evicted == 0 && machine.evicted_to == MEMMGR_TIER_COMPRESSED);
	send("{\"execute\": \"memory-evict\", \"arguments\": {\"bytes\": 5, \"tier\": \"disk\"}}");
	expect("{\"return\":{\"complete\":true,\"taken\":4096}}");
	ck_assert(machine.evicted == 5 && machine.evicted_to == MEMMGR_TIER_DISK);
	send("{\"execute\": \"memory-evict\", \"arguments\": {\"tier\": \"tape\"}}");
	expect_error("GenericError", "tier: \\\"tape\\\" is none; there are limbo, compressed and disk");
	send("{\"execute\": \"memory-evict\", \"arguments\": {\"bytes\": -1}}");
	expect_error("GenericError", "bytes: -1 is negative");
}
END_TEST

START_TEST(memory_is_bound_to_host_nodes_and_counted_there)
{
	set_up_memory();
	negotiate();
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"host-nodes\": [0, 2], \"policy\": \"interleave\"}}");
	expect("{\"return\":{}}");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"node\": 1, \"host-nodes\": [0, 2]}}");
	expect_error("GenericError", "memory: the guest has no node 1");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"host-nodes\": [64]}}");
	expect_error("GenericError", "host-nodes: must be numbers of nodes, 0 to 63");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"host-nodes\": [\"0\"]}}");
	expect_error("GenericError", "host-nodes: must be numbers of nodes, 0 to 63");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"node\": -1, \"host-nodes\": [0]}}");
	expect_error("GenericError", "node: must be 0 to 7");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"host-nodes\": [0], \"policy\": \"glue\"}}");
	expect_error("GenericError", "policy: \\\"glue\\\" is none; there are default, bind, preferred and interleave");
	send("{\"execute\": \"memory-bind-node\", \"arguments\": {\"host-nodes\": [0], \"migrate-rate\": -5}}");
	expect_error("GenericError", "migrate-rate: must be pages/s, 0 to 4294967295");
	send("{\"execute\": \"query-memory-nodes\"}");
	expect("{\"return\":[{\"absent-pages\":3,\"bytes\":1048576,\"host-nodes\":[2,5],\"moving\":true,\"node\":0,\"on\":[{\"host-"
	       "node\":2,\"pages\":7}]}]}");
}
END_TEST

START_TEST(a_guest_without_a_memory_manager_says_so)
{
	static const char *const names[] = {"query-memory", "query-memory-curve", "set-memory", "memory-prewarm", "memory-evict"};
	machine.no_manager = true;
	negotiate();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char text[100];
		snprintf(text, sizeof(text), "{\"execute\": \"%s\"}", names[i]);
		send(text);
		expect_error("GenericError", "This guest has no memory manager");
	}
}
END_TEST

static void set_up_dedup(void)
{
	uint64_t value = 100;
	machine.dedup = (struct machine_dedup_info){
		.merger = MACHINE_MERGER_PAGODA,
		.connected = true,
		.socket = "/run/d",
		.domain = "acme",
		.guest = "web",
		.node = -1,
		.settings = {.cpu_percent = 10, .pass_ms = 1000, .huge_percent = 25, .huge = SCANNER_HUGE_AUTO},
	};
#define COUNT(name, text) machine.dedup.stats.name = value++;
	SCANNER_STATS(COUNT)
#undef COUNT
	machine.dedup.stats.general_profit = 0 - 4096ull;
}

START_TEST(sharing_is_described_by_counters_and_settings)
{
	set_up_dedup();
	negotiate();
	send("{\"execute\": \"query-dedup\"}");
	json_t *message = next_message(), *answer = json_object_get(message, "return");
	json_int_t value = 100;
#define EXPECT(name, text)                        \
	if (strcmp(#name, "general_profit") != 0) \
		ck_assert_msg(json_integer_value(json_object_get(answer, #name)) == value++, "%s", #name);
	SCANNER_STATS(EXPECT)
#undef EXPECT
	ck_assert_int_eq(json_integer_value(json_object_get(answer, "general_profit")), -4096);
#define REMOVE(name, text) json_object_del(answer, #name);
	SCANNER_STATS(REMOVE)
#undef REMOVE
	char *rest = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);
	ck_assert_str_eq(
		rest,
		"{\"connected\":true,\"domain\":\"acme\",\"engine\":\"pagoda\",\"guest\":\"web\",\"node\":-1,"
		"\"settings\":{\"batch\":0,\"cpu\":10,\"huge\":\"auto\",\"huge-percent\":25,\"most-mappings\":0,\"pass\":1000},"
		"\"socket\":\"/run/d\",\"trouble\":\"\"}");
	free(rest);
	json_decref(message);
}
END_TEST

START_TEST(merging_by_the_kernel_is_described_by_what_it_tells)
{
	machine.dedup = (struct machine_dedup_info){.merger = MACHINE_MERGER_KSM, .trouble = "ksmd is not running"};
	machine.dedup.ksm.global[KSM_GLOBAL_run] = (struct ksm_counter){true, 0};
	machine.dedup.ksm.global[KSM_GLOBAL_pages_sharing] = (struct ksm_counter){true, 7};
	machine.dedup.ksm.global[KSM_GLOBAL_general_profit] = (struct ksm_counter){true, -64};
	machine.dedup.ksm.process[KSM_PROCESS_ksm_merging_pages] = (struct ksm_counter){true, 3};
	negotiate();
	send("{\"execute\": \"query-dedup\"}");
	expect("{\"return\":{\"connected\":false,\"engine\":\"ksm\",\"general_profit\":-64,\"pages_sharing\":7,"
	       "\"process\":{\"ksm_merging_pages\":3},\"run\":0,\"trouble\":\"ksmd is not running\"}}");
	send("{\"execute\": \"set-dedup\", \"arguments\": {\"cpu\": 5}}");
	expect_error("GenericError", "This guest's pages are not shared");
	machine.dedup = (struct machine_dedup_info){.trouble = "no"};
	send("{\"execute\": \"query-dedup\"}{\"execute\": \"set-dedup\"}");
	expect("{\"return\":{\"connected\":false,\"engine\":\"none\",\"trouble\":\"no\"}}");
	expect_error("GenericError", "This guest's pages are not shared");
}
END_TEST

static void set_dedup(const char *arguments)
{
	char text[300];
	snprintf(text, sizeof(text), "{\"execute\": \"set-dedup\", \"arguments\": {%s}}", arguments);
	send(text);
}

START_TEST(settings_of_sharing_change_one_by_one_or_not_at_all)
{
	static const struct {
		const char *arguments, *error;
	} wrong[] = {
		{"\"pass\": 5, \"cpu\": 101", "cpu: 101 is out of range: 0 to 100"},
		{"\"pass\": 5, \"cpu\": -1", "cpu: -1 is negative"},
		{"\"pass\": 4294967297", "pass: 4294967297 is out of range: 1 to 3600000"},
		{"\"pass\": 5, \"huge-percent\": 0", "huge-percent: 0 is out of range: 1 to 100"},
		{"\"pass\": 5, \"most-mappings\": 2147483648", "most-mappings: 2147483648 is out of range: 0 to 2147483647"},
		{"\"pass\": 5, \"huge\": \"maybe\"", "huge: \\\"maybe\\\" is none; there are auto, on and off"},
		{"\"huge\": true", "Invalid parameter type for 'huge', expected: string"},
		{"\"cpu\": \"5\"", "Invalid parameter type for 'cpu', expected: integer"},
		{"\"socket\": \"/a\"", "Parameter 'socket' is unexpected"},
	};
	const struct scanner_settings *s = &machine.dedup.settings;
	set_up_dedup();
	negotiate();
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		set_dedup(wrong[i].arguments);
		expect_error("GenericError", wrong[i].error);
		ck_assert(s->pass_ms == 1000 && s->cpu_percent == 10 && s->huge == SCANNER_HUGE_AUTO);
	}
	set_dedup("");
	expect("{\"return\":{}}");
	set_dedup("\"huge\": \"off\"");
	expect("{\"return\":{}}");
	ck_assert(s->huge == SCANNER_HUGE_OFF && s->cpu_percent == 10);
	set_dedup("\"cpu\": 0, \"pass\": 1, \"batch\": 9, \"huge\": \"on\", \"huge-percent\": 100, \"most-mappings\": 5");
	expect("{\"return\":{}}");
	ck_assert(s->cpu_percent == 0 && s->pass_ms == 1 && s->huge == SCANNER_HUGE_ON && s->huge_percent == 100 &&
		  s->most_mappings == 5 && s->batch_pages == 9);
	machine.dedup_refuses = true;
	set_dedup("\"cpu\": 1");
	expect_error("GenericError", "cpu: the scanner does not like it");
}
END_TEST

/* --- the balloon --- */

static void set_up_balloon(void)
{
	machine.has_balloon = true;
	machine.balloon = (struct machine_balloon_info){
		.id = "b0",
		.memory_bytes = 512 << 20,
		.actual_bytes = 256 << 20,
		.target_bytes = 128 << 20,
		.device = {.has_driver = true,
			   .inflated = 70000,
			   .deflated = 4464,
			   .reported = 12,
			   .has_stats = true,
			   .stats = {.present = 1 << BALLOON_STAT_MEMFREE | 1 << BALLOON_STAT_OOM_KILL,
				     .values = {[BALLOON_STAT_MEMFREE] = 4096, [BALLOON_STAT_OOM_KILL] = UINT64_MAX}},
			   .stats_time = 1000},
	};
}

START_TEST(the_balloon_is_set_and_described_in_qemus_words)
{
	set_up_balloon();
	negotiate();
	send("{\"execute\": \"query-balloon\"}");
	expect("{\"return\":{\"actual\":268435456}}");
	send("{\"execute\": \"balloon\", \"arguments\": {\"value\": 1000000}}");
	expect("{\"return\":{}}");
	ck_assert_uint_eq(machine.balloon.target_bytes, 1000000);
	for (int i = 0; i < 2; i++) {
		send(i ? "{\"execute\": \"balloon\", \"arguments\": {\"value\": 0}}"
		       : "{\"execute\": \"balloon\", \"arguments\": {\"value\": -4096}}");
		expect_error("GenericError", "Parameter 'value' expects a size");
	}
	ck_assert_uint_eq(machine.balloon.target_bytes, 1000000);
	send("{\"execute\": \"balloon-hint\"}");
	expect("{\"return\":{}}");
	ck_assert_uint_eq(machine.nr_hints, 1);
	send("{\"execute\": \"query-balloon-stats\"}");
	expect("{\"return\":{\"actual\":268435456,\"deflated-pages\":4464,\"driver\":true,\"guest-stats-polling-interval\":0,"
	       "\"hinted-pages\":0,\"hinting\":false,\"inflated-pages\":70000,\"last-update\":1000,\"memory\":536870912,"
	       "\"reported-pages\":12,\"spared-pages\":0,\"stats\":{\"free-memory\":4096,\"oom-kills\":9223372036854775807},"
	       "\"target\":1000000}}");
	machine.balloon.device.has_stats = false;
	send("{\"execute\": \"query-balloon-stats\"}");
	json_t *message = next_message(), *answer = json_object_get(message, "return");
	ck_assert(answer && !json_object_get(answer, "stats") && !json_object_get(answer, "last-update"));
	json_decref(message);
	struct machine_event_info change = {.event = MACHINE_EVENT_BALLOON_CHANGE, .bytes = 5 << 20};
	qmp_session_event(session, &change);
	expect("{\"data\":{\"actual\":5242880},\"event\":\"BALLOON_CHANGE\"}");
}
END_TEST

static void property(const char *command, const char *path, const char *name, const char *value)
{
	char text[300];
	snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"arguments\": {\"path\": \"%s\", \"property\": \"%s\"%s%s}}", command,
		 path, name, value ? ", \"value\": " : "", value ? value : "");
	send(text);
}

START_TEST(statistics_of_the_balloon_are_properties_as_in_qemu)
{
	static const char path[] = "/machine/peripheral/b0", polling[] = "guest-stats-polling-interval";
	set_up_balloon();
	negotiate();
	property("qom-get", path, "guest-stats", NULL);
	expect("{\"return\":{\"last-update\":1000,\"stats\":{\"stat-free-memory\":4096,\"stat-oom-kills\":9223372036854775807}}}");
	property("qom-set", path, polling, "7");
	expect("{\"return\":{}}");
	ck_assert_uint_eq(machine.balloon.device.poll_seconds, 7);
	property("qom-get", path, polling, NULL);
	expect("{\"return\":7}");
	property("qom-set", path, polling, "-1");
	expect_error("GenericError", "guest-stats-polling-interval: must be seconds, 0 to 4294967295");
	property("qom-set", path, "guest-stats", "1");
	expect_error("GenericError", "Property '.guest-stats' not found: there are guest-stats and guest-stats-polling-interval");
	property("qom-get", path, "x", NULL);
	expect_error("GenericError", "Property '.x' not found: there are guest-stats and guest-stats-polling-interval");
	static const char *const others[] = {"/machine/peripheral/b", "/machine/peripheral/", "/machine", "b0"};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char wanted[200];
		property("qom-get", others[i], "guest-stats", NULL);
		snprintf(wanted, sizeof(wanted),
			 "Device '%s' not found: there is none but /machine/peripheral/ID of a virtio-balloon-pci with an id",
			 others[i]);
		expect_error("DeviceNotFound", wanted);
	}
	machine.balloon.id = NULL;
	property("qom-get", path, "guest-stats", NULL);
	json_decref(next_message());
	expect_nothing();
}
END_TEST

START_TEST(a_guest_without_a_balloon_says_so)
{
	static const char *const ask[] = {
		"{\"execute\": \"query-balloon\"}",
		"{\"execute\": \"query-balloon-stats\"}",
		"{\"execute\": \"balloon-hint\"}",
		"{\"execute\": \"balloon\", \"arguments\": {\"value\": 4096}}",
	};
	negotiate();
	for (size_t i = 0; i < sizeof(ask) / sizeof(ask[0]); i++) {
		send(ask[i]);
		expect_error("DeviceNotActive", "No balloon device has been activated");
	}
}
END_TEST

START_TEST(a_failure_of_memory_is_an_event)
{
	negotiate();
	struct machine_event_info error = {
		.event = MACHINE_EVENT_MEMORY_ERROR, .reason = "io-error", .detail = "d\xff", .stops = true};
	qmp_session_event(session, &error);
	expect("{\"data\":{\"action\":\"stop\",\"detail\":\"d?\",\"reason\":\"io-error\"},\"event\":\"MEMORY_ERROR\"}");
	error = (struct machine_event_info){.event = MACHINE_EVENT_MEMORY_ERROR};
	qmp_session_event(session, &error);
	expect("{\"data\":{\"action\":\"report\",\"detail\":\"\",\"reason\":\"none\"},\"event\":\"MEMORY_ERROR\"}");
	machine.state = RUN_STATE_IO_ERROR;
	send("{\"execute\": \"query-status\"}{\"execute\": \"cont\"}");
	expect("{\"return\":{\"running\":false,\"singlestep\":false,\"status\":\"io-error\"}}");
	expect("{\"event\":\"RESUME\"}");
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
	machine.nr_points = 3;
	machine.failure = MEMMGR_FAILURE_IO;
	set_up_dedup();
	set_up_balloon();
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
	tcase_add_test(tc, memory_is_described_by_settings_statistics_and_failure);
	tcase_add_test(tc, memory_settings_change_one_by_one);
	tcase_add_test(tc, memory_settings_that_are_wrong_change_nothing);
	tcase_add_test(tc, memory_is_warmed_evicted_and_drawn_as_a_curve);
	tcase_add_test(tc, memory_is_bound_to_host_nodes_and_counted_there);
	tcase_add_test(tc, a_guest_without_a_memory_manager_says_so);
	tcase_add_test(tc, sharing_is_described_by_counters_and_settings);
	tcase_add_test(tc, merging_by_the_kernel_is_described_by_what_it_tells);
	tcase_add_test(tc, settings_of_sharing_change_one_by_one_or_not_at_all);
	tcase_add_test(tc, the_balloon_is_set_and_described_in_qemus_words);
	tcase_add_test(tc, statistics_of_the_balloon_are_properties_as_in_qemu);
	tcase_add_test(tc, a_guest_without_a_balloon_says_so);
	tcase_add_test(tc, a_failure_of_memory_is_an_event);
	tcase_add_test(tc, pretty_answers_are_the_same_on_many_lines);
	tcase_add_test(tc, commands_and_events_survive_lack_of_memory);
	tcase_add_loop_test(tc, random_bytes_of_json_never_derail_a_session, 0, 8);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
