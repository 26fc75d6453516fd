/* Monitors over character devices: what people and programs see at the other end of a socket. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/failing_malloc.h"
#include "tests/unit/fake_machine.h"
#include "tests/unit/suite.h"
#include "vmm/hmp.h"
#include "vmm/monitor.h"

static struct ev_loop *loop;
static struct machine machine;
static struct chardev *chardev;
static struct monitor *monitors[2];
static struct error err;
static int peer;
static char text[2 << 20]; /* what the peer has got */
static size_t text_len;

static void turn(void)
{
	for (int i = 0; i < 20; i++) {
		ev_run(loop, EVRUN_NOWAIT);
		ssize_t n = read(peer, text + text_len, sizeof(text) - 1 - text_len);
		if (n > 0)
			text_len += (size_t)n;
	}
	text[text_len] = '\0';
}

static void open_chardev(bool mux)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	struct config_chardev config = {.id = (char *)"mon0", .kind = CONFIG_CHARDEV_FD, .fd = fds[0], .mux = mux};
	ck_assert_int_eq(chardev_open(loop, &config, &chardev, &err), 0);
	peer = fds[1];
	fcntl(peer, F_SETFL, O_NONBLOCK);
	machine.config.nr_chardevs = 1;
	machine.chardevs[0] = chardev;
}

static void open_monitor(int i, int mode)
{
	struct config_monitor config = {.mode = mode};
	int ret = monitor_open(&machine, chardev, &config, &monitors[i], &err);
	ck_assert_msg(ret == 0, "%s", err.text);
	turn();
}

static void set_up(void)
{
	log_open("test", LOG_LEVEL_ERROR);
	loop = ev_default_loop(0);
	machine = (struct machine){.state = RUN_STATE_RUNNING, .config = {.nr_cpus = 1, .name = (char *)"web"}};
	machine.config.nr_nics = 1;
	machine.config.nics[0] = (struct config_nic){.id = (char *)"net0", .fd = 7, .mac = {0x52, 0x54, 0, 1, 2, 3}};
	machine.config.nr_disks = 1;
	machine.config.disks[0] = (struct config_disk){.id = (char *)"d0", .source = (char *)"a.img", .write_cache = true};
	monitors[0] = monitors[1] = NULL;
	text_len = 0;
}

static void tear_down(void)
{
	monitor_close(monitors[0]);
	monitor_close(monitors[1]);
	chardev_close(chardev);
	close(peer);
}

/* Types, and returns all that came of it. */
static const char *type(const char *keys)
{
	text_len = 0;
	ck_assert_int_eq(write(peer, keys, strlen(keys)), (ssize_t)strlen(keys));
	turn();
	return text;
}

START_TEST(people_are_greeted_with_a_prompt)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_ptr_nonnull(strstr(text, "type 'help'"));
	ck_assert_str_eq(text + text_len - 9, "(pagoda) ");
}
END_TEST

START_TEST(commands_are_echoed_run_and_followed_by_the_prompt)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_str_eq(type("info status\r"), "info status\r\nVM status: running\r\n(pagoda) ");
	ck_assert_str_eq(type("stop\r"), "stop\r\n(pagoda) ");
	ck_assert_int_eq(machine.state, RUN_STATE_PAUSED);
	ck_assert_str_eq(type("cont\n"), "cont\r\n(pagoda) ");
	ck_assert_int_eq(machine.state, RUN_STATE_RUNNING);
	type("system_powerdown\rsystem_reset\rset_link net0 on\rquit\r");
	ck_assert(machine.nr_powerdowns == 1 && machine.nr_resets == 1 && machine.nr_quits == 1 && machine.link_up[0]);
	ck_assert_str_eq(type("\r"), "\r\n(pagoda) ");
}
END_TEST

