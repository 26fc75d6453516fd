/* `pagoda doctor`: facts from files as the kernel writes them, and what each of them means. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "tests/unit/suite.h"

#define GIB (1ll << 30)

static struct doctor_facts facts;
static struct doctor_finding findings[DOCTOR_MOST_FINDINGS];
static size_t nr;
static char root[64];

static void set_up(void)
{
	facts = (struct doctor_facts){
		.kernel = "6.12.1",
		.kernel_major = 6,
		.kernel_minor = 12,
		.has_vmx_or_svm = true,
		.memory_total = 64 * GIB,
		.memory_available = 32 * GIB,
		.swappiness = 60,
		.max_map_count = 1 << 20,
		.most_files = 1 << 20,
		.nr_nodes = 1,
		.has_psi = true,
		.thp = DOCTOR_THP_MADVISE,
		.cgroup_limit = INT64_MAX,
		.swap_dir = "/var/lib/pagoda/swap",
		.swap_dir_exists = true,
		.swap_dir_free = 100 * GIB,
		.daemon_socket = "/run/pagoda/api",
	};
	strcpy(root, "/tmp/pagoda-doctor-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void tear_down(void)
{
	char command[100];
	snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

static const struct doctor_finding *judged(const char *check)
{
	nr = doctor_judge(&facts, findings);
	ck_assert_uint_le(nr, DOCTOR_MOST_FINDINGS);
	for (size_t i = 0; i < nr; i++)
		if (!strcmp(findings[i].check, check))
			return &findings[i];
	return NULL;
}

/* The grade of the check, whose advice contains so much. */
#define EXPECT(check, expected, part)                                                                       \
	do {                                                                                                \
		const struct doctor_finding *f_ = judged(check);                                            \
		ck_assert_ptr_nonnull(f_);                                                                  \
		ck_assert_msg(f_->grade == (expected) && strstr(f_->advice, part), "%s: %s, %s, %s", check, \
			      doctor_grade_name(f_->grade), f_->found, f_->advice);                         \
	} while (0)

START_TEST(a_good_host_has_nothing_to_be_advised)
{
	nr = doctor_judge(&facts, findings);
	for (size_t i = 0; i < nr; i++) {
		ck_assert_msg(findings[i].grade == DOCTOR_OK, "%s: %s", findings[i].check, findings[i].found);
		ck_assert_str_eq(findings[i].advice, "");
		ck_assert_uint_gt(strlen(findings[i].found), 3);
	}
	ck_assert_uint_ge(nr, 12);
}
END_TEST

START_TEST(what_guests_cannot_do_without_is_a_failure)
{
	facts.kernel_minor = 7;
	EXPECT("kernel", DOCTOR_FAILURE, "6.8 or newer");
	facts.kvm = DOCTOR_KVM_MISSING;
	facts.kvm_errno = ENOENT;
	EXPECT("kvm", DOCTOR_FAILURE, "modprobe");
	facts.has_vmx_or_svm = false;
	EXPECT("kvm", DOCTOR_FAILURE, "firmware");
	facts.kvm = DOCTOR_KVM_DENIED;
	EXPECT("kvm", DOCTOR_FAILURE, "group kvm");
	facts.kvm = DOCTOR_KVM_FAILED;
	EXPECT("kvm", DOCTOR_FAILURE, "dmesg");
	facts.uffd_errno = EPERM;
	EXPECT("userfaultfd", DOCTOR_FAILURE, "/dev/userfaultfd");
	facts.uffd_errno = ENOSYS;
	EXPECT("userfaultfd", DOCTOR_FAILURE, "CONFIG_USERFAULTFD");
	facts.overcommit_memory = 2;
	EXPECT("overcommit", DOCTOR_FAILURE, "vm.overcommit_memory=0");
}
END_TEST

START_TEST(what_costs_is_noted)
{
	facts.max_map_count = 65530;
	EXPECT("mappings", DOCTOR_NOTE, "vm.max_map_count=");
	facts.most_files = 1024;
	EXPECT("files", DOCTOR_NOTE, "LimitNOFILE");
	facts.swap_total = 8 * GIB;
	EXPECT("host swap", DOCTOR_NOTE, "vm.swappiness=");
	facts.zram_total = 8 * GIB;
	EXPECT("host swap", DOCTOR_NOTE, "zram");
	facts.ksm_run = 1;
	EXPECT("ksm", DOCTOR_NOTE, "ksm/run");
	facts.nr_nodes = 2;
	facts.numa_balancing = 1;
	EXPECT("numa", DOCTOR_NOTE, "numa_balancing=0");
	facts.swap_dir_free = GIB;
	EXPECT("swap files", DOCTOR_NOTE, "full disk");
}
END_TEST

