/* What an admin has set for the host, kept on disk beside the guests' definitions: the budget, the tax on idle memory, how equal pages are looked for. */
#ifndef HOST_HOST_SETTINGS_H
#define HOST_HOST_SETTINGS_H

#include <jansson.h>

#include "base/error.h"
#include "host/arbiter_loop.h"
#include "host/guest.h"

/* From disk, once; what is damaged there is logged, and left out. */
void host_settings_load(struct guests *guests, struct arbiter_loop *arbiter, struct dedup_server *dedup);
/*
 * set: members of docs/API.md's host-tune; a null puts back what the command line said. All or nothing, in force at once and kept. Returns 0 or -errno with a
 * sentence; -EBADFD for what cannot be changed while guests share pages.
 */
int host_settings_change(struct guests *guests, struct arbiter_loop *arbiter, struct dedup_server *dedup, const json_t *set,
			 struct error *err);

#endif