START_TEST(every_topic_and_command_is_explained_and_works)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	const char *help = type("help info\r");
	for (size_t i = 0; i < hmp_nr_topics; i++) {
		char line[100];
		snprintf(line, sizeof(line), "info %s -- ", hmp_topics[i].name);
		ck_assert_msg(strstr(help, line) != NULL, "%s", line);
	}
	for (size_t i = 0; i < hmp_nr_topics; i++) {
		char line[100];
		snprintf(line, sizeof(line), "info %s\r", hmp_topics[i].name);
		ck_assert_ptr_null(strstr(type(line), "unknown"));
	}
	ck_assert_ptr_nonnull(strstr(type("info block\r"), "d0: a.img (raw)\r\n"));
	ck_assert_ptr_nonnull(
		strstr(type("info network\r"), "macaddr=52:54:00:01:02:03\r\n \\ net0: index=0,type=tap,fd=7,link=down\r\n"));
	ck_assert_ptr_nonnull(strstr(type("info chardev\r"), "mon0: filename=fd:"));
	ck_assert_ptr_nonnull(strstr(type("info cpus\r"), "* CPU #0: thread_id=1000\r\n"));
	ck_assert_ptr_nonnull(strstr(type("info name\r"), "\r\nweb\r\n"));
	ck_assert_ptr_nonnull(strstr(type("help\r"), "stop -- pause the guest\r\n"));
	ck_assert_ptr_nonnull(strstr(type("help stop\r"), "stop -- pause the guest\r\n"));
	ck_assert_ptr_nonnull(strstr(type("? info block\r"), "info block -- disks\r\n"));
	ck_assert_ptr_nonnull(strstr(type("info\r"), "info uuid -- "));
}
END_TEST

START_TEST(memory_is_shown_in_a_table_of_80_columns)
{
	static const uint64_t mib = 256; /* pages */
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	machine.sample.time_ns = 2000000000;
	machine.sample.stats = (struct memmgr_stats){
		.total_pages = 256 * mib,
		.target_pages = 64 * mib,
		.used_pages = 48 * mib,
		.resident_pages = 32 * mib,
		.limbo_pages = 4 * mib,
		.compressed_pages = 30 * mib,
		.compressed_bytes = 10 << 20,
		.swap_pages = 20 * mib,
		.swap_bytes = 8 << 20,
		.active_pages = 40 * mib,
		.evicted = 2000,
		.faults = 1000,
		.stall_ns = 35000000,
	};
	machine.curve[0] = (struct memmgr_curve_point){64 << 20, 0};
	machine.curve[1] = (struct memmgr_curve_point){16 << 20, 12.25};
	machine.nr_points = 2;
	type("info memory\r");
	static const char *const lines[] = {
		"host memory [######################........] 48.0 of 64.0 MiB, 75 %\r\n",
		"guest memory 256.0 MiB, of which\r\n",
		"  resident           32.0 MiB  12.5 %\r\n",
		"  compressed         30.0 MiB  11.7 %  in 10.0 MiB, 3.0 : 1\r\n",
		"  swap               20.0 MiB   7.8 %  in a file of 8.0 MiB\r\n",
		"  never used        170.0 MiB  66.4 %\r\n",
		"pages a second, over 2.0 s\r\n",
		"  evicted          1000.0   back from limbo        0.0   compressed        0.0\r\n",
		"  faults            500.0   from disk              0.0   mean stall    35.0 us\r\n",
		"working set about 40.0 MiB, 16 % of the guest's memory\r\n",
		"  with 16.0 MiB less: about 12.2 faults/s\r\n",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(strstr(text, lines[i]) != NULL, "no %s in %s", lines[i], text);
	ck_assert_ptr_null(strstr(text, "cannot be brought back"));
	/* Numbers that are as large as they get. */
	memset(&machine.sample.stats, 0x0f, sizeof(machine.sample.stats));
	machine.sample.stats.total_pages = machine.sample.stats.used_pages = machine.sample.stats.resident_pages = 1ull << 30;
	machine.sample.stats.target_pages = 0;
	machine.sample.stats.stall_ns = 1000;
	machine.failure = MEMMGR_FAILURE_DAMAGED;
	machine.sample.time_ns = 3000000000;
	machine.last = (struct machine_memory_sample){.time_ns = 2000000000, .stats = machine.sample.stats};
	machine.last.stats.faults -= 123456;
	machine.last.stats.evicted -= 12345678;
	type("info memory\r");
	ck_assert_ptr_nonnull(strstr(text, "no target\r\n"));
	ck_assert_ptr_nonnull(strstr(text, "memory cannot be brought back: damaged (Input/output error)\r\n"));
	type("info memory\r");
	ck_assert_ptr_nonnull(strstr(text, "over 0.0 s"));
	machine.no_manager = true;
	ck_assert_ptr_nonnull(strstr(type("info memory\r"), "This guest has no memory manager\r\n"));
}
END_TEST

START_TEST(no_line_about_memory_is_wider_than_a_terminal)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	uint64_t *fields = (uint64_t *)&machine.sample.stats;
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++)
		fields[i] = 1ull << 28; /* 1 TiB */
	machine.sample.stats.compressed_bytes = machine.sample.stats.swap_bytes = 1ull << 40;
	machine.sample.time_ns = 1000000000000;
	machine.failure = MEMMGR_FAILURE_KERNEL;
	machine.curve[0] = (struct memmgr_curve_point){4096, 1e6};
	machine.nr_points = 1;
	type("info memory\r");
	for (const char *line = text, *end; (end = strstr(line, "\r\n")) != NULL; line = end + 2)
		ck_assert_msg(end - line <= 80, "%.*s", (int)(end - line), line);
}
END_TEST

