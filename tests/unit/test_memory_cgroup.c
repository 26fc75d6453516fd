/* base/memory_cgroup.h: where a group is, from texts of all kinds; and groups of the kernel that really reclaim, where this machine lets us make some. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory_cgroup.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

#define V1_MOUNT "36 35 0:30 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
#define V2_MOUNT "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define OTHERS                                    \
	"22 1 254:1 / / rw - ext4 /dev/root rw\n" \
	"35 22 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,memory_like\n"

static char path[4096], top[4096];

static int locate(const char *cgroup, const char *mountinfo)
{
	FILE *a = fmemopen((void *)cgroup, strlen(cgroup), "r"), *b = fmemopen((void *)mountinfo, strlen(mountinfo), "r");
	ck_assert(a && b);
	int ret = memory_cgroup_locate(a, b, path, top, sizeof(path));
	fclose(a);
	fclose(b);
	return ret;
}

START_TEST(groups_are_found_in_either_version)
{
	ck_assert_int_eq(locate("9:name=systemd:/\n4:memory:/a/b\n1:cpu:/x\n0::/\n", OTHERS V2_MOUNT V1_MOUNT), 1);
	ck_assert_str_eq(path, "/sys/fs/cgroup/memory/a/b");
	ck_assert_str_eq(top, "/sys/fs/cgroup/memory");
	ck_assert_int_eq(locate("0::/system.slice/pagodad.service\n", OTHERS V2_MOUNT), 2);
	ck_assert_str_eq(path, "/sys/fs/cgroup/system.slice/pagodad.service");
	ck_assert_int_eq(locate("7:cpu,memory:/\n0::/x\n", V1_MOUNT), 1);
	ck_assert_str_eq(path, "/sys/fs/cgroup/memory");
	/* Mounted from within: a container. */
	ck_assert_int_eq(locate("4:memory:/box/in\n", "36 35 0:30 /box /cg rw - cgroup cgroup rw,memory\n"), 1);
	ck_assert_str_eq(path, "/cg/in");
	ck_assert_int_eq(locate("4:memory:/box\n", "36 35 0:30 /box /cg rw - cgroup cgroup rw,memory\n"), 1);
	ck_assert_str_eq(path, "/cg");
}
END_TEST

START_TEST(what_is_nowhere_or_makes_no_sense_is_refused)
{
	ck_assert_int_eq(locate("4:memory:/a\n", V2_MOUNT), -ENOENT);
	ck_assert_int_eq(locate("4:cpu:/a\n", V1_MOUNT), -ENOENT);
	ck_assert_int_eq(locate("4:memory_not:/a\n", V1_MOUNT), -ENOENT);
	ck_assert_int_eq(locate("4:memory:a\n", V1_MOUNT), -ENOENT);
	ck_assert_int_eq(locate("\n", "\n"), -ENOENT);
	ck_assert_int_eq(locate("4:memory:/boxes\n", "36 35 0:30 /box /cg rw - cgroup cgroup rw,memory\n"), -ENOENT);
	ck_assert_int_eq(locate("0::/../other\n", V2_MOUNT), -EPROTO);
	ck_assert_int_eq(locate("4:memory:/a\n", "36 35 0:30 / /c\\040g rw - cgroup cgroup rw,memory\n"), -ENOENT);
	ck_assert_int_eq(locate("4:memory:/a\n", "36 35 0:30 / /cg rw - cgroup\n"), -ENOENT);
	char *longest = malloc(9000);
	memset(longest, 'x', 8999);
	longest[8999] = '\0';
	memcpy(longest, "4:memory:/", 10);
	ck_assert_int_lt(locate(longest, V1_MOUNT), 0);
	longest[4090] = '\n';
	longest[4091] = '\0';
	ck_assert_int_eq(locate(longest, V1_MOUNT), -ENAMETOOLONG);
	free(longest);
}
END_TEST

