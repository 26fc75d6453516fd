/*
 * Unmodified virsh drives a real daemon with guests that run: what it says is looked at, and whether it is so is asked by the daemon's own API. Guests verify every byte of
 * their memory.
 */
#include "tests/unit/pagodad_process.h"

#include <pty.h>
#include <sys/stat.h>

#include "tests/native/command.h"
#include "tests/native/vm_process.h"
#include "tests/unit/api_client.h"

enum { MIB = 1 << 20, SOON_MS = 30000 };

static char guests_directory[VM_PROCESS_PATH_SIZE];

/* --- virsh --- */

static const char *uri_of(const char *socket)
{
	static char uri[300];
	snprintf(uri, sizeof(uri), "pagoda+unix:///system?socket=%s/%s", pagodad_run, socket);
	return uri;
}

/* Expects that it succeeds, or fails, and says this. */
#define virsh(says, ...) virsh_ends(0, uri_of("virtpagodad-sock"), says, __VA_ARGS__)
#define virsh_fails(says, ...) virsh_ends(1, uri_of("virtpagodad-sock"), says, __VA_ARGS__)
#define virsh_ro_fails(says, ...) virsh_ends(1, uri_of("virtpagodad-sock-ro"), says, __VA_ARGS__)

/* --- guests --- */

static void set_up(void)
{
	vm_process_find_guests(guests_directory);
	pagodad_set_up();
	pagodad_start(NULL);
}

static void tear_down(void)
{
	struct api_connection c = api_connect("api");
	json_t *list = api_get(&c, "list", " ");
	const json_t *row;
	size_t i;
	json_array_foreach(list, i, row)
	{
		pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
		if (pid > 0)
			kill(pid, SIGKILL);
	}
	json_decref(list);
	api_hang_up(&c);
	pagodad_tear_down();
}

/* The XML of a guest that verifies its memory until it hears a key. more: of its devices. Returns the file. */
static const char *xml_of(const char *name, const char *more)
{
	static char path[200];
	snprintf(path, sizeof(path), "%s/%s.xml", pagodad_directory, name);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fprintf(file,
		"<domain type='kvm'><name>%s</name><memory unit='MiB'>48</memory><vcpu>1</vcpu>"
		"<os><type arch='x86_64'>hvm</type><kernel>%s/memory.elf</kernel>"
		"<cmdline>seed=%llu rounds=1000000000 until_key order=random idle_ms=2 quiet</cmdline></os>"
		"<devices>%s<console type='pty'/></devices></domain>",
		name, guests_directory, (unsigned long long)vm_process_seed() % 1000000, more);
	ck_assert_int_eq(fclose(file), 0);
	return path;
}

static double row_number(struct api_connection *c, const char *name, const char *group, const char *member)
{
	json_t *row = api_get(c, "show", "\"guest\": \"%s\"", name);
	const json_t *object = group ? json_object_get(row, group) : row;
	double value = json_number_value(json_object_get(object, member));
	json_decref(row);
	return value;
}

static void wait_for(struct api_connection *c, const char *name, const char *state)
{
	for (int i = 0; i < SOON_MS / 20; i++) {
		json_t *row = api_get(c, "show", "\"guest\": \"%s\"", name);
		bool is = !strcmp(json_string_value(json_object_get(row, "state")), state);
		json_decref(row);
		if (is)
			return;
		usleep(20000);
	}
	api_expect(c, name, "state", state);
}

/* --- tests --- */