START_TEST(memory_is_limited_evicted_and_warmed_by_people)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	machine.config.memory_bytes = 256 << 20;
	ck_assert_str_eq(type("memory_target 64\r"), "memory_target 64\r\n(pagoda) ");
	ck_assert_uint_eq(machine.settings.target, 64 << 20);
	type("memory_target 65536K\rmemory_prewarm\r");
	ck_assert(machine.settings.target == 64 << 20 && machine.nr_prewarms == 1);
	ck_assert_ptr_nonnull(strstr(type("memory_target 512\r"), "Error: target: 536870912 bytes are more"));
	ck_assert_ptr_nonnull(strstr(type("memory_target much\r"), "Error: \"much\" is not a size"));
	ck_assert_ptr_nonnull(strstr(type("memory_target 4K\r"), "less than 1M"));
	type("memory_target 0\r");
	ck_assert_uint_eq(machine.settings.target, 0);
	ck_assert_ptr_nonnull(strstr(type("memory_evict\r"), "0.0 MiB taken; repeat the command for more\r\n"));
	ck_assert(machine.evicted == 0 && machine.evicted_to == MEMMGR_TIER_COMPRESSED);
	ck_assert_ptr_nonnull(strstr(type("memory_evict 2M li\t\r"), "0.0 MiB taken\r\n"));
	ck_assert(machine.evicted == 2 << 20 && machine.evicted_to == MEMMGR_TIER_LIMBO);
	ck_assert_ptr_nonnull(strstr(type("memory_evict 1 tape\r"), "Error: tier: \"tape\" is none"));
	machine.no_manager = true;
	ck_assert_ptr_nonnull(strstr(type("memory_target 64\r"), "Error: This guest has no memory manager"));
	ck_assert_ptr_nonnull(strstr(type("memory_evict 1\r"), "Error: This guest has no memory manager"));
	ck_assert_ptr_nonnull(strstr(type("memory_prewarm\r"), "Error: This guest has no memory manager"));
}
END_TEST

static void expect_lines(const char *const *lines, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		ck_assert_msg(strstr(text, lines[i]) != NULL, "no %s in %s", lines[i], text);
	for (const char *line = text, *end; (end = strstr(line, "\r\n")) != NULL; line = end + 2)
		ck_assert_msg(end - line <= 80, "%.*s", (int)(end - line), line);
}

