/* See doctor.h: what each fact means for guests, and what to do about it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"

#define GIB (1024.0 * 1024 * 1024)

enum {
	LEAST_MAJOR = 6, /* UFFDIO_MOVE */
	LEAST_MINOR = 8,
	LEAST_MAPS = 1 << 20, /* so many mappings are enough for a guest of 4 GiB all of whose pages are shared, one by one */
	LEAST_FILES = 65536,
	LEAST_SWAP_FREE_PERCENT = 50, /* of the host's memory */
	HIGH_SWAPPINESS = 20,
};

struct findings {
	struct doctor_finding *list;
	size_t nr;
};

static struct doctor_finding *add(struct findings *f, enum doctor_grade grade, const char *check)
{
	struct doctor_finding *finding = &f->list[f->nr++];
	*finding = (struct doctor_finding){.grade = grade, .check = check};
	return finding;
}

__attribute__((format(printf, 2, 3))) static void found(struct doctor_finding *finding, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(finding->found, sizeof(finding->found), fmt, args);
	va_end(args);
}

__attribute__((format(printf, 2, 3))) static void advise(struct doctor_finding *finding, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(finding->advice, sizeof(finding->advice), fmt, args);
	va_end(args);
}

/* --- what guests cannot do without --- */

static void judge_kernel(const struct doctor_facts *h, struct findings *f)
{
	bool known = h->kernel_major > 0;
	bool old = h->kernel_major < LEAST_MAJOR || (h->kernel_major == LEAST_MAJOR && h->kernel_minor < LEAST_MINOR);
	struct doctor_finding *x = add(f, !known ? DOCTOR_WARNING : old ? DOCTOR_FAILURE : DOCTOR_OK, "kernel");
	found(x, "Linux %s", *h->kernel ? h->kernel : "of unknown version");
	if (x->grade != DOCTOR_OK)
		advise(x, "Linux 6.8 or newer is needed: it can move pages out of a guest (UFFDIO_MOVE). On Debian 12, install "
			  "linux-image-amd64 from backports");
}

static void judge_kvm(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x = add(f, h->kvm == DOCTOR_KVM_OK ? DOCTOR_OK : DOCTOR_FAILURE, "kvm");
	switch (h->kvm) {
	case DOCTOR_KVM_OK:
		found(x, "/dev/kvm can be opened");
		break;
	case DOCTOR_KVM_MISSING:
		found(x, "there is no /dev/kvm");
		advise(x, h->has_vmx_or_svm ? "load the module: modprobe kvm_intel or kvm_amd"
					    : "enable virtualization (VT-x, AMD-V) in the firmware; in a virtual machine, nested "
					      "virtualization at its host");
		break;
	case DOCTOR_KVM_DENIED:
		found(x, "/dev/kvm cannot be opened by this user: %s", strerror(h->kvm_errno));
		advise(x, "add the user to the group kvm: usermod -aG kvm USER, and log in again; or run pagodad as root");
		break;
	case DOCTOR_KVM_FAILED:
		found(x, "/dev/kvm does not work: %s", strerror(h->kvm_errno));
		advise(x, "see what the kernel says: dmesg | grep -i kvm");
		break;
	}
	if (h->kvm == DOCTOR_KVM_OK && !h->has_vmx_or_svm) {
		x = add(f, DOCTOR_WARNING, "virtualization");
		found(x, "the CPU shows neither VMX nor SVM");
		advise(x, "KVM runs here without the hardware's help: ordinary systems do not boot in guests, or are very slow");
	}
}

static void judge_uffd(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x = add(f, h->uffd_errno ? DOCTOR_FAILURE : DOCTOR_OK, "userfaultfd");
	if (!h->uffd_errno) {
		found(x, "page faults can be handled");
		return;
	}
	found(x, "userfaultfd cannot be opened: %s", strerror(h->uffd_errno));
	if (h->uffd_errno == EPERM || h->uffd_errno == EACCES)
		advise(x, "give the user that runs guests /dev/userfaultfd (setfacl -m u:USER:rw /dev/userfaultfd), or set "
			  "vm.unprivileged_userfaultfd=1");
	else
		advise(x, "the kernel needs CONFIG_USERFAULTFD");
}

