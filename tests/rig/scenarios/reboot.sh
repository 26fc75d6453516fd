#!/bin/bash
# A reboot starts the guest again in the same VMM; with -no-reboot it ends it with status 0.
# limit: 90
guest_script <<'GUEST'
if grep -q rig.once /proc/cmdline; then
	reboot -f
fi
serial_line=
say "which?"
read -r serial_line </dev/console
say "answer $serial_line"
[ "$serial_line" = again ] && reboot -f
GUEST
vmm_boot 6.12 ""
wait_serial 'guest: which\?'
serial_send again
wait_serial 'guest: answer again.*guest: init.*guest: ready.*guest: which\?'
vmm_alive
serial_send enough
expect_exit 0
mv serial.log serial-1.log
vmm_boot 6.12 rig.once -no-reboot
wait_serial 'guest: ready'
expect_exit 0
[[ $(serial_count 'guest: init') == 1 ]] || fail "the guest started again in spite of -no-reboot"