START_TEST(the_balloon_is_set_and_shown_to_people)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_ptr_nonnull(strstr(type("info balloon\r"), "No balloon device has been activated"));
	machine.has_balloon = true;
	machine.balloon = (struct machine_balloon_info){.memory_bytes = 512 << 20,
							.actual_bytes = 300 << 20,
							.target_bytes = 256 << 20,
							.device = {.inflated = 65536, .spared = 256}};
	static const char *const lines[] = {
		"balloon: actual=300\r\n",
		"the guest has 300.0 of 512.0 MiB, and is asked to have 256.0; it has no driver\r\n",
		"so far 256.0 MiB given up, 0.0 taken back, 0.0 reported as free\r\n",
		"of that 1.0 MiB could not be had\r\n",
		"the guest has said nothing of its memory\r\n",
	};
	const char *shown = type("info balloon\r");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(strstr(shown, lines[i]) != NULL, "no %s in %s", lines[i], shown);
	struct balloon_info *device = &machine.balloon.device;
	device->has_driver = device->has_stats = true;
	device->stats_time = INT64_MAX;
	device->stats.present = (1u << BALLOON_NR_STATS) - 1;
	for (unsigned i = 0; i < BALLOON_NR_STATS; i++)
		device->stats.values[i] = UINT64_MAX >> 24;
	shown = type("info balloon\r");
	ck_assert_ptr_nonnull(strstr(shown, "the guest says, 0 s ago (guest-stats-polling-interval is 0)\r\n"));
	ck_assert_ptr_nonnull(strstr(shown, "  oom-kills         1099511627775      processes killed for want of memory\r\n"));
	ck_assert_ptr_nonnull(strstr(shown, "  free-memory          1048576.0 MiB  used for nothing\r\n"));
	for (const char *line = shown, *end; (end = strstr(line, "\r\n")) != NULL; line = end + 2)
		ck_assert_msg(end - line <= 80, "%.*s", (int)(end - line), line);
	type("balloon 200\r");
	ck_assert_uint_eq(machine.balloon.target_bytes, 200 << 20);
	ck_assert_ptr_nonnull(strstr(type("balloon 0\r"), "Error: Parameter 'value' expects a size"));
	ck_assert_ptr_nonnull(strstr(type("balloon much\r"), "Error: \"much\" is not a size"));
	type("balloon_hint\r");
	ck_assert_uint_eq(machine.nr_hints, 1);
}
END_TEST

START_TEST(shared_pages_are_shown_in_a_table_of_80_columns)
{
	static const char *const lines[] = {
		"pages are shared by pagodad, connected\r\ndomain acme\r\nguest  web\r\n",
		"guest memory 256.0 MiB, of which\r\n",
		"  shared              64.0 MiB  25.0 %  in 300 of 30000 mappings\r\n",
		"  without twin        32.0 MiB  12.5 %\r\n",
		"  in huge pages       16.0 MiB   6.2 %  that are not to be broken\r\n",
		"saved 60.0 MiB, with what it costs taken off; scanning takes 1.0 MiB here\r\n",
		"pages since the start, in 7 passes\r\n",
		"CPU time 1.5 s, last pass 2.5 ms; connected 1 times\r\n",
		"set cpu=10 pass=1000 batch=0\r\n    huge-percent=25 most-mappings=0 huge=auto\r\n",
	};
	static const char *const wide[] = {
		"pages are shared by pagodad, not connected\r\n",
		"saved -1.0 MiB",
	};
	struct machine_dedup_info *info = &machine.dedup;
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	machine.config.memory_bytes = 256 << 20;
	*info = (struct machine_dedup_info){
		.merger = MACHINE_MERGER_PAGODA,
		.connected = true,
		.socket = "/run/d",
		.domain = "acme",
		.guest = "web",
		.settings = {.cpu_percent = 10, .pass_ms = 1000, .huge_percent = 25},
		.stats = {.pages_sharing = 64 * 256,
			  .mappings = 300,
			  .most_mappings = 30000,
			  .pages_unshared = 32 * 256,
			  .pages_skipped = 16 * 256,
			  .general_profit = 60 << 20,
			  .metadata_bytes = 1 << 20,
			  .full_scans = 7,
			  .cpu_us = 1500000,
			  .pass_cpu_us = 2500,
			  .connections = 1},
	};
	type("info dedup\r");
	expect_lines(lines, sizeof(lines) / sizeof(lines[0]));
	/* As large as they get, and a long sentence. */
#define LARGE(name, text) info->stats.name = 1ull << 32;
	SCANNER_STATS(LARGE)
#undef LARGE
	machine.config.memory_bytes = 1ull << 44;
	info->stats.general_profit = 0 - (1ull << 20);
	info->stats.metadata_bytes = 1ull << 30;
	info->stats.mappings = info->stats.most_mappings = info->stats.connections = 0x7fffffff;
	info->stats.cpu_us = 1ull << 46;
	info->stats.pass_cpu_us = 3600000000;
	info->settings = (struct scanner_settings){100, 3600000, 0, 100, 0x7fffffff, SCANNER_HUGE_AUTO};
	info->domain = info->guest = "012345678901234567890123456789012345678901234567890123456789012";
	info->connected = false;
	for (size_t i = 0; i + 1 < sizeof(info->trouble); i++)
		info->trouble[i] = i % 9 ? 'x' : ' ';
	type("info dedup\r");
	expect_lines(wide, sizeof(wide) / sizeof(wide[0]));
	memset(info->trouble, 'y', sizeof(info->trouble) - 1);
	type("info dedup\r");
	expect_lines(wide, 1);
}
END_TEST

