/* Ways to end or restart the machine. */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

/* Powers off by ACPI; where that fails, resets, which ends a VMM that runs with -no-reboot. */
_Noreturn void power_off(void);

/* Each returns when the machine has not reset. */
void power_reset_cf9(void);
void power_reset_keyboard(void);
void power_reset_acpi(void);
_Noreturn void power_triple_fault(void);

#endif
