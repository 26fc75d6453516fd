/* See doctor.h: facts from the kernel's files and a few system calls. What cannot be read stays unknown. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/magic.h>
#include <linux/userfaultfd.h>

#include "base/meminfo.h"
#include "base/unix_socket.h"
#include "cli/doctor.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00) /* Linux 6.1, uapi/linux/userfaultfd.h */
#endif

/* Up to len - 1 bytes of root/path, as a string. Returns whether it could be read. */
static bool read_text(const char *root, const char *path, char *text, size_t len)
{
	char whole[512];
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	int fd = open(whole, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, len - 1);
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got >= 0;
}

static int64_t read_number(const char *root, const char *path)
{
	char text[64], *end;
	if (!read_text(root, path, text, sizeof(text)))
		return -1;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	return end == text || errno || number < 0 ? -1 : number;
}

/* Of /proc/meminfo, bytes; -1: it is not there. */
static int64_t meminfo(const char *text, const char *name)
{
	uint64_t bytes;
	return meminfo_find(text, name, &bytes) && bytes <= INT64_MAX ? (int64_t)bytes : -1;
}

static void gather_memory(const char *root, struct doctor_facts *f)
{
	char text[8192];
	if (!read_text(root, "/proc/meminfo", text, sizeof(text)))
		return;
	f->memory_total = meminfo(text, "MemTotal");
	f->memory_available = meminfo(text, "MemAvailable");
	f->hugetlb_bytes = meminfo(text, "Hugetlb");
}

/* Lines of /proc/swaps: name, type, KiB, KiB used, priority. */
static void gather_swaps(const char *root, struct doctor_facts *f)
{
	char text[8192], name[256], *rest = NULL;
	long long kib;
	if (!read_text(root, "/proc/swaps", text, sizeof(text)))
		return;
	f->swap_total = f->zram_total = 0;
	strtok_r(text, "\n", &rest);
	for (char *line; (line = strtok_r(NULL, "\n", &rest));) {
		if (sscanf(line, "%255s %*s %lld", name, &kib) != 2 || kib < 0) /* NOLINT(cert-err34-c) */
			continue;
		if (strstr(name, "/zram"))
			f->zram_total += (int64_t)kib << 10;
		else
			f->swap_total += (int64_t)kib << 10;
	}
}

static void gather_kernel(const char *root, struct doctor_facts *f)
{
	if (read_text(root, "/proc/sys/kernel/osrelease", f->kernel, sizeof(f->kernel))) {
		f->kernel[strcspn(f->kernel, "\n")] = '\0';
		if (sscanf(f->kernel, "%u.%u", &f->kernel_major, &f->kernel_minor) != 2) /* NOLINT(cert-err34-c) */
			f->kernel_major = f->kernel_minor = 0;
	}
}

static void gather_cpu(const char *root, struct doctor_facts *f)
{
	static char text[1 << 16];
	if (read_text(root, "/proc/cpuinfo", text, sizeof(text)))
		f->has_vmx_or_svm = strstr(text, " vmx ") || strstr(text, " svm ");
}

static void gather_kvm(const char *root, struct doctor_facts *f)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/dev/kvm", root);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		f->kvm_errno = errno;
		f->kvm = errno == ENOENT                     ? DOCTOR_KVM_MISSING
			 : errno == EACCES || errno == EPERM ? DOCTOR_KVM_DENIED
							     : DOCTOR_KVM_FAILED;
		return;
	}
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	f->kvm_errno = version < 0 ? errno : version == KVM_API_VERSION ? 0 : EPROTO;
	f->kvm = f->kvm_errno ? DOCTOR_KVM_FAILED : DOCTOR_KVM_OK;
	close(fd);
}

/* As the VMM does it: by the device where that may be opened, else by the system call. */
static void gather_uffd(const char *root, struct doctor_facts *f)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/dev/userfaultfd", root);
	int device = open(path, O_RDWR | O_CLOEXEC);
	int fd = device >= 0 ? ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC) : -1;
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	f->uffd_errno = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (device >= 0)
		close(device);
}