START_TEST(text_that_is_damaged_at_random_harms_nobody)
{
	static const char cgroup[] = "4:memory:/a/b\n1:cpu:/x\n0::/y\n", mounts[] = OTHERS V1_MOUNT V2_MOUNT;
	char a[sizeof(cgroup)], b[sizeof(mounts)];
	random_start();
	for (unsigned round = 0; round < 20000; round++) {
		memcpy(a, cgroup, sizeof(a));
		memcpy(b, mounts, sizeof(b));
		for (unsigned i = random_below(4) + 1; i; i--) {
			a[random_below(sizeof(a) - 1)] = (char)(random_bits() % 127 + 1);
			b[random_below(sizeof(b) - 1)] = (char)(random_bits() % 127 + 1);
		}
		int ret = locate(a, b);
		ck_assert(ret == 1 || ret == 2 || ret == -ENOENT || ret == -EPROTO);
		ck_assert(ret < 0 || *path == '/');
	}
}
END_TEST

/* Fills the page cache with a file's pages, which the kernel can take back without swap. */
static void cache_pages(size_t bytes)
{
	char name[] = "/var/tmp/pagoda-cgroup-XXXXXX", block[1 << 16];
	int fd = mkstemp(name);
	memset(block, 7, sizeof(block));
	unlink(name);
	for (size_t at = 0; fd >= 0 && at < bytes; at += sizeof(block))
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			break;
	fsync(fd); /* open until the process ends: its pages stay */
}

/* In the child: 0 when all is as it should be. */
static int use(const struct memory_cgroup *group)
{
	struct memory_cgroup own;
	if (memory_cgroup_enter(group) != 0 || memory_cgroup_open_own(&own) != 0)
		return 1;
	if (!memory_cgroup_is_ours_alone(&own))
		return 2;
	cache_pages(16 << 20);
	int64_t gone = memory_cgroup_reclaim(&own, 8 << 20);
	if (gone < 4 << 20 || gone > 24 << 20)
		return 3;
	pid_t other = fork();
	if (other == 0) {
		pause();
		_exit(0);
	}
	bool alone = memory_cgroup_is_ours_alone(&own);
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	if (alone || !memory_cgroup_is_ours_alone(&own))
		return 4;
	/* A group with children is not ours alone either. */
	struct memory_cgroup child;
	if (own.version == 1 && memory_cgroup_make(&own, "child", &child) == 0) {
		alone = memory_cgroup_is_ours_alone(&own);
		memory_cgroup_close(&child);
		if (alone || memory_cgroup_remove(&own, "child") != 0)
			return 5;
	}
	memory_cgroup_close(&own);
	return 0;
}

START_TEST(the_kernel_reclaims_from_a_group_that_a_process_has_alone)
{
	struct memory_cgroup parent, group;
	char name[64];
	int ret = memory_cgroup_open_parent(&parent), status;
	snprintf(name, sizeof(name), "test-%d", (int)getpid());
	if (ret == 0)
		ret = memory_cgroup_make(&parent, name, &group);
	if (ret) {
		fprintf(stderr, "skipped: no control group can be made here: %s\n", strerror(-ret));
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		_exit(use(&group));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* Who is not in it alone, may not take it for his. */
	ck_assert(!memory_cgroup_is_ours_alone(&group));
	memory_cgroup_close(&group);
	ck_assert_int_eq(memory_cgroup_remove(&parent, name), 0);
	ck_assert_int_eq(memory_cgroup_remove(&parent, name), -ENOENT);
	memory_cgroup_close(&parent);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memory_cgroup");
	TCase *tests = tcase_create("memory_cgroup");
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, groups_are_found_in_either_version);
	tcase_add_test(tests, what_is_nowhere_or_makes_no_sense_is_refused);
	tcase_add_test(tests, text_that_is_damaged_at_random_harms_nobody);
	tcase_add_test(tests, the_kernel_reclaims_from_a_group_that_a_process_has_alone);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
