/* See procedures.h. */
#include "libvirt/procedures.h"

static const struct libvirt_procedures *const groups[] = {
	&libvirt_connect_procedures,   &libvirt_node_procedures,       &libvirt_list_procedures,     &libvirt_info_procedures,
	&libvirt_lifecycle_procedures, &libvirt_xml_procedures,        &libvirt_metadata_procedures, &libvirt_memory_procedures,
	&libvirt_cpu_procedures,       &libvirt_statistics_procedures, &libvirt_event_procedures,    &libvirt_console_procedures,
	&libvirt_storage_procedures,   &libvirt_nothing_procedures,    &libvirt_polkit_procedures,   &libvirt_hardware_procedures,
};

const struct rpc_procedure *libvirt_procedure(uint32_t number)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (size_t i = 0; i < groups[g]->nr; i++)
			if (groups[g]->procedures[i].number == number)
				return &groups[g]->procedures[i];
	return NULL;
}
