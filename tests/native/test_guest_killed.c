/*
 * What is left of a VMM that ends by SIGKILL, the swap file and all: nothing, as the kernel tells it.
 *
 * With a busy disk it may be the VMM itself, now and then: a worker of io_uring that begins a write after it has taken its SIGKILL, and finds the guest's page evicted,
 * waits for handlers that are dead, and the thread that made the ring waits for it with userfaultfd open (Linux 6.18: io_wq_worker runs what is
 * queued while it exits). PAGODA_KILLS=n tries n times.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/guests/lib/prng.h"
#include "tests/native/vm_process.h"

enum { MIB = 1 << 20, SOON_MS = 30000, AT_ONCE = 5 };

/* A file system of the test's own, that goes with its namespace: to be counted exactly. */
static bool mount_own(const char *path)
{
	char map[64];
	unsigned uid = geteuid();
	int fd;

	if (unshare(uid ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS))
		return false;
	if (uid) {
		fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
		int len = snprintf(map, sizeof(map), "0 %u 1", uid);
		if (fd < 0 || write(fd, map, (size_t)len) != len)
			return false;
		close(fd);
	}
	return !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount("pagoda", path, "tmpfs", 0, "size=256m");
}

static uint64_t blocks_used(const char *path)
{
	struct statfs fs;

	ck_assert_int_eq(statfs(path, &fs), 0);
	return fs.f_blocks - fs.f_bfree;
}

static unsigned files_in(const char *path)
{
	struct dirent *entry;
	unsigned nr = 0;
	DIR *directory = opendir(path);

	ck_assert_ptr_nonnull(directory);
	while ((entry = readdir(directory)))
		nr += entry->d_name[0] != '.';
	closedir(directory);
	return nr;
}

/* The open file of a process that lies in the directory; false: there is none. */
static bool find_open(int pid, const char *directory, struct stat *found)
{
	char path[400], target[400];
	struct dirent *entry;
	ssize_t len;
	bool is_found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	while (fds && !is_found && (entry = readdir(fds))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", pid, entry->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		is_found = !strncmp(target, directory, strlen(directory)) && !stat(path, found);
	}
	if (fds)
		closedir(fds);
	return is_found;
}

START_TEST(nothing_is_left_of_a_vmm_that_was_killed)
{
	bool exact;
	struct vm_process *vm;
	struct stat swap;
	char directory[200];
	uint64_t before;
	int pid, i;

	snprintf(directory, sizeof(directory), "%s", vm_process_path("swap-killed"));
	ck_assert_int_eq(mkdir(directory, 0700), 0);
	exact = mount_own(directory);
	if (!exact)
		printf("no file system of its own: %s; only names and open files are looked at\n", strerror(errno));
	before = blocks_used(directory);

	vm = vm_process_start("soak", "ms=60000", "-m 96 -smp 2 -memory target=24M,swap=%s,limbo=1,cold=1", directory);
	vm_process_expect(vm, "soak: filled", SOON_MS);
	pid = vm_process_pid(vm);
	ck_assert(find_open(pid, directory, &swap));
	ck_assert_uint_eq(swap.st_nlink, 0);
	ck_assert_uint_eq(files_in(directory), 0);
	for (i = 0; i < 1000 && swap.st_blocks < 8 * MIB / 512; i++) {
		vm_process_listen(vm, 20);
		ck_assert(find_open(pid, directory, &swap));
	}
	ck_assert_int_ge(swap.st_blocks, 8 * MIB / 512);
	ck_assert_uint_gt(blocks_used(directory), before);

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert(WIFSIGNALED(vm_process_wait(vm, SOON_MS)));
	ck_assert_uint_eq(files_in(directory), 0);
	ck_assert(!find_open(pid, directory, &swap));
	/* The kernel ends transfers that were on their way a little later. */
	for (i = 0; exact && i < 500 && blocks_used(directory) != before; i++)
		usleep(10000);
	if (exact)
		ck_assert_uint_eq(blocks_used(directory), before);
	vm_process_end(vm);
	if (exact)
		umount(directory);
}
END_TEST

/* --- with busy disks --- */

static unsigned kills(void)
{
	const char *value = getenv("PAGODA_KILLS");

	return value ? (unsigned)strtoul(value, NULL, 10) : 0;
}

static struct vm_process *start_busy(unsigned number)
{
	char swap[20], disk[20], append[60];

	snprintf(swap, sizeof(swap), "swap%u", number);
	snprintf(disk, sizeof(disk), "disk%u", number);
	snprintf(append, sizeof(append), "ms=60000 seed=%u depth=8 idle_ms=0 write=60", number + 1);
	ck_assert_int_eq(mkdir(vm_process_path(swap), 0700), 0);
	return vm_process_start(
		"soak", append,
		"-m 96 -smp 4 -memory target=24M,swap=%s,limbo=1,cold=1 -drive file=%s,if=none,id=d,format=raw,cache=none "
		"-device virtio-blk-pci,drive=d,num-queues=4",
		vm_process_path(swap), vm_process_file(disk, 64 * MIB));
}

/* Whether the process ends soon, all of its threads. */
static bool ends(int pid)
{
	siginfo_t info = {.si_pid = 0};
	int i;

	for (i = 0; i < 500; i++) {
		if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid)
			return true;
		usleep(10000);
	}
	return false;
}

START_TEST(vmms_with_busy_disks_end_when_they_are_killed)
{
	unsigned left = kills(), number = 0, stuck = 0, i;
	struct prng prng = {vm_process_seed()};
	struct vm_process *vms[AT_ONCE];
	int pid;

	for (; left; left -= left < AT_ONCE ? left : AT_ONCE) {
		for (i = 0; i < AT_ONCE; i++)
			vms[i] = start_busy(number++);
		usleep((useconds_t)(1000000 + prng_below(&prng, 1000000)));
		for (i = 0; i < AT_ONCE; i++) {
			pid = vm_process_pid(vms[i]);
			ck_assert_int_eq(kill(pid, SIGKILL), 0);
			if (ends(pid)) {
				vm_process_end(vms[i]);
				continue;
			}
			printf("process %d, the %uth, does not end by SIGKILL\n", pid, number - AT_ONCE + i + 1);
			stuck++;
		}
	}
	ck_assert_msg(stuck == 0, "PAGODA_SEED=%llu: %u of %u do not end", (unsigned long long)vm_process_seed(), stuck, number);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("killed guests");
	TCase *tests = tcase_create("killed"), *busy;

	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, nothing_is_left_of_a_vmm_that_was_killed);
	suite_add_tcase(suite, tests);
	if (kills()) {
		busy = tcase_create("busy");
		tcase_add_checked_fixture(busy, vm_process_files_make, vm_process_files_remove);
		tcase_set_timeout(busy, 3600);
		tcase_add_test(busy, vmms_with_busy_disks_end_when_they_are_killed);
		suite_add_tcase(suite, busy);
	} else {
		printf("skipped: kills of guests with busy disks, of which Linux leaves some behind; PAGODA_KILLS=n tries n\n");
	}
	return vm_process_run_suite(suite);
}
