#!/bin/bash
# An i386 guest reboots and then powers off.
# limit: 90
guest_script <<'GUEST'
say "which?"
read -r serial_line </dev/console
[ "$serial_line" = again ] && reboot -f
GUEST
vmm_boot 686 ""
wait_serial 'guest: which\?'
serial_send again
wait_serial 'guest: which.*guest: init.*guest: ready.*guest: which\?'
serial_send enough
expect_exit 0