START_TEST(what_endangers_is_a_warning)
{
	facts.memory_available = GIB;
	EXPECT("memory", DOCTOR_WARNING, "budget");
	facts.hugetlb_bytes = 4 * GIB;
	EXPECT("hugetlb", DOCTOR_WARNING, "nr_hugepages=0");
	facts.cgroup_limit = 4 * GIB;
	EXPECT("cgroup", DOCTOR_WARNING, "memory.max");
	facts.thp = DOCTOR_THP_NEVER;
	EXPECT("huge pages", DOCTOR_WARNING, "madvise");
	facts.has_psi = false;
	EXPECT("pressure", DOCTOR_WARNING, "psi=1");
	facts.swap_dir_is_tmpfs = true;
	EXPECT("swap files", DOCTOR_WARNING, "tmpfs");
	facts.swap_dir_exists = false;
	EXPECT("swap files", DOCTOR_NOTE, "pagodad makes it");
	facts.daemon_errno = ECONNREFUSED;
	EXPECT("pagodad", DOCTOR_WARNING, "start it");
	facts.daemon_errno = EACCES;
	EXPECT("pagodad", DOCTOR_WARNING, "root");
	facts.has_vmx_or_svm = false;
	EXPECT("virtualization", DOCTOR_WARNING, "hardware");
}
END_TEST

static void put(const char *path, const char *text)
{
	char whole[300], command[400];
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	snprintf(command, sizeof(command), "mkdir -p $(dirname %s)", whole);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	FILE *file = fopen(whole, "we");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

START_TEST(facts_are_read_from_the_kernels_files)
{
	put("/proc/sys/kernel/osrelease", "6.9.3-amd64\n");
	put("/proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\nHugetlb:  2048 kB\n");
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1024 0 -2\n/dev/zram0 partition 2048 0 100\n");
	put("/proc/cpuinfo", "flags\t\t: fpu vme svm lm\n");
	put("/proc/sys/vm/swappiness", "60\n");
	put("/proc/sys/vm/max_map_count", "65530\n");
	put("/proc/sys/kernel/numa_balancing", "1\n");
	put("/sys/kernel/mm/ksm/run", "1\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	put("/proc/pressure/memory", "some avg10=0.00\n");
	put("/proc/self/cgroup", "0::/user.slice/a.scope\n");
	put("/sys/fs/cgroup/user.slice/memory.max", "1048576\n");
	put("/sys/fs/cgroup/user.slice/a.scope/memory.max", "max\n");
	put("/sys/devices/system/node/node0/x", "");
	put("/sys/devices/system/node/node7/x", "");
	doctor_gather(root, root, "/no/such/socket", &facts);
	ck_assert_uint_eq(facts.kernel_major * 100 + facts.kernel_minor, 609);
	ck_assert_str_eq(facts.kernel, "6.9.3-amd64");
	ck_assert_int_eq(facts.memory_total, 16384 << 10);
	ck_assert_int_eq(facts.memory_available, 8192 << 10);
	ck_assert_int_eq(facts.hugetlb_bytes, 2048 << 10);
	ck_assert_int_eq(facts.swap_total, 1024 << 10);
	ck_assert_int_eq(facts.zram_total, 2048 << 10);
	ck_assert(facts.has_vmx_or_svm);
	ck_assert_int_eq(facts.swappiness, 60);
	ck_assert_int_eq(facts.max_map_count, 65530);
	ck_assert_int_eq(facts.numa_balancing, 1);
	ck_assert_int_eq(facts.ksm_run, 1);
	ck_assert_int_eq(facts.thp, DOCTOR_THP_NEVER);
	ck_assert(facts.has_psi);
	ck_assert_int_eq(facts.cgroup_limit, 1048576);
	ck_assert_int_eq(facts.nr_nodes, 2);
	ck_assert_int_eq(facts.kvm, DOCTOR_KVM_MISSING);
	ck_assert_int_eq(facts.daemon_errno, ENOENT);
	ck_assert(facts.swap_dir_exists);
}
END_TEST

START_TEST(what_cannot_be_read_is_unknown_and_no_alarm_of_its_own)
{
	put("/proc/sys/vm/swappiness", "many\n");
	put("/proc/meminfo", "no such thing");
	put("/proc/swaps", "");
	put("/proc/sys/kernel/osrelease", "unknown");
	doctor_gather(root, "/no/such/folder", "/no/such/socket", &facts);
	ck_assert_int_eq(facts.swappiness, -1);
	ck_assert_int_eq(facts.memory_total, -1);
	ck_assert_int_eq(facts.max_map_count, -1);
	ck_assert_int_eq(facts.cgroup_limit, INT64_MAX);
	ck_assert_uint_eq(facts.kernel_major, 0);
	ck_assert(!facts.swap_dir_exists);
	EXPECT("kernel", DOCTOR_WARNING, "6.8");
	EXPECT("mappings", DOCTOR_OK, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cli_doctor");
	TCase *tests = tcase_create("doctor");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_good_host_has_nothing_to_be_advised);
	tcase_add_test(tests, what_guests_cannot_do_without_is_a_failure);
	tcase_add_test(tests, what_costs_is_noted);
	tcase_add_test(tests, what_endangers_is_a_warning);
	tcase_add_test(tests, facts_are_read_from_the_kernels_files);
	tcase_add_test(tests, what_cannot_be_read_is_unknown_and_no_alarm_of_its_own);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