/* --- limits --- */

static void judge_limits(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x =
		add(f, h->max_map_count >= 0 && h->max_map_count < LEAST_MAPS ? DOCTOR_NOTE : DOCTOR_OK, "mappings");
	found(x, "vm.max_map_count is %lld", (long long)h->max_map_count);
	if (x->grade)
		advise(x,
		       "pages that are shared take a mapping each at worst: sysctl vm.max_map_count=%d; a VMM that runs as root "
		       "raises it by itself",
		       LEAST_MAPS);
	x = add(f, h->most_files >= 0 && h->most_files < LEAST_FILES ? DOCTOR_NOTE : DOCTOR_OK, "files");
	found(x, "a process may open %lld files", (long long)h->most_files);
	if (x->grade)
		advise(x, "hundreds of guests need more: LimitNOFILE=%d in the unit of pagodad, or ulimit -Hn", LEAST_FILES);
	if (h->overcommit_memory == 2) {
		x = add(f, DOCTOR_FAILURE, "overcommit");
		found(x, "vm.overcommit_memory is 2: the kernel refuses memory beyond what there is");
		advise(x, "guests get more memory than there is, that is the purpose: sysctl vm.overcommit_memory=0");
	}
	if (h->cgroup_limit >= 0 && h->cgroup_limit != INT64_MAX) {
		x = add(f, DOCTOR_WARNING, "cgroup");
		found(x, "this cgroup may use %.1f GiB", (double)h->cgroup_limit / GIB);
		advise(x, "guests that are started from here are killed beyond that: raise memory.max, and give pagodad no larger "
			  "budget");
	}
}

/* --- memory --- */

static void judge_memory(const struct doctor_facts *h, struct findings *f)
{
	bool low = h->memory_total > 0 && h->memory_available >= 0 && h->memory_available < h->memory_total / 20;
	struct doctor_finding *x = add(f, low ? DOCTOR_WARNING : DOCTOR_OK, "memory");
	found(x, "%.1f of %.1f GiB available", (double)h->memory_available / GIB, (double)h->memory_total / GIB);
	if (low)
		advise(x, "less than 5 %% is left: lower the budget of pagodad, or see who takes it (pagoda top)");
	if (h->hugetlb_bytes > 0) {
		x = add(f, DOCTOR_WARNING, "hugetlb");
		found(x, "%.1f GiB are set aside as huge pages (vm.nr_hugepages)", (double)h->hugetlb_bytes / GIB);
		advise(x, "guests here do not use them, and nothing of them can be shared, compressed or swapped: sysctl "
			  "vm.nr_hugepages=0");
	}
}

static void judge_swap(const struct doctor_facts *h, struct findings *f)
{
	bool zram = h->zram_total > 0, little = zram && h->memory_total > 0 && h->zram_total < h->memory_total;
	bool eager = !zram && h->swap_total > 0 && h->swappiness > HIGH_SWAPPINESS;
	struct doctor_finding *x = add(f, eager || little ? DOCTOR_NOTE : DOCTOR_OK, "host swap");
	if (zram)
		found(x, "%.1f GiB of zram, where cold guest pages go (tier=auto)", (double)h->zram_total / GIB);
	else if (h->swap_total > 0)
		found(x, "%.1f GiB, vm.swappiness is %lld", (double)h->swap_total / GIB, (long long)h->swappiness);
	else
		found(x, "none");
	if (eager)
		advise(x,
		       "cold guest pages are compressed and swapped by Pagoda, which knows better which: sysctl vm.swappiness=%d "
		       "leaves the host's swap for emergencies",
		       HIGH_SWAPPINESS / 2);
	else if (little)
		advise(x, "less than the host's memory: when it is full, guests stay above their targets. zramctl -s makes a "
			  "larger one");
}