START_TEST(a_guest_is_defined_started_paused_and_ended)
{
	struct api_connection c = api_connect("api");
	virsh("Domain 'a' defined", "define %s", xml_of("a", ""));
	api_expect(&c, "a", "state", "defined");
	virsh("shut off", "list --all");
	virsh("started", "start a");
	api_expect(&c, "a", "state", "running");
	virsh("running (booted)", "domstate a --reason");
	virsh("Max memory:     49152 KiB", "dominfo a");
	pid_t pid = (pid_t)row_number(&c, "a", NULL, "pid");
	virsh("suspended", "suspend a");
	wait_for(&c, "a", "paused");
	virsh("paused", "domstate a");
	virsh("resumed", "resume a");
	wait_for(&c, "a", "running");
	virsh("was reset", "reset a");
	ck_assert_int_eq((pid_t)row_number(&c, "a", NULL, "pid"), pid);
	virsh_fails("already", "start a");
	virsh_fails("stop it first", "undefine a");
	virsh("destroyed", "destroy a");
	api_expect(&c, "a", "state", "stopped");
	ck_assert_int_eq(kill(pid, 0), -1);
	virsh("shut off (destroyed)", "domstate a --reason");
	virsh("renamed", "domrename a b");
	api_fail(&c, "NotFound", "a:", "show", "\"guest\": \"a\"");
	api_expect(&c, "b", "state", "stopped");
	virsh("updated", "desc b --title --config --new-desc 'Web <1>'");
	virsh("Web <1>", "list --all --title");
	virsh("marked as autostarted", "autostart b");
	json_t *row = api_get(&c, "show", "\"guest\": \"b\"");
	ck_assert(json_is_true(json_object_get(row, "autostart")));
	json_decref(row);
	virsh("undefined", "undefine b");
	api_fail(&c, "NotFound", "b:", "show", "\"guest\": \"b\"");
	virsh_fails("failed to get domain", "dominfo b");
	api_hang_up(&c);
}
END_TEST

START_TEST(a_guest_that_is_shut_down_or_rebooted_hears_its_button)
{
	struct api_connection c = api_connect("api");
	virsh("created", "create %s", xml_of("a", ""));
	pid_t pid = (pid_t)row_number(&c, "a", NULL, "pid");
	virsh("is being rebooted", "reboot a");
	/* This one does not look at the button; a key ends it, as a shutdown would. */
	json_t *console = api_get(&c, "console", "\"guest\": \"a\"");
	int fd = vm_process_connect(json_string_value(json_object_get(console, "path")));
	json_decref(console);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	for (int i = 0;
	     i < SOON_MS / 20 && ((pid_t)row_number(&c, "a", NULL, "pid") == pid || row_number(&c, "a", NULL, "pid") == 0); i++)
		usleep(20000);
	close(fd);
	wait_for(&c, "a", "running");
	ck_assert_int_ne((pid_t)row_number(&c, "a", NULL, "pid"), pid);
	virsh("is being shutdown", "shutdown a");
	api_expect(&c, "a", "state", "running");
	/* Who is ended on the way through a reboot is not started again. */
	virsh("is being rebooted", "reboot a");
	virsh("destroyed", "destroy a");
	usleep(500000);
	api_expect(&c, "a", "state", "stopped");
	api_hang_up(&c);
}
END_TEST

START_TEST(memory_is_set_and_the_guest_is_held_to_it)
{
	struct api_connection c = api_connect("api");
	virsh("created", "create %s", xml_of("a", ""));
	virsh("", "setmem a 24M --live");
	ck_assert_double_eq(row_number(&c, "a", NULL, "maximum"), 24. * MIB);
	virsh("Used memory:    24576 KiB", "dominfo a");
	virsh("<currentMemory unit=\"KiB\">24576</currentMemory>", "dumpxml a");
	virsh("<currentMemory unit=\"KiB\">49152</currentMemory>", "dumpxml a --inactive");
	for (int i = 0; i < SOON_MS / 50; i++) {
		double target = row_number(&c, "a", "use", "target");
		if (target > 0 && target <= 24. * MIB)
			break;
		usleep(50000);
	}
	ck_assert_double_gt(row_number(&c, "a", "use", "target"), 0);
	ck_assert_double_le(row_number(&c, "a", "use", "target"), 24. * MIB);
	virsh("", "memtune a --hard-limit 32768 --min-guarantee 8192 --live");
	ck_assert_double_eq(row_number(&c, "a", NULL, "maximum"), 32. * MIB);
	ck_assert_double_eq(row_number(&c, "a", NULL, "minimum"), 8. * MIB);
	virsh("hard_limit     : 32768", "memtune a");
	virsh("min_guarantee  : 8192", "memtune a");
	virsh_fails("arbiter", "memtune a --soft-limit 20000 --live");
	virsh("swap_hard_limit: unlimited", "memtune a");
	virsh_fails("next start", "memtune a --swap-hard-limit 32768 --live");
	virsh("", "memtune a --swap-hard-limit 32768 --config");
	virsh("swap_hard_limit: 49152", "memtune a --config");
	virsh("", "memtune a --swap-hard-limit -1 --config");
	virsh_fails("cannot have more", "setmem a 64M --live");
	virsh_fails("next start", "setmaxmem a 64M --live");
	virsh("", "setmaxmem a 64M --config");
	virsh("<memory unit=\"KiB\">65536</memory>", "dumpxml a --inactive");
	virsh("actual 32768", "dommemstat a"); /* the least of what balloon and maximum leave it */
	virsh("balloon.current=32768", "domstats --balloon a");
	virsh("", "dommemstat a --period 5 --live");
	virsh_fails("none of these nodes", "numatune a --nodeset 63 --live");
	virsh("", "numatune a --nodeset 0 --live");
	virsh("numa_nodeset   : 0", "numatune a");
	virsh("shm_pages_sharing", "node-memory-tune");
	virsh("total  :", "nodememstats");
	virsh("Total:", "freecell --all");
	virsh("4KiB:", "freepages 0 4");
	api_hang_up(&c);
}
END_TEST

