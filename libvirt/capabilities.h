/* What the host and its guests can be, in the two forms that libvirt's clients ask for before they make a guest. */
#ifndef LIBVIRT_CAPABILITIES_H
#define LIBVIRT_CAPABILITIES_H

#include "host/topology.h"

struct capabilities_host {
	const char *uuid;                /* of the host; NULL: unknown */
	const char *vmm;                 /* path of pagoda-vmm, which clients know as the emulator */
	const struct topology *topology; /* NUMA nodes, their memory and CPUs */
	const char *sys;                 /* "/sys": sockets, cores and threads */
};

/* Both return text to be freed with free(), NULL when memory is short. */
char *capabilities_xml(const struct capabilities_host *host);
char *domain_capabilities_xml(const struct capabilities_host *host);
/* Models of CPU that a guest may have besides the host's own, from the least to the most; NULL: no more. */
const char *libvirt_cpu_level(unsigned i);

#endif
