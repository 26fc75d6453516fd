/*
 * The guest-physical map of our machine, in one place.
 *
 *   0 .................. low RAM, up to 3 GiB
 *     0x500  GDT           0x6000 PVH start_info   0x7000 Linux boot_params   0x9000-0xefff page tables
 *     0x20000 command line  0x9fc00-0x9ffff reserved (EBDA)  0xe0000-0xfffff ACPI tables
 *   0xc0000000 .......... PCI memory window
 *   0xe0000000 .......... ECAM of bus 0 (PCI Express 3.0, 7.2.2)
 *   0xfec00000 .......... IOAPIC      0xfee00000 LAPICs     0xfeffc000 pages that KVM keeps (hv/vm.h)
 *   0x100000000 ......... high RAM
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#define LAYOUT_GDT 0x500ull
#define LAYOUT_START_INFO 0x6000ull
#define LAYOUT_BOOT_PARAMS 0x7000ull
#define LAYOUT_PAGE_TABLES 0x9000ull
#define LAYOUT_BOOT_STACK 0x8ff0ull
#define LAYOUT_COMMAND_LINE 0x20000ull
#define LAYOUT_COMMAND_LINE_MAX 0x10000ull
#define LAYOUT_EBDA 0x9fc00ull
#define LAYOUT_ACPI 0xe0000ull
#define LAYOUT_ACPI_SIZE 0x20000ull
#define LAYOUT_HIGH_LOAD 0x100000ull

#define LAYOUT_LOW_RAM_END 0xc0000000ull
#define LAYOUT_PCI_WINDOW 0xc0000000ull
#define LAYOUT_PCI_WINDOW_SIZE 0x20000000ull
#define LAYOUT_ECAM 0xe0000000ull
#define LAYOUT_ECAM_SIZE 0x100000ull /* one bus */
#define LAYOUT_IOAPIC 0xfec00000ull
#define LAYOUT_LAPIC 0xfee00000ull
#define LAYOUT_HIGH_RAM 0x100000000ull

#define LAYOUT_PM_PORT 0x600u
#define LAYOUT_SCI_IRQ 9u

#endif