/* Waits until the threads of a process that are vCPU 0 (or not) may run on these CPUs. */
static void expect_cpus(pid_t pid, bool vcpu, const char *cpus)
{
	char command[1000];
	snprintf(command, sizeof(command),
		 "for i in $(seq 100); do bad=0; for t in /proc/%d/task/*; do n=$(cat $t/comm); "
		 "case $n in 'CPU 0/KVM') is=1;; mem-*|kvm-*) continue;; *) is=0;; esac; [ $is = %d ] || continue; "
		 "[ \"$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' $t/status)\" = '%s' ] || bad=1; done; "
		 "[ $bad = 1 ] || exit 0; sleep 0.1; done; exit 1",
		 (int)pid, vcpu, cpus);
	ck_assert_msg(system(command) == 0, "%s of process %d do not have CPUs %s", vcpu ? "vCPUs" : "other threads",
		      (int)pid, // NOLINT(cert-env33-c)
		      cpus);
}

START_TEST(pins_hold_at_once_and_at_the_next_start)
{
	struct api_connection c = api_connect("api");
	long nr = sysconf(_SC_NPROCESSORS_ONLN);
	char all[40];
	snprintf(all, sizeof(all), "0-%ld", nr - 1);
	if (nr < 2) {
		printf("pins are not tested: this machine has one CPU\n");
		return;
	}
	virsh("created", "create %s", xml_of("a", ""));
	pid_t pid = (pid_t)row_number(&c, "a", NULL, "pid");
	virsh("", "vcpupin a 0 1 --live");
	expect_cpus(pid, true, "1");
	expect_cpus(pid, false, all);
	virsh(" 0      1\n", "vcpupin a");
	virsh(all, "vcpupin a --config");
	virsh("", "emulatorpin a 0 --live --config");
	expect_cpus(pid, true, "1");
	expect_cpus(pid, false, "0");
	virsh("*: 0\n", "emulatorpin a");
	virsh("<emulatorpin cpuset=\"0\"/>", "dumpxml a --inactive");
	virsh("", "vcpupin a 0 %s --live", all);
	expect_cpus(pid, true, all);
	virsh("destroyed", "destroy a");
	virsh("", "vcpupin a 0 1 --config");
	virsh("<vcpupin vcpu=\"0\" cpuset=\"1\"/>", "dumpxml a");
	virsh("started", "start a");
	pid = (pid_t)row_number(&c, "a", NULL, "pid");
	expect_cpus(pid, true, "1");
	expect_cpus(pid, false, "0");
	api_hang_up(&c);
}
END_TEST

