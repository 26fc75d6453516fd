/*
 * A KVM that only writes down what it is asked: interrupt lines, messages, eventfds. For tests and fuzzers of devices; once per program.
 * The VM's descriptor is /dev/null.
 */
#ifndef TESTS_UNIT_FAKE_KVM_H
#define TESTS_UNIT_FAKE_KVM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hv/kvm.h"
#include "hv/os.h"
#include "hv/vm.h"

#define FAKE_KVM_EVENTS 512

static struct {
	pthread_mutex_t lock; /* guards all below */
	unsigned long refuse; /* this request fails */
	bool line[24];
	unsigned line_raises[24];
	unsigned nr_messages;
	struct kvm_msi message; /* the last one */
	unsigned nr_events;
	struct kvm_ioeventfd events[FAKE_KVM_EVENTS];
	unsigned nr_bad_events; /* taken twice, or given back without being there */
} fake_kvm = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fake_kvm_event(const struct kvm_ioeventfd *event)
{
	unsigned at = 0;
	while (at < fake_kvm.nr_events && (fake_kvm.events[at].addr != event->addr || fake_kvm.events[at].fd != event->fd))
		at++;
	bool found = at < fake_kvm.nr_events;
	if (event->flags & KVM_IOEVENTFD_FLAG_DEASSIGN) {
		fake_kvm.nr_bad_events += !found;
		if (found)
			fake_kvm.events[at] = fake_kvm.events[--fake_kvm.nr_events];
	} else {
		fake_kvm.nr_bad_events += found;
		if (!found && fake_kvm.nr_events < FAKE_KVM_EVENTS)
			fake_kvm.events[fake_kvm.nr_events++] = *event;
	}
}

static int fake_kvm_serve(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		return 1;
	case KVM_CREATE_VM:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case KVM_IRQ_LINE: {
		const struct kvm_irq_level *level = arg;
		if (level->irq >= 24)
			return -EINVAL;
		fake_kvm.line_raises[level->irq] += level->level && !fake_kvm.line[level->irq];
		fake_kvm.line[level->irq] = level->level;
		return 0;
	}
	case KVM_SIGNAL_MSI:
		fake_kvm.message = *(const struct kvm_msi *)arg;
		fake_kvm.nr_messages++;
		return 1;
	case KVM_IOEVENTFD:
		fake_kvm_event(arg);
		return 0;
	default:
		return 0;
	}
}

int hv_ioctl(int fd, unsigned long request, void *arg)
{
	(void)fd;
	pthread_mutex_lock(&fake_kvm.lock);
	int ret = request == fake_kvm.refuse ? -EIO : fake_kvm_serve(request, arg);
	pthread_mutex_unlock(&fake_kvm.lock);
	return ret;
}

/* Returns 0 or -errno. */
static inline int fake_kvm_open(struct hv_kvm **kvm, struct hv_vm **vm)
{
	fake_kvm.refuse = 0;
	fake_kvm.nr_messages = fake_kvm.nr_events = fake_kvm.nr_bad_events = 0;
	memset(fake_kvm.line, 0, sizeof(fake_kvm.line));
	memset(fake_kvm.line_raises, 0, sizeof(fake_kvm.line_raises));
	int ret = hv_kvm_open("/dev/null", kvm, NULL);
	return ret ? ret : hv_vm_create(*kvm, vm, NULL);
}

static inline void fake_kvm_close(struct hv_kvm *kvm, struct hv_vm *vm)
{
	hv_vm_destroy(vm);
	hv_kvm_close(kvm);
}

#endif
