/* Starting a guest for a call, for all procedures that do. */
#ifndef LIBVIRT_LIFECYCLE_H
#define LIBVIRT_LIFECYCLE_H

#include "libvirt/call.h"

#define LIBVIRT_START_PAUSED 1u
/* Those that are understood: also to pass over caches and saved states, which there are not, and to check the XML, which is done anyway. */
#define LIBVIRT_START_FLAGS (LIBVIRT_START_PAUSED | 1u << 2 | 1u << 3 | 1u << 4)

/* Starts the guest, and answers when it runs: with it, or with nothing. */
void libvirt_start(struct rpc_call *call, struct guest *guest, uint32_t flags, bool answer_guest);
/* The same for one that was just defined, and answers with it. made: it was not there before, and goes again if its VMM cannot even be started. */
void libvirt_start_defined(struct rpc_call *call, struct guest *guest, uint32_t flags, bool made);
/* A guest that is to be started again when it has ended is not; all of them with NULL. */
void libvirt_forget_reboots(struct libvirt_server *s, const struct guest *g);

#endif