START_TEST(how_equal_pages_are_looked_for_is_set_and_lasts)
{
	struct api_connection c = api_connect("api");
	virsh("shm_pages_to_scan 0\n", "node-memory-tune");
	virsh("", "node-memory-tune --shm-pages-to-scan 50 --shm-sleep-millisecs 250");
	virsh("shm_pages_to_scan 50\n\tshm_sleep_millisecs 250\n", "node-memory-tune");
	virsh("", "node-memory-tune --shm-merge-across-nodes 0");
	pagodad_end(SIGTERM);
	pagodad_start(NULL);
	api_hang_up(&c);
	c = api_connect("api");
	virsh("shm_sleep_millisecs 250\n\tshm_merge_across_nodes 0\n", "node-memory-tune");
	json_t *line = api_get(&c, "host", " ");
	ck_assert_int_eq(json_integer_value(json_object_get(line, "merge-pages")), 50);
	json_decref(line);
	virsh_fails("merge-sleep: must be", "node-memory-tune --shm-sleep-millisecs 0");
	/* The guest has its pool once its scanner has come. */
	virsh("created", "create %s", xml_of("a", ""));
	for (int i = 0; i < SOON_MS / 100; i++) {
		if (virsh_run(uri_of("virtpagodad-sock"), "node-memory-tune --shm-merge-across-nodes 1") != 0)
			break;
		virsh_run(uri_of("virtpagodad-sock"), "node-memory-tune --shm-merge-across-nodes 0");
		usleep(100000);
	}
	virsh_fails("stop them before", "node-memory-tune --shm-merge-across-nodes 1");
	api_hang_up(&c);
}
END_TEST

/* A file of so many MiB, empty. */
static void make_disk(char path[300], const char *name, long mib)
{
	snprintf(path, 300, "%s/%s", pagodad_directory, name);
	FILE *file = fopen(path, "we");
	ck_assert(file && ftruncate(fileno(file), mib * MIB) == 0 && fclose(file) == 0);
}

START_TEST(statistics_count_what_the_guest_does)
{
	char disk[300], device[500];
	make_disk(disk, "disk", 4);
	snprintf(device, sizeof(device),
		 "<disk type='file' device='disk'><source file='%s'/><target dev='vda' bus='virtio'/></disk>", disk);
	virsh("created", "create %s", xml_of("a", device));
	virsh("Capacity:       4194304", "domblkinfo a vda");
	virsh("vda rd_req", "domblkstat a vda");
	virsh(" rd_req 0", "domblkstat a"); /* all of them */
	virsh(disk, "domblklist a");
	virsh("state.state=1", "domstats");
	ck_assert_ptr_nonnull(strstr(said, "balloon.maximum=49152"));
	ck_assert_ptr_nonnull(strstr(said, "vcpu.0.time="));
	ck_assert_ptr_nonnull(strstr(said, "block.0.rd.reqs="));
	virsh("cpu_time", "cpu-stats a --total");
	virsh("CPU Affinity:   y", "vcpuinfo a"); /* whether it runs at this moment or waits for something, nobody can say */
	virsh("VCPU", "vcpupin a");
}
END_TEST

/* A device's XML. Returns the file. */
__attribute__((format(printf, 1, 2))) static const char *device_of(const char *format, ...)
{
	static char path[200];
	snprintf(path, sizeof(path), "%s/device.xml", pagodad_directory);
	FILE *file = fopen(path, "we");
	va_list values;
	ck_assert_ptr_nonnull(file);
	va_start(values, format);
	vfprintf(file, format, values);
	va_end(values);
	ck_assert_int_eq(fclose(file), 0);
	return path;
}

