/* What every micro-guest has: an entry, and an end that the host can see. */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

/* The guest itself, on the boot CPU. What it returns becomes the exit code. */
int guest_main(void);

/* Prints "guest: exit CODE" and powers off by ACPI, or resets where there is no ACPI. From any vCPU. */
_Noreturn void guest_exit(int code);
/* Prints "guest: failed: ..." and exits with 1. */
_Noreturn void guest_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