static void gather_thp(const char *root, struct doctor_facts *f)
{
	char text[100];
	if (!read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)))
		return;
	f->thp = strstr(text, "[always]") ? DOCTOR_THP_ALWAYS : strstr(text, "[madvise]") ? DOCTOR_THP_MADVISE : DOCTOR_THP_NEVER;
}

/* The least limit of this process's cgroup and those above it (cgroup v2). */
static void gather_cgroup(const char *root, struct doctor_facts *f)
{
	char text[4096], path[4096 + 64];
	if (!read_text(root, "/proc/self/cgroup", text, sizeof(text)))
		return;
	char *group = strstr(text, "0::");
	if (!group)
		return;
	group += 3;
	group[strcspn(group, "\n")] = '\0';
	f->cgroup_limit = INT64_MAX;
	for (char *slash; (slash = strrchr(group, '/')); *slash = '\0') {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
		int64_t limit = read_number(root, path);
		if (limit >= 0 && limit < f->cgroup_limit)
			f->cgroup_limit = limit;
	}
}

static void gather_nodes(const char *root, struct doctor_facts *f)
{
	char path[600];
	f->nr_nodes = 0;
	for (unsigned node = 0; node < 1024; node++) {
		snprintf(path, sizeof(path), "%s/sys/devices/system/node/node%u", root, node);
		f->nr_nodes += access(path, F_OK) == 0;
	}
	if (f->nr_nodes == 0)
		f->nr_nodes = 1;
}

static void gather_swap_dir(const char *swap_dir, struct doctor_facts *f)
{
	struct statfs fs;
	snprintf(f->swap_dir, sizeof(f->swap_dir), "%s", swap_dir);
	if (statfs(swap_dir, &fs) != 0)
		return;
	f->swap_dir_exists = true;
	f->swap_dir_is_tmpfs = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	f->swap_dir_free = (int64_t)fs.f_bavail * (int64_t)fs.f_bsize;
}

static void gather_daemon(const char *path, struct doctor_facts *f)
{
	int fd = unix_socket_connect(path, SOCK_NONBLOCK);
	snprintf(f->daemon_socket, sizeof(f->daemon_socket), "%s", path);
	f->daemon_errno = fd < 0 ? -fd : 0;
	if (fd >= 0)
		close(fd);
}

void doctor_gather(const char *root, const char *swap_dir, const char *socket, struct doctor_facts *facts)
{
	char text[200];
	struct rlimit files;
	*facts = (struct doctor_facts){
		.memory_total = -1, .memory_available = -1, .swap_total = -1, .zram_total = -1, .hugetlb_bytes = -1};
	gather_kernel(root, facts);
	gather_cpu(root, facts);
	gather_kvm(root, facts);
	gather_uffd(root, facts);
	gather_memory(root, facts);
	gather_swaps(root, facts);
	gather_thp(root, facts);
	facts->cgroup_limit = INT64_MAX;
	gather_cgroup(root, facts);
	gather_nodes(root, facts);
	gather_swap_dir(swap_dir, facts);
	gather_daemon(socket, facts);
	facts->swappiness = read_number(root, "/proc/sys/vm/swappiness");
	facts->max_map_count = read_number(root, "/proc/sys/vm/max_map_count");
	facts->overcommit_memory = read_number(root, "/proc/sys/vm/overcommit_memory");
	facts->ksm_run = read_number(root, "/sys/kernel/mm/ksm/run");
	facts->ksm_pages_sharing = read_number(root, "/sys/kernel/mm/ksm/pages_sharing");
	facts->numa_balancing = read_number(root, "/proc/sys/kernel/numa_balancing");
	facts->has_psi = read_text(root, "/proc/pressure/memory", text, sizeof(text));
	facts->most_files = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < INT64_MAX ? (int64_t)files.rlim_max : -1;
}
