/* What systemd and a service tell each other: sockets that it has made (sd_listen_fds(3)), and how the service is (sd_notify(3)). Both are nothing where it is not there. */
#ifndef HOST_SERVICE_MANAGER_H
#define HOST_SERVICE_MANAGER_H

#include "base/error.h"

/*
 * Descriptors of inherited sockets by their names (FileDescriptorName=), -1 where there is none; close-on-exec. Clears the environment of it, so
 * that children do not take them for theirs. Returns 0, or -EINVAL with a sentence for one that nobody wants.
 */
int service_manager_sockets(const char *const names[], int fds[], unsigned nr, struct error *err);
/* "READY=1" and the like. Nobody may listen. */
void service_manager_notify(const char *state);

#endif
