/* pagodad's parts that need no process: options, and what is kept for the next daemon, damaged in every way. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dedup/protocol.h"
#include "host/dedup_state.h"
#include "host/options.h"
#include "host/process.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static char directory[64];

static void set_up(void)
{
	strcpy(directory, "/tmp/pagoda-host-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void tear_down(void)
{
	char command[96];
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

START_TEST(what_is_saved_is_read_again)
{
	struct dedup_state s, again;
	struct error err;
	struct state_process processes[3] = {{10, 100}, {11, 1}, {4000000, UINT64_MAX}};
	struct state_pool pools[2] = {
		{.domain = "one", .node = -1, .identity = {1, 2, UINT64_MAX}, .processes = processes, .nr_processes = 3},
		{.domain = "a.b-c_D", .node = 63, .identity = {UINT64_MAX, 5, 6}},
	};
	ck_assert_int_eq(dedup_state_open(directory, &s, &err), 0);
	ck_assert_uint_eq(s.nr_pools, 0);
	ck_assert_int_eq(dedup_state_open(directory, &again, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "another daemon"));
	ck_assert_int_eq(dedup_state_save(&s, pools, 2), 0);
	uint8_t key[32];
	memcpy(key, s.key, sizeof(key));
	dedup_state_close(&s);
	ck_assert_int_eq(dedup_state_open(directory, &again, &err), 0);
	ck_assert_mem_eq(again.key, key, sizeof(key));
	ck_assert_uint_eq(again.nr_pools, 2);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_str_eq(again.pools[i].domain, pools[i].domain);
		ck_assert_int_eq(again.pools[i].node, pools[i].node);
		ck_assert(pool_identity_equal(&again.pools[i].identity, &pools[i].identity));
		ck_assert_uint_eq(again.pools[i].nr_processes, pools[i].nr_processes);
	}
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(again.pools[0].processes[i].pid, processes[i].pid);
		ck_assert_uint_eq(again.pools[0].processes[i].start, processes[i].start);
	}
	dedup_state_close(&again);
}
END_TEST

START_TEST(each_directory_has_a_key_of_its_own_and_a_damaged_one_is_refused)
{
	struct dedup_state s;
	struct error err;
	uint8_t key[32];
	ck_assert_int_eq(dedup_state_open(directory, &s, &err), 0);
	memcpy(key, s.key, sizeof(key));
	dedup_state_close(&s);
	char path[128];
	struct stat st;
	snprintf(path, sizeof(path), "%s/key", directory);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	unlink(path);
	ck_assert_int_eq(dedup_state_open(directory, &s, &err), 0);
	ck_assert_mem_ne(s.key, key, sizeof(key));
	dedup_state_close(&s);
	write_file("key", "short", 5);
	ck_assert_int_eq(dedup_state_open(directory, &s, &err), -EPROTO);
	ck_assert_ptr_nonnull(strstr(err.text, "32 bytes"));
}
END_TEST

START_TEST(damaged_pools_are_refused_not_guessed)
{
	static const char *const damaged[] = {
		"pool\n",
		"pool one 0 1 2\n",
		"pool one 0 1 2 3 4\n",
		"pool one 64 1 2 3\n",
		"pool one -2 1 2 3\n",
		"pool ../x 0 1 2 3\n",
		"process 1 2\n",
		"pool one 0 1 2 3\nprocess 1\n",
		"pool one 0 1 2 3\nprocess -1 2\n",
		"pool one 0 1 2 3\nprocess 1 2 3\n",
		"\n",
		"pool one 0 1 2 3\nnonsense\n",
		"pool one x 1 2 3\n",
	};
	struct dedup_state s;
	struct error err;
	for (unsigned i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		write_file("pools", damaged[i], strlen(damaged[i]));
		ck_assert_int_eq(dedup_state_open(directory, &s, &err), -EPROTO);
		ck_assert_ptr_nonnull(strstr(err.text, "damaged"));
	}
	random_start();
	for (unsigned i = 0; i < 300; i++) {
		char noise[200];
		for (unsigned k = 0; k < sizeof(noise); k++)
			noise[k] = "pol rces1234567890\n-\0\xff"[random_below(22)];
		write_file("pools", noise, random_below(sizeof(noise)));
		if (dedup_state_open(directory, &s, &err) == 0)
			dedup_state_close(&s);
	}
}
END_TEST

START_TEST(a_directory_that_others_may_write_is_not_used)
{
	struct dedup_state s;
	struct error err;
	ck_assert_int_eq(chmod(directory, 0777), 0);
	ck_assert_int_eq(dedup_state_open(directory, &s, &err), -EPERM);
	ck_assert_int_eq(chmod(directory, 0700), 0);
	ck_assert_int_eq(dedup_state_open("/tmp/pagoda/there/is/none", &s, &err), -ENOENT);
	/* A file that somebody has put a link in the place of. */
	char path[128];
	snprintf(path, sizeof(path), "%s/key", directory);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	ck_assert_int_lt(dedup_state_open(directory, &s, &err), 0);
}
END_TEST

