/*
 * The doors through which hv/ asks the kernel and the allocator for things. Each may fail, and each is a weak symbol: a test that
 * defines a function of the same name stands in for it, counts calls, lets the n-th fail, or plays a whole KVM.
 */
#ifndef HV_OS_H
#define HV_OS_H

#include <stddef.h>
#include <stdint.h>

/* ioctl(2), repeated while a signal interrupts it. Returns its value, or -errno. */
int hv_ioctl(int fd, unsigned long request, void *arg);
/* What hv_ioctl() does when nothing stands in for it. */
int hv_ioctl_kernel(int fd, unsigned long request, void *arg);
/* KVM_RUN, which a signal is meant to interrupt. Returns 0 or -errno. */
int hv_ioctl_run(int vcpu_fd);

/* calloc(3). */
void *hv_calloc(size_t nr, size_t size);

/*
 * Asks that guests of this process may use the dynamic XSAVE component of that number (18: AMX tiles). Returns 0 or -errno.
 * For the whole process, and before the first vCPU is created.
 */
int hv_request_guest_xfeature(unsigned component);

/* For requests whose argument is a number. */
static inline int hv_ioctl_value(int fd, unsigned long request, unsigned long value)
{
	return hv_ioctl(fd, request, (void *)(uintptr_t)value);
}

#endif
