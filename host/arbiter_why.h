/* Says in sentences, with numbers, what the arbiter decided and why: what `explain` prints. */
#ifndef HOST_ARBITER_WHY_H
#define HOST_ARBITER_WHY_H

#include <stddef.h>

#include "host/arbiter.h"

/*
 * One sentence a line, each ended by a newline; cut where text is full, always terminated. All arguments as arbiter_decide() had and gave
 * them. Returns the length it would have, without the terminator, as snprintf() does.
 */
size_t arbiter_explain_guest(const struct arbiter_settings *settings, const struct arbiter_decision *decision,
			     const struct arbiter_guest *guest, const struct arbiter_guest_decision *gd, char *text, size_t size);
size_t arbiter_explain_host(const struct arbiter_settings *settings, const struct arbiter_host *host,
			    const struct arbiter_decision *decision, char *text, size_t size);

#endif
