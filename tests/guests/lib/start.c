/* First and last words of a guest in ring 3. */
#include "acpi.h"
#include "clock.h"
#include "cmdline.h"
#include "guest.h"
#include "io.h"
#include "memmap.h"
#include "paging.h"
#include "power.h"
#include "print.h"

_Noreturn void guest_start(void);

/* Where boot.S goes on. Everything later relies on what is set up before it here. */
_Noreturn void guest_start(void)
{
	io_out8(0x21, 0xff); /* both PICs masked: firmware may have left a timer running */
	io_out8(0xa1, 0xff);
	serial_open();
	memmap_open();
	cmdline_open();
	paging_open();
	acpi_open();
	clock_open();
	guest_exit(guest_main());
}

_Noreturn void guest_exit(int code)
{
	print("guest: exit %d\n", code);
	power_off();
}

_Noreturn void guest_fail(const char *format, ...)
{
	char text[400];
	va_list args;

	va_start(args, format);
	print_buffer_args(text, sizeof(text), format, args);
	va_end(args);
	print("guest: failed: %s\n", text);
	guest_exit(1);
}