START_TEST(pages_that_the_kernel_merges_are_shown_as_far_as_it_tells)
{
	static const char *const lines[] = {
		"pages are merged by the kernel (KSM), ksmd does not run\r\nksmd rests\r\nthis guest\r\n",
		"  merged               1.0 MiB\r\n",
		"  saved               -0.5 MiB  with what it costs taken off\r\nall processes of the host\r\n",
		"  mapped again         2.0 MiB\r\n",
		"passes 9\r\n",
	};
	struct ksm_stats *ksm = &machine.dedup.ksm;
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	machine.dedup = (struct machine_dedup_info){.merger = MACHINE_MERGER_KSM, .trouble = "ksmd rests"};
	ksm->process[KSM_PROCESS_ksm_merging_pages] = (struct ksm_counter){true, 256};
	ksm->process[KSM_PROCESS_ksm_process_profit] = (struct ksm_counter){true, -(1 << 19)};
	ksm->global[KSM_GLOBAL_pages_sharing] = (struct ksm_counter){true, 512};
	ksm->global[KSM_GLOBAL_full_scans] = (struct ksm_counter){true, 9};
	type("info dedup\r");
	expect_lines(lines, sizeof(lines) / sizeof(lines[0]));
	ck_assert_ptr_null(strstr(text, "without twin"));
	machine.dedup = (struct machine_dedup_info){.trouble = "This guest was started without -dedup"};
	ck_assert_ptr_nonnull(strstr(type("info dedup\r"), "\r\nThis guest was started without -dedup\r\n(pagoda) "));
	ck_assert_ptr_nonnull(strstr(type("dedup_set cpu 5\r"), "Error: This guest's pages are not shared\r\n"));
}
END_TEST

START_TEST(sharing_is_set_by_people)
{
	const struct scanner_settings *s = &machine.dedup.settings;
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	machine.dedup = (struct machine_dedup_info){.merger = MACHINE_MERGER_PAGODA,
						    .settings = {.cpu_percent = 10, .pass_ms = 1000, .huge_percent = 25}};
	ck_assert_str_eq(type("dedup_set cpu 20\r"), "dedup_set cpu 20\r\n(pagoda) ");
	ck_assert_uint_eq(s->cpu_percent, 20);
	type("dedup_set pa\t500\rdedup_set huge off\rdedup_set most\t7\r");
	ck_assert(s->pass_ms == 500 && s->huge == SCANNER_HUGE_OFF && s->most_mappings == 7);
	ck_assert_ptr_nonnull(strstr(type("dedup_set cpu 101\r"), "Error: cpu: 101 is out of range: 0 to 100\r\n"));
	ck_assert_ptr_nonnull(strstr(type("dedup_set huge 2\r"), "Error: huge: \"2\" is none; there are auto, on and off"));
	ck_assert_ptr_nonnull(strstr(type("dedup_set speed 2\r"), "there is no setting \"speed\"; there are cpu, pass, "));
	ck_assert_ptr_nonnull(strstr(type("dedup_set cpu\r"), "usage: dedup_set SETTING VALUE\r\n"));
	machine.dedup_refuses = true;
	ck_assert_ptr_nonnull(strstr(type("dedup_set cpu 1\r"), "Error: cpu: the scanner does not like it"));
	ck_assert_uint_eq(s->cpu_percent, 20);
}
END_TEST

