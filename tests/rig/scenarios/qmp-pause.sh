#!/bin/bash
# QMP stop halts the guest and its clock, cont lets it go on where it was.
# limit: 90
guest_script <<'GUEST'
n=0
while [ $n -lt 400 ]; do
	read -r up rest </proc/uptime
	n=$((n + 1))
	say "tick $n at $up"
	sleep 0.1
done
GUEST
guest_cpus=2
vmm_boot 6.12 ""
wait_serial 'guest: tick 5 '
qmp query-status
[[ $qmp_answer == *'"running"'* ]] || fail "query-status: $qmp_answer"
qmp stop
wait_event STOP
qmp query-status
[[ $qmp_answer == *'"paused"'* ]] || fail "query-status: $qmp_answer"
nap 0.3
before=$(serial_count tick)
nap 4
[[ $(serial_count tick) == "$before" ]] || fail "the guest printed while it was stopped"
qmp cont
wait_event RESUME
wait_serial "guest: tick $((before + 5)) "
stopped_at=$(sed -n "s/.*guest: tick $((before - 1)) at \([0-9]*\)[.].*/\1/p" serial.log)
went_on_at=$(sed -n "s/.*guest: tick $((before + 2)) at \([0-9]*\)[.].*/\1/p" serial.log)
((went_on_at - stopped_at < 3)) || fail "the guest's clock went on while it was stopped: from $stopped_at to $went_on_at s"
qmp quit
expect_exit 0
