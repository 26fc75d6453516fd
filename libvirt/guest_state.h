/* A guest's state in libvirt's words, which know fewer states and more reasons. */
#ifndef LIBVIRT_GUEST_STATE_H
#define LIBVIRT_GUEST_STATE_H

#include "host/guest.h"

enum libvirt_state {
	LIBVIRT_RUNNING = 1,
	LIBVIRT_PAUSED = 3,
	LIBVIRT_SHUTTING_DOWN = 4,
	LIBVIRT_SHUT_OFF = 5,
};

struct libvirt_guest_state {
	enum libvirt_state state;
	int reason; /* depends on the state */
};

void libvirt_guest_state(const struct guest *guest, struct libvirt_guest_state *state);

#endif
