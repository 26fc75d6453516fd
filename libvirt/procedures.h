/* The procedures that there are, by number. Numbers and what they take are those of libvirt's remote protocol, which never changes one that is there. */
#ifndef LIBVIRT_PROCEDURES_H
#define LIBVIRT_PROCEDURES_H

#include "rpc/server.h"

struct libvirt_procedures {
	const struct rpc_procedure *procedures;
	size_t nr;
};
#define LIBVIRT_PROCEDURES(table)                           \
	{                                                   \
		(table), sizeof(table) / sizeof((table)[0]) \
	}

extern const struct libvirt_procedures libvirt_connect_procedures;    /* connect.c: the connection, and what the host is */
extern const struct libvirt_procedures libvirt_polkit_procedures;     /* polkit.c: who may come in */
extern const struct libvirt_procedures libvirt_node_procedures;       /* node.c: the host's memory and CPUs */
extern const struct libvirt_procedures libvirt_hardware_procedures;   /* hardware.c: its firmware and models of CPU */
extern const struct libvirt_procedures libvirt_list_procedures;       /* list.c: which guests there are */
extern const struct libvirt_procedures libvirt_info_procedures;       /* info.c: what a guest is */
extern const struct libvirt_procedures libvirt_lifecycle_procedures;  /* lifecycle.c: from its definition to its end */
extern const struct libvirt_procedures libvirt_xml_procedures;        /* xml.c: what is said in XML */
extern const struct libvirt_procedures libvirt_metadata_procedures;   /* metadata.c: title, description, metadata */
extern const struct libvirt_procedures libvirt_memory_procedures;     /* memory.c */
extern const struct libvirt_procedures libvirt_cpu_procedures;        /* cpu.c */
extern const struct libvirt_procedures libvirt_statistics_procedures; /* statistics.c */
extern const struct libvirt_procedures libvirt_event_procedures;      /* events.c */
extern const struct libvirt_procedures libvirt_console_procedures;    /* console.c */
extern const struct libvirt_procedures libvirt_storage_procedures;    /* storage.c */
extern const struct libvirt_procedures libvirt_nothing_procedures;    /* nothing.c: kinds of things of which there are none here */

/* NULL: there is none. */
const struct rpc_procedure *libvirt_procedure(uint32_t number);

#endif
