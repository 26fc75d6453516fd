#!/bin/bash
# QMP system_reset starts a running guest again, also one that has stopped making progress; quit ends the VMM.
# limit: 90
guest_script <<'GUEST'
say "waits"
sleep 1000
GUEST
guest_cpus=2
vmm_boot 6.12 ""
wait_serial 'guest: waits'
qmp system_reset
wait_event RESET
wait_serial 'guest: waits.*guest: init.*guest: waits'
qmp query-status
[[ $qmp_answer == *'"running"'* ]] || fail "query-status: $qmp_answer"
qmp quit
expect_exit 0
