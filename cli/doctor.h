/*
 * `pagoda doctor`: is this host fit for guests whose memory is taken away and comes back? Facts are gathered from the kernel's files
 * (doctor_facts.c), and judged as plain numbers (doctor_judge.c), so that every judgement is tested without such a host.
 */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum doctor_kvm { DOCTOR_KVM_OK, DOCTOR_KVM_MISSING, DOCTOR_KVM_DENIED, DOCTOR_KVM_FAILED };

enum doctor_thp { DOCTOR_THP_UNKNOWN, DOCTOR_THP_ALWAYS, DOCTOR_THP_MADVISE, DOCTOR_THP_NEVER };

/* What is known of the host. Sizes are bytes. A number that could not be read is -1, and is then judged as unknown. */
struct doctor_facts {
	unsigned kernel_major, kernel_minor; /* both 0: unknown */
	char kernel[64];
	enum doctor_kvm kvm;
	int kvm_errno; /* DOCTOR_KVM_FAILED, DOCTOR_KVM_DENIED: why */
	bool has_vmx_or_svm;
	int uffd_errno; /* 0: userfaultfd can be opened by this user */
	int64_t memory_total, memory_available;
	int64_t swap_total; /* the host's own, zram left out */
	int64_t zram_total;
	int64_t swappiness;
	int64_t hugetlb_bytes; /* set aside for hugetlbfs, free ones included */
	int64_t max_map_count;
	int64_t overcommit_memory; /* vm.overcommit_memory */
	int64_t most_files;        /* RLIMIT_NOFILE, hard */
	int64_t ksm_run, ksm_pages_sharing;
	int64_t numa_balancing;
	int64_t nr_nodes;
	bool has_psi;
	enum doctor_thp thp;
	int64_t cgroup_limit; /* of memory, of this process's cgroup; INT64_MAX: none */
	int64_t swap_dir_free;
	bool swap_dir_is_tmpfs, swap_dir_exists;
	int daemon_errno; /* 0: pagodad answers on daemon_socket */
	char swap_dir[200], daemon_socket[200];
};

/*
 * Reads them below root ("" for this host; a test gives a folder with proc/, sys/ and dev/ of its own), as far as they can be read.
 * swap_dir: where guests' swap files go; socket: the daemon's.
 */
void doctor_gather(const char *root, const char *swap_dir, const char *socket, struct doctor_facts *facts);

enum doctor_grade { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_FAILURE };

struct doctor_finding {
	enum doctor_grade grade;
	const char *check; /* a word or two, the same for each host */
	char found[160];
	char advice[320]; /* what to do; empty where all is well */
};

#define DOCTOR_MOST_FINDINGS 24
/* Judges all; in the order in which they matter. Returns how many. */
size_t doctor_judge(const struct doctor_facts *facts, struct doctor_finding findings[DOCTOR_MOST_FINDINGS]);
const char *doctor_grade_name(enum doctor_grade grade);

#endif
