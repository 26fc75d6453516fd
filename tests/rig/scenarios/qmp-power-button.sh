#!/bin/bash
# QMP system_powerdown presses the ACPI power button: the guest hears it, powers off, and the VMM ends with status 0.
# limit: 60
guest_script <<'GUEST'
load button
load evdev
for device in /sys/class/input/event*; do
	[ "$(cat "$device/device/name")" = "Power Button" ] && button=/dev/input/${device##*/}
done
await "$button"
say "button ready"
head -c 24 "$button" >/dev/null
say "button pressed"
poweroff -f
GUEST
vmm_boot 6.12 ""
wait_serial 'guest: button ready'
nap 1
qmp system_powerdown
wait_serial 'guest: button pressed' 20
expect_exit 0
grep -q '"POWERDOWN"' qmp.log || fail "no POWERDOWN event"
grep -q '"SHUTDOWN"' qmp.log || fail "no SHUTDOWN event"
