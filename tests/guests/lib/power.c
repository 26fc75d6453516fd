/* Power off, and the four ways to reset a PC. */
#include "power.h"
#include "acpi.h"
#include "bytes.h"
#include "clock.h"
#include "io.h"

enum { RESET_CONTROL = 0xcf9, KEYBOARD_CONTROL = 0x64, WAIT_US = 50000 };

extern uint64_t boot_idt[512];

void power_reset_cf9(void)
{
	io_out8(RESET_CONTROL, 0x02);
	io_out8(RESET_CONTROL, 0x06);
	clock_delay_us(WAIT_US);
}

void power_reset_keyboard(void)
{
	io_out8(KEYBOARD_CONTROL, 0xfe);
	clock_delay_us(WAIT_US);
}

/* The FADT's reset register, where the FADT says that there is one (flag 10). */
void power_reset_acpi(void)
{
	const struct acpi_header *fadt = acpi_table("FACP", 0);
	const uint8_t *bytes = (const uint8_t *)fadt;
	uint64_t address;
	uint32_t flags;

	if (!fadt || fadt->length < 129)
		return;
	memcpy(&flags, bytes + 112, sizeof(flags));
	memcpy(&address, bytes + 120, sizeof(address));
	if (!(flags & 1u << 10))
		return;
	if (bytes[116] == 1)
		io_out8((uint16_t)address, bytes[128]);
	else if (bytes[116] == 0)
		mmio_write8(address, bytes[128]);
	clock_delay_us(WAIT_US);
}

_Noreturn void power_triple_fault(void)
{
	memset(boot_idt, 0, 512 * sizeof(uint64_t));
	for (;;)
		__asm__ volatile("ud2");
}

_Noreturn void power_off(void)
{
	acpi_power_off();
	power_reset_acpi();
	power_reset_cf9();
	power_reset_keyboard();
	power_triple_fault();
}