START_TEST(devices_come_and_go_for_the_next_start)
{
	static const char card[] = "<interface type='user'><mac address='52:54:00:12:34:56'/></interface>";
	char first[300], second[300];
	make_disk(first, "first", 4);
	make_disk(second, "second", 8);
	virsh("created", "create %s", xml_of("a", ""));
	virsh_fails("no device is plugged into a guest that runs", "attach-disk a %s vda --targetbus virtio --subdriver raw --live",
		    first);
	virsh_fails("no device is plugged into a guest that runs", "attach-disk a %s vda --targetbus virtio --subdriver raw",
		    first);
	virsh("attached successfully", "attach-disk a %s vda --targetbus virtio --subdriver raw --config", first);
	virsh(first, "domblklist a --inactive");
	virsh_fails("of that name or address already", "attach-disk a %s vda --targetbus virtio --subdriver raw --config", second);
	virsh("destroyed", "destroy a");
	virsh("attached successfully", "attach-disk a %s vdb --targetbus virtio --subdriver raw --config", second);
	virsh("attached successfully", "attach-device a %s --config", device_of("%s", card));
	/* Its VMM has them, in their order. */
	virsh("started", "start a");
	virsh("Capacity:       4194304", "domblkinfo a vda");
	virsh("Capacity:       8388608", "domblkinfo a vdb");
	virsh("52:54:00:12:34:56", "domiflist a");
	virsh("destroyed", "destroy a");
	virsh_fails("No disk found", "detach-disk a vdc --config");
	virsh("detached successfully", "detach-disk a vda --config");
	virsh("detached successfully", "detach-device a %s --config", device_of("%s", card));
	virsh("started", "start a");
	virsh(second, "domblklist a");
	ck_assert_ptr_null(strstr(said, first));
	virsh("destroyed", "destroy a");
	/* What is changed stays in its place. */
	const char *device =
		device_of("<disk type='file' device='disk'><source file='%s'/><target dev='vdb' bus='virtio'/></disk>", first);
	virsh("updated successfully", "update-device a %s --config", device);
	virsh(first, "domblklist a");
	virsh("detached successfully", "detach-device a %s --config", device);
	virsh("attached successfully", "attach-device a %s --config", device);
	virsh(first, "domblklist a");
}
END_TEST

START_TEST(the_read_only_socket_shows_and_changes_nothing)
{
	struct api_connection c = api_connect("api");
	struct stat st;
	char path[200];
	virsh("created", "create %s", xml_of("a", ""));
	/* virsh does not know that it may not: it is the daemon that refuses. */
	virsh_ro_fails("read-only connection", "destroy a");
	virsh_ro_fails("read-only connection", "suspend a");
	virsh_ro_fails("read-only connection", "setmem a 24M");
	virsh_ro_fails("read-only connection", "define %s", xml_of("b", ""));
	api_expect(&c, "a", "state", "running");
	snprintf(path, sizeof(path), "%s/virtpagodad-sock", pagodad_run);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	strcat(path, "-ro");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0666);
	api_hang_up(&c);
}
END_TEST

START_TEST(a_console_is_read_and_typed_at)
{
	char uri[200], heard[16384] = "";
	size_t len = 0;
	int terminal, status;
	virsh("created", "create %s", xml_of("a", ""));
	snprintf(uri, sizeof(uri), "pagoda+unix:///system?socket=%s/virtpagodad-sock", pagodad_run);
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		execlp("virsh", "virsh", "-c", uri, "console", "a", (char *)NULL);
		_exit(127);
	}
	for (unsigned i = 0; i < 600; i++) {
		struct pollfd p = {.fd = terminal, .events = POLLIN};
		ssize_t got = poll(&p, 1, 100) == 1 ? read(terminal, heard + len, sizeof(heard) - 1 - len) : 0;
		if (got < 0)
			break; /* it has ended */
		len += (size_t)got;
		heard[len] = '\0';
		/* What is typed before virsh listens is lost. */
		if (got == 0 && write(terminal, "x", 1) != 1)
			break;
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(terminal);
	ck_assert_msg(strstr(heard, "memory: 0 wrong pages") != NULL, "heard: %s", heard);
	ck_assert_int_eq(status, 0);
	struct api_connection c = api_connect("api");
	wait_for(&c, "a", "stopped");
	api_hang_up(&c);
	virsh("shut off (shutdown)", "domstate a --reason");
}
END_TEST