START_TEST(mistakes_are_told_with_the_nearest_command)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_ptr_nonnull(strstr(type("stpo\r"), "unknown command: 'stpo'; did you mean stop?\r\n"));
	ck_assert_ptr_nonnull(strstr(type("info blokc\r"), "unknown command: 'info blokc'; did you mean info block?\r\n"));
	ck_assert_ptr_nonnull(strstr(type("set_link net0\r"), "usage: set_link NAME on|off\r\n"));
	ck_assert_ptr_nonnull(strstr(type("set_link net1 on\r"), "Error: Device 'net1' not found\r\n"));
	ck_assert_ptr_nonnull(strstr(type("set_link net0 maybe\r"), "neither on nor off\r\n"));
	ck_assert_ptr_nonnull(strstr(type("stop now\r"), "usage: stop"));
	ck_assert_ptr_nonnull(strstr(type("a b c d e f g h i j k\r"), "too long"));
	machine.state = RUN_STATE_INTERNAL_ERROR;
	ck_assert_ptr_nonnull(strstr(type("cont\r"), "Error: Resetting"));
}
END_TEST

START_TEST(tab_completes_what_is_clear_and_lists_what_is_not)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_str_eq(type("inf\t"), "info ");
	ck_assert_str_eq(type("st\t"), "status ");
	ck_assert_str_eq(type("\x15sy\t"), "\x1b[12D\x1b[Ksystem_");
	ck_assert_ptr_nonnull(strstr(type("\t"), "\r\nsystem_powerdown  system_reset  \r\n"));
	type("\x15");
	ck_assert_str_eq(type("set_link \t"), "set_link net0 ");
	ck_assert_str_eq(type("of\t\r"), "off \r\n(pagoda) ");
	ck_assert_str_eq(type("nothing such\t"), "nothing such");
	ck_assert_str_eq(type("\x15help inf\t"), "\x1b[12D\x1b[Khelp info ");
}
END_TEST

START_TEST(programs_speak_qmp)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_QMP);
	ck_assert_int_eq(strncmp(text, "{\"QMP\": ", 8), 0);
	ck_assert_str_eq(type("{\"execute\": \"qmp_capabilities\"}"), "{\"return\": {}}\r\n");
	ck_assert_str_eq(type("{\"execute\": \"query-chardev\"}") + strlen("{\"return\": [{\"label\": \""), strstr(text, "mon0"));
	text_len = 0;
	machine_pause(&machine);
	turn();
	ck_assert_ptr_nonnull(strstr(text, "\"event\": \"STOP\""));
}
END_TEST

START_TEST(a_client_that_does_not_read_is_not_read_from)
{
	static const char command[] = "{\"execute\": \"query-commands\"}\n";
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_QMP);
	type("{\"execute\": \"qmp_capabilities\"}");
	/* So many commands that their answers fit nowhere. */
	size_t sent = 0;
	for (int i = 0; i < 100000; i++) {
		if (write(peer, command, strlen(command)) != (ssize_t)strlen(command))
			break;
		sent++;
		ev_run(loop, EVRUN_NOWAIT);
	}
	ck_assert_uint_lt(sent, 100000);
	/* Then it reads, and gets every answer. */
	size_t answers = 0;
	for (int idle = 0; answers < sent && idle < 1000; idle++) {
		text_len = 0;
		turn();
		for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
			answers++;
			idle = 0;
		}
	}
	ck_assert_uint_eq(answers, sent);
}
END_TEST

START_TEST(events_for_a_client_that_does_not_read_are_lost_in_the_end)
{
	open_chardev(false);
	open_monitor(0, CONFIG_MONITOR_QMP);
	type("{\"execute\": \"qmp_capabilities\"}");
	for (int i = 0; i < 100000; i++)
		machine_powerdown(&machine);
	text_len = 0;
	for (int i = 0; i < 100000; i++) {
		turn();
		if (text_len == 0)
			break;
		text_len = 0;
	}
	ck_assert_ptr_nonnull(strstr(type("{\"execute\": \"query-kvm\"}"), "\"present\""));
}
END_TEST

START_TEST(a_monitor_behind_a_serial_port_waits_for_its_turn)
{
	static const struct chardev_user_ops port_ops = {.room = NULL};
	struct chardev_user port = {.ops = &port_ops};
	open_chardev(true);
	ck_assert_int_eq(chardev_attach(chardev, &port, &err), 0);
	open_monitor(0, CONFIG_MONITOR_READLINE);
	ck_assert_uint_eq(text_len, 0);
	ck_assert_str_eq(type("ls\r"), "");
	ck_assert_ptr_nonnull(strstr(type("\x01"
					  "c"),
				     "type 'help'"));
	ck_assert_str_eq(type("info name\r"), "info name\r\nweb\r\n(pagoda) ");
	ck_assert_str_eq(type("sto\x01"
			      "cls\r"),
			 "sto");
	ck_assert_str_eq(type("\x01"
			      "c"),
			 "\r\n\r\x1b[K(pagoda) sto\x1b[K");
	ck_assert_int_eq(machine.state, RUN_STATE_RUNNING);
	type("p\r");
	ck_assert_int_eq(machine.state, RUN_STATE_PAUSED);
	chardev_detach(&port);
}
END_TEST

