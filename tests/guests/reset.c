/*
 * Resets the machine and counts how often it boots, in a word of RAM that resets leave alone.
 *
 * Options: how=cf9|triple|keyboard|acpi (cf9), times= (3, resets before it powers off).
 */
#include "lib/bytes.h"
#include "lib/cmdline.h"
#include "lib/guest.h"
#include "lib/io.h"
#include "lib/memmap.h"
#include "lib/power.h"
#include "lib/print.h"
#include "lib/smp.h"

#define MAGIC 0x7061676f64612e31ull

static void arrive(unsigned cpu)
{
	(void)cpu;
}

int guest_main(void)
{
	/* Far from where loaders and we put things. */
	volatile uint64_t *word = (volatile uint64_t *)(memmap_free_gpa(memmap_free_pages() / 2));
	uint64_t times = cmdline_number("times", 3), boots;
	char how[16];

	boots = word[0] == MAGIC ? word[1] + 1 : 1;
	word[0] = MAGIC;
	word[1] = boots;
	/* Other vCPUs run when the reset comes, and must be startable after it. */
	smp_run(arrive);
	print("reset: boot %lu on %u cpus\n", boots, smp_cpus());
	if (boots > times)
		return 0;
	cmdline_text("how", "cf9", how, sizeof(how));
	if (!strcmp(how, "triple"))
		power_triple_fault();
	else if (!strcmp(how, "keyboard"))
		power_reset_keyboard();
	else if (!strcmp(how, "acpi"))
		power_reset_acpi();
	else
		power_reset_cf9();
	guest_fail("the machine was not reset by %s", how);
}
