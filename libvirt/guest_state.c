/* See guest_state.h. */
#include "libvirt/guest_state.h"

enum {
	RUNNING_BOOTED = 1,
	PAUSED_BY_USER = 1,
	PAUSED_STARTING = 11,
	SHUTTING_DOWN_BY_USER = 1,
	OFF_UNKNOWN = 0,
	OFF_SHUT_DOWN = 1,
	OFF_DESTROYED = 2,
	OFF_CRASHED = 3,
};

void libvirt_guest_state(const struct guest *g, struct libvirt_guest_state *s)
{
	switch (g->state) {
	case GUEST_STARTING:
		if (!guest_has_vmm(g)) {
			*s = (struct libvirt_guest_state){LIBVIRT_SHUT_OFF, OFF_UNKNOWN};
			break;
		}
		*s = (struct libvirt_guest_state){LIBVIRT_PAUSED, PAUSED_STARTING};
		break;
	case GUEST_RUNNING:
		*s = (struct libvirt_guest_state){LIBVIRT_RUNNING, RUNNING_BOOTED};
		break;
	case GUEST_PAUSED:
		*s = (struct libvirt_guest_state){LIBVIRT_PAUSED, PAUSED_BY_USER};
		break;
	case GUEST_STOPPING:
		*s = (struct libvirt_guest_state){LIBVIRT_SHUTTING_DOWN, SHUTTING_DOWN_BY_USER};
		break;
	case GUEST_STOPPED:
		*s = (struct libvirt_guest_state){LIBVIRT_SHUT_OFF, g->forced ? OFF_DESTROYED : OFF_SHUT_DOWN};
		break;
	case GUEST_CRASHED:
		*s = (struct libvirt_guest_state){LIBVIRT_SHUT_OFF, OFF_CRASHED};
		break;
	case GUEST_DEFINED:
	default:
		*s = (struct libvirt_guest_state){LIBVIRT_SHUT_OFF, OFF_UNKNOWN};
	}
}
