/* What the host's firmware says of it, as libvirt's XML. */
#ifndef LIBVIRT_HARDWARE_H
#define LIBVIRT_HARDWARE_H

/*
 * <sysinfo type='smbios'> from the files of a directory such as /sys/class/dmi/id (Linux, drivers/firmware/dmi-id.c), to be freed with free().
 * What is not there, or may not be read, is left out. NULL: nothing is there, or memory is short.
 */
char *libvirt_smbios_text(const char *directory);

#endif