START_TEST(several_monitors_hear_of_the_same_events)
{
	struct machine_listener *first;
	open_chardev(true);
	open_monitor(0, CONFIG_MONITOR_QMP);
	open_monitor(1, CONFIG_MONITOR_QMP);
	type("{\"execute\": \"qmp_capabilities\"}\x01"
	     "c{\"execute\": \"qmp_capabilities\"}");
	text_len = 0;
	machine_pause(&machine);
	turn();
	const char *event = strstr(text, "STOP");
	ck_assert_ptr_nonnull(event);
	ck_assert_ptr_nonnull(strstr(event + 1, "STOP"));
	monitor_close(monitors[0]);
	monitors[0] = NULL;
	first = machine.listeners;
	ck_assert(first && !first->next);
}
END_TEST

/* libev ends the process when it gets no memory, so that what it needs is there from a first round. */
START_TEST(chardevs_and_monitors_open_or_say_that_memory_is_short)
{
	int fds[2], ret = -1;
	open_chardev(true);
	open_monitor(0, CONFIG_MONITOR_QMP);
	open_monitor(1, CONFIG_MONITOR_READLINE);
	for (long n = 0; FAILING_MALLOC && ret; n++) {
		struct chardev *c = NULL;
		struct monitor *mon = NULL;
		const struct config_monitor monitor = {.mode = n % 2 ? CONFIG_MONITOR_QMP : CONFIG_MONITOR_READLINE};
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
		const struct config_chardev config = {.id = (char *)"c", .kind = CONFIG_CHARDEV_FD, .fd = fds[0]};
		long before = malloc_live;
		malloc_countdown = n / 2;
		ret = chardev_open(loop, &config, &c, &err);
		if (ret == 0) {
			ret = monitor_open(&machine, c, &monitor, &mon, &err);
			malloc_countdown = -1;
			monitor_close(mon);
			chardev_close(c);
		} else {
			close(fds[0]);
		}
		malloc_countdown = -1;
		close(fds[1]);
		ck_assert(ret == 0 || ret == -ENOMEM);
		ck_assert_int_eq(malloc_live, before);
		ck_assert_int_lt(n, 1000);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("monitor");
	TCase *tc = tcase_create("monitor");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, people_are_greeted_with_a_prompt);
	tcase_add_test(tc, commands_are_echoed_run_and_followed_by_the_prompt);
	tcase_add_test(tc, every_topic_and_command_is_explained_and_works);
	tcase_add_test(tc, memory_is_shown_in_a_table_of_80_columns);
	tcase_add_test(tc, no_line_about_memory_is_wider_than_a_terminal);
	tcase_add_test(tc, memory_is_limited_evicted_and_warmed_by_people);
	tcase_add_test(tc, the_balloon_is_set_and_shown_to_people);
	tcase_add_test(tc, shared_pages_are_shown_in_a_table_of_80_columns);
	tcase_add_test(tc, pages_that_the_kernel_merges_are_shown_as_far_as_it_tells);
	tcase_add_test(tc, sharing_is_set_by_people);
	tcase_add_test(tc, mistakes_are_told_with_the_nearest_command);
	tcase_add_test(tc, tab_completes_what_is_clear_and_lists_what_is_not);
	tcase_add_test(tc, programs_speak_qmp);
	tcase_add_test(tc, a_client_that_does_not_read_is_not_read_from);
	tcase_add_test(tc, events_for_a_client_that_does_not_read_are_lost_in_the_end);
	tcase_add_test(tc, a_monitor_behind_a_serial_port_waits_for_its_turn);
	tcase_add_test(tc, several_monitors_hear_of_the_same_events);
	tcase_add_test(tc, chardevs_and_monitors_open_or_say_that_memory_is_short);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
