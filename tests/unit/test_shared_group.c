/* host/shared_group.h with real control groups, where this machine lets us make some: pages of the file cache stand for a guest's, as they need no swap to go. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/shared_group.h"
#include "tests/unit/suite.h"

enum { BLOCK = 1 << 16, BLOCKS = 384 /* 24 MiB */ };

static struct shared_group *group;

static int64_t usage(void)
{
	char text[32] = "";
	const struct memory_cgroup *dir = shared_group_dir(group);
	int fd = openat(dir->dir_fd, dir->version == 1 ? "memory.usage_in_bytes" : "memory.current", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	return strtoll(text, NULL, 10);
}

/* A process that is there, as a VMM is, and has clean pages. */
static pid_t start_member(void)
{
	int ready[2];
	char byte;
	ck_assert_int_eq(pipe(ready), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		char name[] = "/var/tmp/pagoda-shared-XXXXXX", block[BLOCK];
		if (memory_cgroup_enter(shared_group_dir(group)) != 0)
			_exit(1);
		int fd = mkstemp(name);
		unlink(name);
		memset(block, 7, sizeof(block));
		for (unsigned i = 0; i < BLOCKS; i++)
			if (write(fd, block, BLOCK) != BLOCK)
				_exit(1);
		fsync(fd);
		if (write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

START_TEST(what_is_asked_for_is_taken_from_all_that_are_there)
{
	int ret = shared_group_create(&group);
	if (ret) {
		fprintf(stderr, "skipped: no control group can be made here: %s\n", strerror(-ret));
		return;
	}
	pid_t members[] = {start_member(), start_member()};
	ck_assert(shared_group_has(members[0]) && shared_group_has(members[1]) && !shared_group_has(1));
	int64_t before = usage();
	ck_assert_int_gt(before, 2ll * BLOCK * BLOCKS / 2);
	shared_group_ask(group, 16 << 20);
	for (unsigned tries = 0; tries < 500 && usage() > before - (8 << 20); tries++)
		usleep(20000);
	ck_assert_int_le(usage(), before - (8 << 20));
	for (unsigned i = 0; i < 2; i++) {
		kill(members[i], SIGKILL);
		waitpid(members[i], NULL, 0);
	}
	/* The next daemon finds it, from where this one is now; groups of single guests lie beside it, not in it. */
	struct stat one, other;
	ck_assert_int_eq(fstat(shared_group_dir(group)->dir_fd, &one), 0);
	shared_group_destroy(group);
	ck_assert_int_eq(shared_group_create(&group), 0);
	ck_assert_int_eq(fstat(shared_group_dir(group)->dir_fd, &other), 0);
	ck_assert_uint_eq(one.st_ino, other.st_ino);
	/* Asked for much and often, and ended meanwhile. */
	for (unsigned i = 0; i < 100; i++)
		shared_group_ask(group, 1 << 20);
	shared_group_destroy(group);
	shared_group_destroy(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shared_group");
	TCase *tests = tcase_create("shared_group");
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, what_is_asked_for_is_taken_from_all_that_are_there);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