START_TEST(a_process_is_known_by_number_and_start)
{
	struct process p, again;
	pid_t child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	ck_assert_int_eq(process_of_peer(fds[0], &p), 0);
	ck_assert_int_eq(p.pid, getpid());
	ck_assert_uint_eq(p.uid, getuid());
	ck_assert_int_eq(process_find(getpid(), p.start, &again), 0);
	process_close(&again);
	process_close(&p);
	ck_assert_int_eq(process_find(getpid(), p.start + 1, &again), -ESRCH);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ck_assert_int_eq(process_find(child, p.start, &again), -ESRCH);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

static int parse(struct host_options *o, bool *done, struct error *err, const char *a, const char *b)
{
	char *argv[] = {(char *)"pagodad", (char *)a, (char *)b, NULL};
	return host_options_parse(b ? 3 : a ? 2 : 1, argv, o, done, err);
}

START_TEST(options_are_read_or_refused_with_a_sentence)
{
	static const char *const wrong[] = {
		"--index-limit=",
		"--index-limit=1x",
		"--index-limit=1Mx",
		"--index-limit=-1",
		"--index-limit=5",
		"--pool-limit=9T",
		"--guest-limit=99999999999999999999",
		"--merge-across-nodes=maybe",
		"--libvirt=here",
		"--images=",
		"--claim-qemu=yes",
		"--tls-allow=",
		"--nonsense",
		"-x",
		"stray",
		"--pool-limit=20000000T",
	};
	struct host_options o;
	struct error err;
	bool done;
	ck_assert_int_eq(parse(&o, &done, &err, NULL, NULL), 0);
	ck_assert(!done && o.merge_across_nodes && !o.verbose && o.index_limit >= 1 << 20 && o.pool_limit > o.index_limit);
	ck_assert_int_eq(parse(&o, &done, &err, "--index-limit=64M", "--pool-limit=2g"), 0);
	ck_assert_uint_eq(o.index_limit, 64 << 20);
	ck_assert_uint_eq(o.pool_limit, 2ull << 30);
	ck_assert_int_eq(parse(&o, &done, &err, "--merge-across-nodes=off", "--verbose"), 0);
	ck_assert(!o.merge_across_nodes && o.verbose);
	ck_assert_int_eq(parse(&o, &done, &err, "--socket=/a/b", "--state=/c"), 0);
	ck_assert_str_eq(o.socket, "/a/b");
	ck_assert_str_eq(o.state, "/c");
	ck_assert_int_eq(parse(&o, &done, &err, "--run=/a/b", NULL), 0);
	ck_assert_str_eq(o.libvirt, "/a/b");
	ck_assert(!o.claim_qemu);
	ck_assert_int_eq(parse(&o, &done, &err, "--libvirt=/run/libvirt", "--claim-qemu"), 0);
	ck_assert_str_eq(o.libvirt, "/run/libvirt");
	ck_assert(o.claim_qemu);
	ck_assert_int_eq(parse(&o, &done, &err, "--libvirt=none", NULL), 0);
	ck_assert_ptr_null(o.libvirt);
	ck_assert(!o.tls && o.nr_tls_names == 0);
	ck_assert_int_eq(parse(&o, &done, &err, "--tls=0.0.0.0:16514", "--libvirt=none"), -EINVAL);
	ck_assert_int_eq(parse(&o, &done, &err, "--tls=0.0.0.0:16514", "--tls-allow=CN=a*"), 0);
	ck_assert_str_eq(o.tls, "0.0.0.0:16514");
	ck_assert_str_eq(o.tls_key, "/etc/pki/libvirt/private/serverkey.pem");
	ck_assert_uint_eq(o.nr_tls_names, 1);
	ck_assert_str_eq(o.tls_names[0], "CN=a*");
	for (unsigned nr = HOST_OPTIONS_MOST_NAMES; nr <= HOST_OPTIONS_MOST_NAMES + 1; nr++) {
		char *many[HOST_OPTIONS_MOST_NAMES + 3] = {(char *)"pagodad"};
		for (unsigned i = 1; i <= nr; i++)
			many[i] = (char *)"--tls-allow=CN=b";
		ck_assert_int_eq(host_options_parse((int)nr + 1, many, &o, &done, &err),
				 nr > HOST_OPTIONS_MOST_NAMES ? -EINVAL : 0);
	}
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		err.text[0] = '\0';
		ck_assert_int_eq(parse(&o, &done, &err, wrong[i], NULL), -EINVAL);
		ck_assert_uint_gt(strlen(err.text), 10);
	}
	ck_assert_int_eq(parse(&o, &done, &err, "--index-limit", NULL), -EINVAL);
	ck_assert_int_eq(parse(&o, &done, &err, "--help", NULL), 0);
	ck_assert(done);
	ck_assert_int_eq(parse(&o, &done, &err, "--version", NULL), 0);
	ck_assert(done);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("host");
	TCase *tests = tcase_create("host");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, what_is_saved_is_read_again);
	tcase_add_test(tests, each_directory_has_a_key_of_its_own_and_a_damaged_one_is_refused);
	tcase_add_test(tests, damaged_pools_are_refused_not_guessed);
	tcase_add_test(tests, a_directory_that_others_may_write_is_not_used);
	tcase_add_test(tests, a_process_is_known_by_number_and_start);
	tcase_add_test(tests, options_are_read_or_refused_with_a_sentence);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