static void judge_swap_files(const struct doctor_facts *h, struct findings *f)
{
	bool little = h->memory_total > 0 && h->swap_dir_free < h->memory_total / 100 * LEAST_SWAP_FREE_PERCENT;
	bool missing = !h->swap_dir_exists;
	enum doctor_grade grade = missing ? DOCTOR_NOTE : h->swap_dir_is_tmpfs ? DOCTOR_WARNING : little ? DOCTOR_NOTE : DOCTOR_OK;
	struct doctor_finding *x = add(f, grade, "swap files");
	if (missing) {
		found(x, "%.100s is not there", h->swap_dir);
		advise(x, "pagodad makes it when it starts, where guests are swapped to; for another disk: pagodad --swap=DIR");
		return;
	}
	found(x, "%.80s has %.1f GiB free", h->swap_dir, (double)h->swap_dir_free / GIB);
	if (h->swap_dir_is_tmpfs)
		advise(x, "it lies in memory (tmpfs), where it saves nothing: use a folder on a disk");
	else if (little)
		advise(x, "less than half of the host's memory: a full disk leaves guests above their targets");
}

static void judge_thp(const struct doctor_facts *h, struct findings *f)
{
	static const char *const names[] = {"unknown", "always", "madvise", "never"};
	struct doctor_finding *x = add(f, h->thp == DOCTOR_THP_NEVER ? DOCTOR_WARNING : DOCTOR_OK, "huge pages");
	found(x, "transparent huge pages: %s", names[h->thp]);
	if (x->grade)
		advise(x, "guests are slower without: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void judge_ksm(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x = add(f, h->ksm_run == 1 ? DOCTOR_NOTE : DOCTOR_OK, "ksm");
	if (h->ksm_run != 1) {
		found(x, "the kernel's KSM is off");
		return;
	}
	found(x, "the kernel's KSM runs, %lld pages sharing", (long long)h->ksm_pages_sharing);
	advise(x, "only guests with mem-merge=ksm need it, and it costs CPU all the time: echo 0 > /sys/kernel/mm/ksm/run, if "
		  "there are none");
}

static void judge_numa(const struct doctor_facts *h, struct findings *f)
{
	bool fights = h->nr_nodes > 1 && h->numa_balancing > 0;
	struct doctor_finding *x = add(f, fights ? DOCTOR_NOTE : DOCTOR_OK, "numa");
	found(x, "%lld node%s%s", (long long)h->nr_nodes, h->nr_nodes == 1 ? "" : "s",
	      fights ? ", the kernel balances them, too" : "");
	if (fights)
		advise(x, "pagodad places guests on nodes; the kernel's faults for the same purpose are in vain: sysctl "
			  "kernel.numa_balancing=0");
}

static void judge_psi(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x = add(f, h->has_psi ? DOCTOR_OK : DOCTOR_WARNING, "pressure");
	found(x, h->has_psi ? "the kernel tells of stalls (PSI)" : "the kernel tells nothing of stalls (no /proc/pressure/memory)");
	if (!h->has_psi)
		advise(x, "boot with psi=1: without, pressure is known from free memory only");
}

static void judge_daemon(const struct doctor_facts *h, struct findings *f)
{
	struct doctor_finding *x = add(f, h->daemon_errno ? DOCTOR_WARNING : DOCTOR_OK, "pagodad");
	if (!h->daemon_errno) {
		found(x, "answers on %.120s", h->daemon_socket);
		return;
	}
	found(x, "does not answer on %.80s: %.60s", h->daemon_socket, strerror(h->daemon_errno));
	if (h->daemon_errno == EACCES || h->daemon_errno == EPERM)
		advise(x, "run this as root, or as a user in the group that may use the socket");
	else
		advise(x, "start it: systemctl start pagodad, or pagodad; --socket names another place");
}

size_t doctor_judge(const struct doctor_facts *facts, struct doctor_finding findings[DOCTOR_MOST_FINDINGS])
{
	struct findings f = {.list = findings};
	judge_kernel(facts, &f);
	judge_kvm(facts, &f);
	judge_uffd(facts, &f);
	judge_limits(facts, &f);
	judge_memory(facts, &f);
	judge_swap(facts, &f);
	judge_swap_files(facts, &f);
	judge_thp(facts, &f);
	judge_ksm(facts, &f);
	judge_numa(facts, &f);
	judge_psi(facts, &f);
	judge_daemon(facts, &f);
	return f.nr;
}

const char *doctor_grade_name(enum doctor_grade grade)
{
	static const char *const names[] = {"ok", "note", "warning", "failure"};
	return names[grade];
}