START_TEST(events_are_told_as_they_happen)
{
	char command[600], path[200], text[8192] = "";
	snprintf(path, sizeof(path), "%s/events", pagodad_directory);
	snprintf(command, sizeof(command),
		 "timeout 60 virsh -c 'pagoda+unix:///system?socket=%s/virtpagodad-sock-ro' event --all --loop --timeout 8 >%s "
		 "2>&1 &",
		 pagodad_run, path);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	usleep(1500000);
	virsh("defined", "define %s", xml_of("a", ""));
	virsh("started", "start a");
	virsh("suspended", "suspend a");
	virsh("resumed", "resume a");
	virsh("", "setmem a 24M");
	virsh("", "vcpupin a 0 0 --live");
	virsh("reset", "reset a");
	virsh("destroyed", "destroy a");
	virsh("undefined", "undefine a");
	static const char *const wanted[] = {"Defined Added",    "Started Booted",    "Suspended Paused",
					     "Resumed Unpaused", "balloon-change",    "cputune.vcpupin0: 0",
					     "reboot",           "Stopped Destroyed", "Undefined Removed"};
	const char *at = text;
	for (int i = 0; i < 20 && !strstr(text, "events received"); i++) {
		usleep(500000);
		FILE *file = fopen(path, "r");
		ck_assert_ptr_nonnull(file);
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
	}
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		at = strstr(at, wanted[i]);
		ck_assert_msg(at != NULL, "%s is missing, or too early, in: %s", wanted[i], text);
	}
}
END_TEST

START_TEST(guests_that_run_are_found_by_the_next_daemon)
{
	virsh("created", "create %s", xml_of("a", ""));
	pagodad_end(SIGKILL);
	virsh_fails("failed to connect", "list");
	pagodad_start(NULL);
	struct api_connection c = api_connect("api");
	wait_for(&c, "a", "running");
	virsh("running", "list");
	virsh("memory.elf", "dumpxml a");
	virsh("destroyed", "destroy a");
	api_hang_up(&c);
}
END_TEST

START_TEST(lists_of_what_there_is_not_are_empty_and_what_cannot_be_is_refused)
{
	virsh("Running hypervisor: QEMU", "version");
	virsh("CPU(s):", "nodeinfo");
	virsh("<domain type=\"kvm\"", "capabilities");
	virsh("<domainCapabilities>", "domcapabilities");
	virsh("x86-64-v3", "cpu-models x86_64");
	virsh_fails("x86_64 or i686", "cpu-models s390x");
	virsh("Autostart", "net-list --all");
	virsh("", "nodedev-list");
	virsh("", "iface-list --all");
	virsh("", "nwfilter-list");
	virsh("", "secret-list");
	virsh("defined", "define %s", xml_of("a", ""));
	virsh("", "snapshot-list a");
	virsh_fails("has no vCPU 7", "vcpupin a 7 0 --config");
	virsh("", "iothreadinfo a");
	virsh_fails("each disk has a thread of its own", "iothreadadd a 1 --config");
	virsh("cpu_shares     : 1024", "schedinfo a");
	virsh_fails("cpu_shares: CPU time is not divided", "schedinfo a --set cpu_shares=2048 --config");
	virsh_fails("invalid scheduler option", "schedinfo a --set vcpu_quota=5000");
	virsh_fails("is not running", "destroy a");
	virsh_fails("is not running", "dommemstat a");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virsh");
	TCase *tests = tcase_create("virsh");
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_guest_is_defined_started_paused_and_ended);
	tcase_add_test(tests, a_guest_that_is_shut_down_or_rebooted_hears_its_button);
	tcase_add_test(tests, memory_is_set_and_the_guest_is_held_to_it);
	tcase_add_test(tests, pins_hold_at_once_and_at_the_next_start);
	tcase_add_test(tests, how_equal_pages_are_looked_for_is_set_and_lasts);
	tcase_add_test(tests, statistics_count_what_the_guest_does);
	tcase_add_test(tests, devices_come_and_go_for_the_next_start);
	tcase_add_test(tests, the_read_only_socket_shows_and_changes_nothing);
	tcase_add_test(tests, a_console_is_read_and_typed_at);
	tcase_add_test(tests, events_are_told_as_they_happen);
	tcase_add_test(tests, guests_that_run_are_found_by_the_next_daemon);
	tcase_add_test(tests, lists_of_what_there_is_not_are_empty_and_what_cannot_be_is_refused);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
