#!/bin/bash
# With -S the guest waits for cont; QMP answers what virsh and monitoring ask.
# limit: 60
guest_cpus=2
vmm_boot 6.12 "" -S -name rig-guest -uuid 5a8ea1c4-2a30-4e6d-8d6c-0e3a6f0b7b11
qmp query-status
[[ $qmp_answer == *'"prelaunch"'* || $qmp_answer == *'"paused"'* ]] || fail "query-status: $qmp_answer"
qmp query-version
qmp query-cpus-fast
[[ $(grep -o '"cpu-index"' <<<"$qmp_answer" | wc -l) == 2 ]] || fail "query-cpus-fast: $qmp_answer"
qmp query-block
qmp query-commands
[[ $qmp_answer == *'"system_powerdown"'* ]] || fail "query-commands: $qmp_answer"
qmp human-monitor-command '{"command-line": "info status"}'
[[ $qmp_answer == *paused* ]] || fail "info status: $qmp_answer"
[[ ! -s serial.log ]] || ! grep -q guest: serial.log || fail "the guest ran before cont"
qmp cont
wait_serial 'guest: ready'
expect_exit 0
