/* See os.h. */
#include "hv/os.h"

#include <asm/prctl.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int hv_ioctl_kernel(int fd, unsigned long request, void *arg)
{
	int ret;
	do {
		ret = ioctl(fd, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

__attribute__((weak)) int hv_ioctl(int fd, unsigned long request, void *arg)
{
	return hv_ioctl_kernel(fd, request, arg);
}

__attribute__((weak)) int hv_ioctl_run(int vcpu_fd)
{
	return ioctl(vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
}

__attribute__((weak)) void *hv_calloc(size_t nr, size_t size)
{
	return calloc(nr, size);
}

__attribute__((weak)) int hv_request_guest_xfeature(unsigned component)
{
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, component) < 0 ? -errno : 0;
}
